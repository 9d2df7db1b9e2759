// The architectures that this llama.cpp can load.
#pragma once

#include <string>
#include <vector>

namespace rewardlens {

/**
 * Values of `general.architecture` that llama.cpp v0.5.0 loads, sorted. From LLM_ARCH_NAMES in src/llama-arch.cpp,
 * without "clip" (refused as a main model), "gptj" and "(unknown)" (no loader). llama.cpp offers no way to ask for
 * them; `test_gguf_check` looks each one up in the library's strings, so an update that drops one is noticed.
 */
const std::vector<std::string> & gguf_architectures();

/** Whether `name` is in `gguf_architectures`. */
bool gguf_is_supported_architecture(const std::string & name);

/** Up to three supported names that resemble `name`, for messages. May be empty. */
std::vector<std::string> gguf_similar_architectures(const std::string & name);

}  // namespace rewardlens
