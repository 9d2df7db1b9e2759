#include <napi.h>

#include "abi_check.h"
#include "build_info.h"
#include "convert.h"
#include "ggml.h"
#include "gguf_check.h"
#include "llama.h"
#include "probe_wrap.h"
#include "promise_task.h"
#include "runtime.h"
#include "weights_wrap.h"
#include "wraps.h"

namespace rewardlens {

namespace {

Napi::Value load_backends(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        load_backends_from(to_text(info[0], "directory"));
        return info.Env().Undefined();
    });
}

Napi::Value load_plugin(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        load_backend_plugin(to_text(info[0], "path"));
        return info.Env().Undefined();
    });
}

Napi::Value devices(const Napi::CallbackInfo & info) {
    auto out = Napi::Array::New(info.Env());
    uint32_t n = 0;
    for (const device_info & device : list_devices()) {
        auto entry = Napi::Object::New(info.Env());
        entry.Set("name", device.name);
        entry.Set("description", device.description);
        entry.Set("type", device.type);
        entry.Set("backend", device.backend);
        entry.Set("memoryFreeBytes", static_cast<double>(device.memory_free_bytes));
        entry.Set("memoryTotalBytes", static_cast<double>(device.memory_total_bytes));
        out.Set(n++, entry);
    }
    return out;
}

// The header check of a file that llama.cpp has not seen yet; see gguf_check.h.
Napi::Value check_file(const Napi::CallbackInfo & info) {
    const std::string path = guarded(info.Env(), [&] { return to_text(info[0], "path"); });
    return promise_task<gguf_check_result>::run(
        info.Env(), [path] { return gguf_check(path); },
        [](Napi::Env env, gguf_check_result & result) -> Napi::Value {
            auto out = Napi::Object::New(env);
            out.Set("ok", result.ok);
            out.Set("kind", gguf_check_kind_name(result.kind));
            out.Set("code", error_code_name(gguf_check_error_code(result.kind)));
            out.Set("message", result.message);
            out.Set("tensorBytes", static_cast<double>(result.tensor_bytes));
            out.Set("totalBytes", static_cast<double>(result.total_bytes));
            auto files = Napi::Array::New(env, result.files.size());
            for (uint32_t i = 0; i < result.files.size(); ++i) {
                files.Set(i, result.files[i]);
            }
            out.Set("files", files);
            return out;
        });
}

// Before this environment goes: no engine thread may outlive it.
void stop_runs(addon_data * data) {
    for (const auto & run : data->runs) {
        run->cancel();
    }
    for (const auto & run : data->runs) {
        run->join();
    }
    data->runs.clear();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
    const std::string problem = abi_mismatch();
    if (!problem.empty()) {
        throw to_js_error(env, error_code::backend, problem + "; rebuild with npm run build:native");
    }
    auto * data = new addon_data();
    env.SetInstanceData(data);  // deleted with the environment
    env.AddCleanupHook(stop_runs, data);
    const Napi::Function model_class = model_wrap::define(env);
    const Napi::Function session_class = session_wrap::define(env);
    const Napi::Function run_class = run_wrap::define(env);
    data->model_constructor = Napi::Persistent(model_class);
    data->session_constructor = Napi::Persistent(session_class);
    data->run_constructor = Napi::Persistent(run_class);
    exports.Set("llamaRelease", REWARDLENS_LLAMA_RELEASE);
    exports.Set("llamaVersion", llama_version());
    exports.Set("ggmlVersion", ggml_version());
    exports.Set("ggmlCommit", ggml_commit());
    exports.Set("maxParallel", static_cast<double>(llama_max_parallel_sequences()));
    exports.Set("loadBackends", Napi::Function::New(env, load_backends));
    exports.Set("loadPlugin", Napi::Function::New(env, load_plugin));
    exports.Set("devices", Napi::Function::New(env, devices));
    exports.Set("checkFile", Napi::Function::New(env, check_file));
    exports.Set("loadModel", Napi::Function::New(env, model_wrap::load));
    exports.Set("NativeSession", session_class);
    exports.Set("NativeProbeTrainer", probe_wrap::define(env));
    exports.Set("probePredictSets", Napi::Function::New(env, probe_predict_sets));
    exports.Set("probePredictPermuted", Napi::Function::New(env, probe_predict_permuted));
    exports.Set("columnNorms", Napi::Function::New(env, column_norms_of));
    return exports;
}

}  // namespace

}  // namespace rewardlens

static Napi::Object init_addon(Napi::Env env, Napi::Object exports) { return rewardlens::init(env, exports); }

NODE_API_MODULE(rewardlens, init_addon)
