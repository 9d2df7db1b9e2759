#include "weights_wrap.h"

#include <algorithm>
#include <string>
#include <vector>

#include "convert.h"
#include "promise_task.h"
#include "weight_norms.h"

namespace rewardlens {

Napi::Value column_norms_of(const Napi::CallbackInfo & info) {
    return guarded(info.Env(), [&]() -> Napi::Value {
        if (!info[0].IsArray()) {
            throw engine_error(error_code::invalid_argument, "files: expected an array of paths");
        }
        const auto list = info[0].As<Napi::Array>();
        std::vector<std::string> files;
        for (uint32_t i = 0; i < list.Length(); ++i) {
            files.push_back(to_text(list.Get(i), "files[]"));
        }
        std::string tensor = to_text(info[1], "tensor");
        return promise_task<std::vector<double>>::run(
            info.Env(), [files = std::move(files), tensor = std::move(tensor)] { return column_norms(files, tensor); },
            [](Napi::Env env, std::vector<double> & sums) -> Napi::Value {
                auto out = Napi::Float64Array::New(env, sums.size());
                std::copy(sums.begin(), sums.end(), out.Data());
                return out;
            });
    });
}

}  // namespace rewardlens
