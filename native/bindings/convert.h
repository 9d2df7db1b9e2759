// JavaScript values to the core's plain data and back. Every reader names the property it could not read.
#pragma once

#include <napi.h>

#include <exception>
#include <string>
#include <vector>

#include "error.h"
#include "model.h"
#include "plan.h"
#include "scheduler.h"
#include "session.h"

namespace rewardlens {

// A JS error that carries `code`; src/native/errors.ts turns it into a RewardLensError.
Napi::Error to_js_error(Napi::Env env, error_code code, const std::string & message);

// Runs `body`, turning core exceptions into JS exceptions.
template <typename F>
auto guarded(Napi::Env env, F && body) -> decltype(body()) {
    try {
        return body();
    } catch (const Napi::Error &) {
        throw;
    } catch (const engine_error & error) {
        throw to_js_error(env, error.code(), error.what());
    } catch (const std::exception & error) {
        throw to_js_error(env, error_code::backend, error.what());
    }
}

// Arguments and array entries; INVALID_ARGUMENT names what was expected.
Napi::Object to_object(const Napi::Value & value, const char * name);
std::string to_text(const Napi::Value & value, const char * name);
int32_t to_int(const Napi::Value & value, const char * name);

std::string read_string(const Napi::Object & object, const char * key, const std::string & fallback);
double read_number(const Napi::Object & object, const char * key, double fallback);
bool read_bool(const Napi::Object & object, const char * key, bool fallback);
std::vector<std::string> read_strings(const Napi::Object & object, const char * key);
std::vector<int32_t> read_int32s(const Napi::Object & object, const char * key);  // Int32Array, absent = empty
std::vector<int32_t> to_int32s(const Napi::Value & value, const char * name);

model_params read_model_params(const Napi::Object & object);
session_params read_session_params(const Napi::Object & object);
run_params read_run_params(const Napi::Object & object);
std::unique_ptr<sequence_request> read_request(const Napi::Object & object);

Napi::Value from_info(Napi::Env env, const model_info & info);
Napi::Value from_catalog(Napi::Env env, const site_catalog & catalog);
Napi::Value from_event(Napi::Env env, run_event & event);  // takes the rows out of the event
Napi::Int32Array from_int32s(Napi::Env env, const std::vector<int32_t> & values);

}  // namespace rewardlens
