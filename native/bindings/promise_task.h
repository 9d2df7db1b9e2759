// Work on a libuv worker thread that settles a promise. The work touches no JavaScript; the conversion runs on the JS thread.
#pragma once

#include <napi.h>

#include <functional>
#include <memory>
#include <optional>

#include "convert.h"

namespace rewardlens {

template <typename T>
class promise_task : public Napi::AsyncWorker {
  public:
    using work_fn = std::function<T()>;
    using convert_fn = std::function<Napi::Value(Napi::Env, T &)>;

    static Napi::Promise run(Napi::Env env, work_fn work, convert_fn convert) {
        auto * task = new promise_task(env, std::move(work), std::move(convert));  // deletes itself after OnOK / OnError
        Napi::Promise promise = task->deferred_.Promise();
        task->Queue();
        return promise;
    }

  private:
    promise_task(Napi::Env env, work_fn work, convert_fn convert)
        : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), work_(std::move(work)), convert_(std::move(convert)) {}

    void Execute() override {
        try {
            value_.emplace(work_());
        } catch (const engine_error & error) {
            code_ = error.code();
            SetError(error.what());
        } catch (const std::exception & error) {
            SetError(error.what());
        }
    }

    void OnOK() override { deferred_.Resolve(convert_(Env(), *value_)); }
    void OnError(const Napi::Error & error) override { deferred_.Reject(to_js_error(Env(), code_, error.Message()).Value()); }

    Napi::Promise::Deferred deferred_;
    work_fn work_;
    convert_fn convert_;
    std::optional<T> value_;
    error_code code_ = error_code::backend;
};

}  // namespace rewardlens
