#include "probe_wrap.h"

#include "convert.h"
#include "probe_sets.h"
#include "promise_task.h"

namespace rewardlens {

namespace {

std::vector<float> to_floats(const Napi::Value & value, const std::string & name) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
        throw engine_error(error_code::invalid_argument, name + ": expected a Float32Array");
    }
    const auto array = value.As<Napi::Float32Array>();
    return {array.Data(), array.Data() + array.ElementLength()};
}

Napi::Float32Array from_floats(Napi::Env env, const std::vector<float> & values) {
    auto out = Napi::Float32Array::New(env, values.size());
    std::copy(values.begin(), values.end(), out.Data());
    return out;
}

int32_t whole(const Napi::Object & object, const char * key, int32_t fallback) {
    const Napi::Value value = object.Get(key);
    return value.IsUndefined() ? fallback : to_int(value, key);
}

probe_weights read_weights(const Napi::Object & object) {
    return {to_floats(object.Get("w1"), "weights.w1"), to_floats(object.Get("b1"), "weights.b1"), to_floats(object.Get("w2"), "weights.w2"),
            to_floats(object.Get("b2"), "weights.b2")};
}

probe_spec read_spec(const Napi::Object & object) {
    probe_spec spec;
    spec.layer = whole(object, "layer", 0);
    spec.hidden = whole(object, "hidden", 0);
    spec.rule.head = probe_head_from_name(read_string(object, "head", "sigmoid"));
    spec.rule.target = probe_target_from_name(read_string(object, "target", "mc"));
    spec.rule.lambda = read_number(object, "lambda", 1);
    spec.reward_column = whole(object, "rewardColumn", 0);
    spec.learning_rate = static_cast<float>(read_number(object, "learningRate", 1e-4));
    spec.weight_decay = static_cast<float>(read_number(object, "weightDecay", 0.01));
    spec.mean = to_floats(object.Get("mean"), "mean");
    spec.scale = to_floats(object.Get("scale"), "scale");
    if (!object.Get("neurons").IsUndefined()) {
        spec.neurons = to_int32s(object.Get("neurons"), "neurons");
        if (spec.neurons.empty()) {
            throw engine_error(error_code::invalid_argument, "neurons: expected at least one (leave it out for all)");
        }
    }
    spec.weights = read_weights(to_object(object.Get("weights"), "weights"));
    return spec;
}

trainer_params read_trainer(const Napi::Object & object) {
    trainer_params params;
    params.width = whole(object, "width", 0);
    params.layers = whole(object, "layers", 0);
    params.threads = whole(object, "threads", 0);
    const double gamma = read_number(object, "gamma", 1);
    const Napi::Value probes = object.Get("probes");
    if (!probes.IsArray()) {
        throw engine_error(error_code::invalid_argument, "probes: expected an array");
    }
    const auto list = probes.As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
        params.probes.push_back(read_spec(to_object(list.Get(i), "probes[]")));
        params.probes.back().rule.gamma = gamma;
    }
    return params;
}

// Rows in a JavaScript array, kept alive by a reference while a worker thread reads them.
struct pinned_rows {
    probe_rows rows;
    std::shared_ptr<Napi::ObjectReference> reference;
};

pinned_rows pin_rows(const Napi::Value & value, const trainer_params & params) {
    const auto type = value.IsTypedArray() ? value.As<Napi::TypedArray>().TypedArrayType() : napi_int8_array;
    if (type != napi_uint16_array && type != napi_float32_array) {
        throw engine_error(error_code::invalid_argument, "rows: expected a Uint16Array of half floats or a Float32Array");
    }
    const auto array = value.As<Napi::TypedArray>();
    const int64_t stride = static_cast<int64_t>(params.width) * params.layers;
    const auto values = static_cast<int64_t>(array.ElementLength());
    if (values == 0 || values % stride != 0) {
        throw engine_error(error_code::invalid_argument, "rows: expected a multiple of " + std::to_string(stride) + " values (layers × width), got " + std::to_string(values));
    }
    pinned_rows out;
    out.rows.half = type == napi_uint16_array;
    // not by way of ArrayBuffer(), which fails for shared memory
    out.rows.data = out.rows.half ? static_cast<const void *>(array.As<Napi::Uint16Array>().Data()) : array.As<Napi::Float32Array>().Data();
    out.rows.count = values / stride;
    out.reference = std::make_shared<Napi::ObjectReference>(Napi::Persistent(array.As<Napi::Object>()));
    return out;
}

probe_net read_net(const Napi::Object & object) {
    probe_net net;
    net.inputs = whole(object, "inputs", 0);
    net.hidden = whole(object, "hidden", 0);
    net.head = probe_head_from_name(read_string(object, "head", "sigmoid"));
    net.weights = read_weights(to_object(object.Get("weights"), "weights"));
    return net;
}

}  // namespace

Napi::Function probe_wrap::define(Napi::Env env) {
    return DefineClass(env, "NativeProbeTrainer",
                       {InstanceMethod<&probe_wrap::step>("step"), InstanceMethod<&probe_wrap::loss>("loss"), InstanceMethod<&probe_wrap::predict>("predict"),
                        InstanceMethod<&probe_wrap::weights>("weights"), InstanceMethod<&probe_wrap::set_weights>("setWeights"),
                        InstanceMethod<&probe_wrap::release>("release")});
}

probe_wrap::probe_wrap(const Napi::CallbackInfo & info) : Napi::ObjectWrap<probe_wrap>(info) {
    guarded(info.Env(), [&] { holder_ = std::make_shared<holder>(read_trainer(to_object(info[0], "params"))); });
}

std::shared_ptr<probe_wrap::holder> probe_wrap::take() {
    if (!holder_) {
        throw engine_error(error_code::disposed, "the probe trainer has been disposed");
    }
    if (holder_->busy.exchange(true)) {
        throw engine_error(error_code::busy, "the probe trainer is at work");
    }
    auto held = holder_;
    return {held.get(), [held](holder * h) { h->busy = false; }};
}

Napi::Value probe_wrap::run_step(const Napi::CallbackInfo & info, bool update) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto held = take();
        auto pinned = pin_rows(info[0], held->trainer.params());
        auto lengths = to_int32s(info[1], "lengths");
        auto rewards = to_floats(info[2], "rewards");
        // The reference must end on this thread: it is given to the conversion, not to the work.
        auto work = [held, rows = pinned.rows, lengths = std::move(lengths), rewards = std::move(rewards), update]() mutable {
            const auto done = std::move(held);
            return done->trainer.step(rows, lengths, rewards, update);
        };
        held.reset();
        return promise_task<std::vector<float>>::run(info.Env(), std::move(work), [reference = pinned.reference](Napi::Env env, std::vector<float> & losses) -> Napi::Value {
            return from_floats(env, losses);
        });
    });
}

Napi::Value probe_wrap::step(const Napi::CallbackInfo & info) { return run_step(info, true); }

Napi::Value probe_wrap::loss(const Napi::CallbackInfo & info) { return run_step(info, false); }

Napi::Value probe_wrap::predict(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto held = take();
        auto pinned = pin_rows(info[0], held->trainer.params());
        auto work = [held, rows = pinned.rows]() mutable {
            const auto done = std::move(held);
            return done->trainer.predict(rows);
        };
        held.reset();
        return promise_task<std::vector<float>>::run(info.Env(), std::move(work), [reference = pinned.reference](Napi::Env env, std::vector<float> & values) -> Napi::Value {
            return from_floats(env, values);
        });
    });
}

Napi::Value probe_wrap::weights(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        const probe_weights w = take()->trainer.weights(to_int(info[0], "probe"));
        auto out = Napi::Object::New(info.Env());
        out.Set("w1", from_floats(info.Env(), w.w1));
        out.Set("b1", from_floats(info.Env(), w.b1));
        out.Set("w2", from_floats(info.Env(), w.w2));
        out.Set("b2", from_floats(info.Env(), w.b2));
        return out;
    });
}

Napi::Value probe_wrap::set_weights(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        take()->trainer.set_weights(to_int(info[0], "probe"), read_weights(to_object(info[1], "weights")));
        return info.Env().Undefined();
    });
}

// Work in flight keeps the trainer until it is done; freeing happens off the JS thread.
Napi::Value probe_wrap::release(const Napi::CallbackInfo & info) {
    auto held = std::make_shared<std::shared_ptr<holder>>(std::move(holder_));
    holder_.reset();
    return promise_task<bool>::run(
        info.Env(),
        [held] {
            held->reset();
            return true;
        },
        [](Napi::Env env, bool &) { return env.Undefined(); });
}

Napi::Value probe_predict_sets(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto net = std::make_shared<probe_net>(read_net(to_object(info[0], "probe")));
        auto x = to_floats(info[1], "x");
        const int32_t rows = to_int(info[2], "rows");
        const int32_t threads = to_int(info[4], "threads");
        if (!info[3].IsArray()) {
            throw engine_error(error_code::invalid_argument, "sets: expected an array of Int32Array");
        }
        std::vector<std::vector<int32_t>> sets;
        const auto list = info[3].As<Napi::Array>();
        for (uint32_t i = 0; i < list.Length(); ++i) {
            sets.push_back(to_int32s(list.Get(i), "sets[]"));
        }
        return promise_task<std::vector<float>>::run(
            info.Env(), [net, x = std::move(x), rows, sets = std::move(sets), threads] { return predict_sets(*net, x, rows, sets, threads); },
            [](Napi::Env env, std::vector<float> & values) -> Napi::Value { return from_floats(env, values); });
    });
}

Napi::Value probe_predict_permuted(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        auto net = std::make_shared<probe_net>(read_net(to_object(info[0], "probe")));
        auto x = to_floats(info[1], "x");
        const int32_t rows = to_int(info[2], "rows");
        auto permutation = to_int32s(info[3], "permutation");
        const int32_t threads = to_int(info[4], "threads");
        return promise_task<std::vector<float>>::run(
            info.Env(), [net, x = std::move(x), rows, permutation = std::move(permutation), threads] { return predict_permuted(*net, x, rows, permutation, threads); },
            [](Napi::Env env, std::vector<float> & values) -> Napi::Value { return from_floats(env, values); });
    });
}

}  // namespace rewardlens
