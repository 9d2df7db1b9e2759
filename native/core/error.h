// Errors of the native core. Every failure that a caller can meet carries one of the codes of
// `RewardLensError` (src/native/errors.ts), so that bindings only have to forward it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace rewardlens {

// Mirrors ErrorCode in src/native/errors.ts; `error_code_name` gives the exact spelling.
enum class error_code {
    invalid_argument,
    model_load,
    unsupported_arch,
    site_not_found,
    site_ambiguous,
    shape_mismatch,
    memory_budget,
    context_full,
    decode_failed,
    non_finite,
    hook_not_fired,
    disposed,
    busy,
    aborted,
    backend,
};

// The code as TypeScript spells it, e.g. "SITE_NOT_FOUND".
inline const char * error_code_name(error_code code) {
    switch (code) {
        case error_code::invalid_argument: return "INVALID_ARGUMENT";
        case error_code::model_load:       return "MODEL_LOAD";
        case error_code::unsupported_arch: return "UNSUPPORTED_ARCH";
        case error_code::site_not_found:   return "SITE_NOT_FOUND";
        case error_code::site_ambiguous:   return "SITE_AMBIGUOUS";
        case error_code::shape_mismatch:   return "SHAPE_MISMATCH";
        case error_code::memory_budget:    return "MEMORY_BUDGET";
        case error_code::context_full:     return "CONTEXT_FULL";
        case error_code::decode_failed:    return "DECODE_FAILED";
        case error_code::non_finite:       return "NON_FINITE";
        case error_code::hook_not_fired:   return "HOOK_NOT_FIRED";
        case error_code::disposed:         return "DISPOSED";
        case error_code::busy:             return "BUSY";
        case error_code::aborted:          return "ABORTED";
        case error_code::backend:          return "BACKEND";
    }
    return "DECODE_FAILED";
}

// The one exception type of the core. It never crosses ggml: the hook stores it and the engine thread
// rethrows after llama_decode has returned.
class engine_error : public std::runtime_error {
  public:
    engine_error(error_code code, const std::string & message) : std::runtime_error(message), code_(code) {}
    error_code code() const { return code_; }

  private:
    error_code code_;
};

}  // namespace rewardlens
