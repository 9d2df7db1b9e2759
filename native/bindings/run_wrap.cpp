#include <vector>

#include "convert.h"
#include "wraps.h"

namespace rewardlens {

namespace {

using event_batch = std::vector<run_event>;

void deliver(Napi::Env env, Napi::Function callback, std::nullptr_t *, event_batch * events) {
    const std::unique_ptr<event_batch> owned(events);
    if (env == nullptr || callback.IsEmpty()) {
        return;  // the environment is going away
    }
    Napi::HandleScope scope(env);
    auto array = Napi::Array::New(env, owned->size());
    for (uint32_t i = 0; i < owned->size(); ++i) {
        array.Set(i, from_event(env, (*owned)[i]));
    }
    callback.Call({array});
}

using event_function = Napi::TypedThreadSafeFunction<std::nullptr_t, event_batch, deliver>;

// Carries events from the engine thread to JavaScript. After the environment has begun to close, calls are refused and
// events dropped; the function must then not be touched again.
class js_listener : public run_listener {
  public:
    js_listener(Napi::Env env, const Napi::Function & callback)
        : function_(event_function::New(env, callback, "rewardlens.run", 0, 1)) {}

    void on_events(event_batch && events) override {
        if (closed_) {
            return;
        }
        const bool last = events.back().kind == run_event::kind_id::end;
        auto batch = std::make_unique<event_batch>(std::move(events));
        const napi_status status = function_.NonBlockingCall(batch.get());
        if (status == napi_ok) {
            batch.release();
        }
        if (status == napi_closing) {
            closed_ = true;
        } else if (last) {
            closed_ = true;
            function_.Release();
        }
    }

    // The run never started: nobody will call on_events.
    void abandon() { function_.Release(); }

  private:
    event_function function_;
    bool closed_ = false;  // engine thread only
};

}  // namespace

Napi::Function run_wrap::define(Napi::Env env) {
    return DefineClass(env, "NativeRun",
                       {InstanceMethod<&run_wrap::push>("push"), InstanceMethod<&run_wrap::finish>("finish"),
                        InstanceMethod<&run_wrap::cancel>("cancel"), InstanceMethod<&run_wrap::acknowledge>("acknowledge"),
                        InstanceMethod<&run_wrap::close>("close")});
}

run_wrap::run_wrap(const Napi::CallbackInfo & info) : Napi::ObjectWrap<run_wrap>(info) {
    const Napi::Env env = info.Env();
    guarded(env, [&] {
        const auto owner = unwrap_tagged<session_wrap>(info[0], SESSION_TAG, "a NativeSession")->get(env);
        run_params params = read_run_params(to_object(info[1], "params"));
        if (!info[2].IsFunction()) {
            throw engine_error(error_code::invalid_argument, "onEvents: expected a function");
        }
        auto listener = std::make_shared<js_listener>(env, info[2].As<Napi::Function>());
        try {
            scheduler_ = std::make_shared<scheduler>(owner, std::move(params), listener);
        } catch (...) {
            listener->abandon();
            throw;
        }
        env.GetInstanceData<addon_data>()->runs.insert(scheduler_);
        scheduler_->start();
    });
}

Napi::Value run_wrap::push(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        if (!scheduler_) {
            throw engine_error(error_code::aborted, "the run has ended");
        }
        scheduler_->push(read_request(to_object(info[0], "request")));
        return info.Env().Undefined();
    });
}

Napi::Value run_wrap::finish(const Napi::CallbackInfo & info) {
    if (scheduler_) {
        scheduler_->finish();
    }
    return info.Env().Undefined();
}

Napi::Value run_wrap::cancel(const Napi::CallbackInfo & info) {
    if (scheduler_) {
        scheduler_->cancel();
    }
    return info.Env().Undefined();
}

// (chunk, release): its rows have been taken. With `release` their memory is given back now and the buffers become
// empty; otherwise garbage collection does that, which may let many pieces pile up first.
Napi::Value run_wrap::acknowledge(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const auto chunk = to_object(info[0], "chunk");
        const double bytes = read_number(chunk, "bytes", 0);
        if (!(bytes >= 0 && bytes < 9e15) || !chunk.Get("blocks").IsArray()) {
            throw engine_error(error_code::invalid_argument, "chunk: expected a captured chunk");
        }
        if (scheduler_) {
            scheduler_->acknowledge(static_cast<size_t>(bytes));
        }
        if (info[1].ToBoolean()) {
            const auto blocks = chunk.Get("blocks").As<Napi::Array>();
            for (uint32_t i = 0; i < blocks.Length(); ++i) {
                const Napi::Value block = blocks.Get(i);
                if (block.IsArrayBuffer() && !block.As<Napi::ArrayBuffer>().IsDetached()) {
                    block.As<Napi::ArrayBuffer>().Detach();
                }
            }
        }
        return info.Env().Undefined();
    });
}

// After the end event: joins the thread (it is returning) and frees the session for the next run. Earlier: aborts first.
Napi::Value run_wrap::close(const Napi::CallbackInfo & info) {
    if (scheduler_) {
        scheduler_->cancel();
        scheduler_->join();
        info.Env().GetInstanceData<addon_data>()->runs.erase(scheduler_);
        scheduler_.reset();
    }
    return info.Env().Undefined();
}

}  // namespace rewardlens
