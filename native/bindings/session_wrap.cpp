#include "convert.h"
#include "promise_task.h"
#include "wraps.h"

namespace rewardlens {

Napi::Function session_wrap::define(Napi::Env env) {
    return DefineClass(env, "NativeSession",
                       {InstanceMethod<&session_wrap::info>("info"), InstanceMethod<&session_wrap::sites>("sites"),
                        InstanceMethod<&session_wrap::start>("start"), InstanceMethod<&session_wrap::release>("release")});
}

session_wrap::session_wrap(const Napi::CallbackInfo & info) : Napi::ObjectWrap<session_wrap>(info) {
    guarded(info.Env(), [&] {
        const auto * owner = unwrap_tagged<model_wrap>(info[0], MODEL_TAG, "a NativeModel");
        session_ = std::make_shared<session>(owner->get(info.Env()), read_session_params(to_object(info[1], "params")));
        info.This().As<Napi::Object>().TypeTag(&SESSION_TAG);
    });
}

std::shared_ptr<session> session_wrap::get(Napi::Env env) const {
    if (!session_) {
        throw to_js_error(env, error_code::disposed, "the session has been disposed");
    }
    return session_;
}

Napi::Value session_wrap::info(const Napi::CallbackInfo & info) {
    const auto s = get(info.Env());
    auto out = Napi::Object::New(info.Env());
    out.Set("contextLength", s->context_length());
    out.Set("parallel", s->params().parallel);
    out.Set("ubatch", s->params().ubatch);
    out.Set("threads", s->params().threads);
    return out;
}

// Takes the session while it traces the graph, so that no run starts meanwhile.
Napi::Value session_wrap::sites(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const auto s = get(info.Env());
        if (!s->try_acquire()) {
            throw engine_error(error_code::busy, "the session is running");
        }
        return promise_task<site_catalog>::run(
            info.Env(),
            [s] {
                const auto release = std::shared_ptr<void>(nullptr, [s](void *) { s->release(); });
                return s->catalog();
            },
            from_catalog);
    });
}

Napi::Value session_wrap::start(const Napi::CallbackInfo & info) {
    return info.Env().GetInstanceData<addon_data>()->run_constructor.New({info.This(), info[0], info[1]});
}

// Stops a run in flight, waits for its thread and frees the context; off the JS thread.
Napi::Value session_wrap::release(const Napi::CallbackInfo & info) {
    const Napi::Env env = info.Env();
    auto holder = std::make_shared<std::shared_ptr<session>>(std::move(session_));
    session_.reset();
    std::vector<std::shared_ptr<scheduler>> mine;
    auto & runs = env.GetInstanceData<addon_data>()->runs;
    for (const auto & run : runs) {
        if (*holder && run->uses(**holder)) {
            run->cancel();
            mine.push_back(run);
        }
    }
    return promise_task<bool>::run(
        env,
        [holder, mine] {
            for (const auto & run : mine) {
                run->join();
            }
            holder->reset();
            return true;
        },
        [](Napi::Env js, bool &) { return js.Undefined(); });
}

}  // namespace rewardlens
