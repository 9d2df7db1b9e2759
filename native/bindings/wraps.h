// The three objects JavaScript holds: model, session, run. They own shared pointers into the core and nothing else.
#pragma once

#include <napi.h>

#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "error.h"
#include "model.h"
#include "scheduler.h"
#include "session.h"

namespace rewardlens {

// Marks of our own classes: unwrapping another kind of object would reinterpret its memory.
constexpr napi_type_tag MODEL_TAG = {0x6b1d8a5f3c2e4f70, 0x9a4be1c7d25f8031};
constexpr napi_type_tag SESSION_TAG = {0x2f7c94ab61de4835, 0xb80f3d6e5a917c24};

// The wrapped object of class T, or INVALID_ARGUMENT naming what was expected.
template <typename T>
T * unwrap_tagged(const Napi::Value & value, const napi_type_tag & tag, const char * expected) {
    if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&tag)) {
        throw engine_error(error_code::invalid_argument, std::string("expected ") + expected);
    }
    return T::Unwrap(value.As<Napi::Object>());
}

// Per-environment state (main thread and each worker_thread have their own): constructors, and the runs that must stop
// before the environment goes away.
struct addon_data {
    Napi::FunctionReference model_constructor;
    Napi::FunctionReference session_constructor;
    Napi::FunctionReference run_constructor;
    std::set<std::shared_ptr<scheduler>> runs;
};

class model_wrap : public Napi::ObjectWrap<model_wrap> {
  public:
    static Napi::Function define(Napi::Env env);
    static Napi::Value load(const Napi::CallbackInfo & info);  // (params, onProgress | undefined) → {promise, abort}
    explicit model_wrap(const Napi::CallbackInfo & info);
    std::shared_ptr<const model> get(Napi::Env env) const;  // throws DISPOSED

  private:
    Napi::Value info(const Napi::CallbackInfo & info);
    Napi::Value metadata(const Napi::CallbackInfo & info);
    Napi::Value tokenize(const Napi::CallbackInfo & info);
    Napi::Value detokenize(const Napi::CallbackInfo & info);
    Napi::Value token_piece(const Napi::CallbackInfo & info);
    Napi::Value is_end_of_generation(const Napi::CallbackInfo & info);
    Napi::Value release(const Napi::CallbackInfo & info);
    std::shared_ptr<const model> model_;
};

class session_wrap : public Napi::ObjectWrap<session_wrap> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit session_wrap(const Napi::CallbackInfo & info);  // (model, params)
    std::shared_ptr<session> get(Napi::Env env) const;

  private:
    Napi::Value info(const Napi::CallbackInfo & info);
    Napi::Value sites(const Napi::CallbackInfo & info);
    Napi::Value start(const Napi::CallbackInfo & info);  // (params, onEvents) → run
    Napi::Value release(const Napi::CallbackInfo & info);
    std::shared_ptr<session> session_;
};

class run_wrap : public Napi::ObjectWrap<run_wrap> {
  public:
    static Napi::Function define(Napi::Env env);
    explicit run_wrap(const Napi::CallbackInfo & info);  // (session, params, onEvents), from session_wrap::start

  private:
    Napi::Value push(const Napi::CallbackInfo & info);
    Napi::Value finish(const Napi::CallbackInfo & info);
    Napi::Value cancel(const Napi::CallbackInfo & info);
    Napi::Value acknowledge(const Napi::CallbackInfo & info);
    Napi::Value close(const Napi::CallbackInfo & info);
    std::shared_ptr<scheduler> scheduler_;
};

}  // namespace rewardlens
