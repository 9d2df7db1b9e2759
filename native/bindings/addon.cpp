#include <napi.h>

#include "abi_check.h"
#include "build_info.h"
#include "ggml.h"
#include "llama.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
    const std::string problem = rewardlens::abi_mismatch();
    if (!problem.empty()) {
        throw Napi::Error::New(env, problem + "; rebuild with npm run build:native");
    }
    exports.Set("llamaRelease", REWARDLENS_LLAMA_RELEASE);
    exports.Set("llamaVersion", llama_version());
    exports.Set("ggmlVersion", ggml_version());
    exports.Set("ggmlCommit", ggml_commit());
    return exports;
}

}  // namespace

NODE_API_MODULE(rewardlens, init)
