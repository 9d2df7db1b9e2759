#include <atomic>

#include "convert.h"
#include "promise_task.h"
#include "wraps.h"

namespace rewardlens {

namespace {

using model_pointer = std::shared_ptr<const model>;

// Progress fractions to the JS thread; dropped when nobody listens.
struct progress_channel {
    Napi::ThreadSafeFunction function;
    bool open = false;
    void send(float fraction) {
        if (open) {
            function.NonBlockingCall([fraction](Napi::Env env, Napi::Function callback) {
                callback.Call({Napi::Number::New(env, fraction)});
            });
        }
    }
};

}  // namespace

Napi::Function model_wrap::define(Napi::Env env) {
    return DefineClass(env, "NativeModel",
                       {InstanceMethod<&model_wrap::info>("info"), InstanceMethod<&model_wrap::metadata>("metadata"),
                        InstanceMethod<&model_wrap::tokenize>("tokenize"), InstanceMethod<&model_wrap::detokenize>("detokenize"),
                        InstanceMethod<&model_wrap::token_piece>("tokenPiece"),
                        InstanceMethod<&model_wrap::is_end_of_generation>("isEndOfGeneration"),
                        InstanceMethod<&model_wrap::release>("release")});
}

model_wrap::model_wrap(const Napi::CallbackInfo & info) : Napi::ObjectWrap<model_wrap>(info) {
    if (info.Length() != 1 || !info[0].IsExternal()) {
        throw to_js_error(info.Env(), error_code::invalid_argument, "NativeModel: use loadModel");
    }
    info.This().As<Napi::Object>().TypeTag(&MODEL_TAG);
    model_ = *info[0].As<Napi::External<model_pointer>>().Data();
}

Napi::Value model_wrap::load(const Napi::CallbackInfo & info) {
    const Napi::Env env = info.Env();
    return guarded(env, [&]() -> Napi::Value {
        const model_params params = read_model_params(to_object(info[0], "params"));
        auto aborted = std::make_shared<std::atomic<bool>>(false);
        auto channel = std::make_shared<progress_channel>();
        if (info[1].IsFunction()) {
            channel->function = Napi::ThreadSafeFunction::New(env, info[1].As<Napi::Function>(), "rewardlens.load", 0, 1);
            channel->open = true;
        }
        const auto work = [params, aborted, channel]() -> model_pointer {
            const auto close = std::shared_ptr<void>(nullptr, [channel](void *) {
                if (channel->open) {
                    channel->open = false;
                    channel->function.Release();
                }
            });
            return std::make_shared<const model>(params, [&](float fraction) {
                channel->send(fraction);
                return !aborted->load();
            });
        };
        const auto convert = [](Napi::Env js, model_pointer & loaded) -> Napi::Value {
            return js.GetInstanceData<addon_data>()->model_constructor.New({Napi::External<model_pointer>::New(js, &loaded)});
        };
        auto out = Napi::Object::New(env);
        out.Set("promise", promise_task<model_pointer>::run(env, work, convert));
        out.Set("abort", Napi::Function::New(env, [aborted](const Napi::CallbackInfo &) { aborted->store(true); }));
        return out;
    });
}

model_pointer model_wrap::get(Napi::Env env) const {
    if (!model_) {
        throw to_js_error(env, error_code::disposed, "the model has been disposed");
    }
    return model_;
}

Napi::Value model_wrap::info(const Napi::CallbackInfo & info) { return from_info(info.Env(), get(info.Env())->info()); }

Napi::Value model_wrap::metadata(const Napi::CallbackInfo & info) {
    const auto pairs = get(info.Env())->metadata();
    auto out = Napi::Object::New(info.Env());
    for (const auto & pair : pairs) {
        out.Set(pair.first, pair.second);
    }
    return out;
}

Napi::Value model_wrap::tokenize(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const auto model = get(info.Env());
        return from_int32s(info.Env(), model->tokenize(to_text(info[0], "text"), info[1].ToBoolean(), info[2].ToBoolean()));
    });
}

Napi::Value model_wrap::detokenize(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const auto model = get(info.Env());
        return Napi::String::New(info.Env(), model->detokenize(to_int32s(info[0], "tokens"), info[1].ToBoolean(), info[2].ToBoolean()));
    });
}

Napi::Value model_wrap::token_piece(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const auto model = get(info.Env());
        const int32_t token = to_int(info[0], "token");
        if (token < 0 || token >= model->info().vocab_size) {
            throw engine_error(error_code::invalid_argument, "token: expected an id in 0.." + std::to_string(model->info().vocab_size - 1) +
                                                                 ", got " + std::to_string(token));
        }
        const std::string piece = model->token_piece(token, info[1].ToBoolean());
        return Napi::Buffer<char>::Copy(info.Env(), piece.data(), piece.size());
    });
}

Napi::Value model_wrap::is_end_of_generation(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        return Napi::Boolean::New(info.Env(), get(info.Env())->is_end_of_generation(to_int(info[0], "token")));
    });
}

// Unmapping a large model takes a while: off the JS thread.
Napi::Value model_wrap::release(const Napi::CallbackInfo & info) {
    auto holder = std::make_shared<model_pointer>(std::move(model_));
    model_.reset();
    return promise_task<bool>::run(
        info.Env(),
        [holder] {
            holder->reset();
            return true;
        },
        [](Napi::Env env, bool &) { return env.Undefined(); });
}

}  // namespace rewardlens
