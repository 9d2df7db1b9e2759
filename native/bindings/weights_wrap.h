// Functions on the weights of a model file.
#pragma once

#include <napi.h>

namespace rewardlens {

// (files, tensor) → promise of Float64Array, empty when no file has the tensor
Napi::Value column_norms_of(const Napi::CallbackInfo & info);

}  // namespace rewardlens
