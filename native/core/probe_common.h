// What the two halves of the probe trainer share: setting up (probe_trainer.cpp) and a step (probe_step.cpp).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "ggml-backend.h"
#include "ggml.h"

namespace rewardlens {

constexpr int32_t PROBE_PAD = 16;  // inputs and rows: ggml's fast f32 kernels want multiples of a SIMD register
constexpr int32_t ADAMW_VALUES = 7;

inline int64_t probe_pad(int64_t n) { return (n + PROBE_PAD - 1) / PROBE_PAD * PROBE_PAD; }

[[noreturn]] inline void wrong_argument(const std::string & name, const std::string & expected, const std::string & got) {
    throw engine_error(error_code::invalid_argument, name + ": expected " + expected + ", got " + got);
}

inline void set_tensor(ggml_tensor * tensor, const std::vector<float> & values) {
    ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
}

}  // namespace rewardlens
