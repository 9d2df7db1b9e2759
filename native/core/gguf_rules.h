// Rules about what a GGUF says: values on which llama.cpp would abort, divide by zero, loop or allocate absurdly.
#pragma once

#include <string>

#include "gguf_metadata.h"

namespace rewardlens {

/** `general.architecture`. Throws `corrupt` when it is missing or no string, `unsupported_arch` when unknown. */
std::string check_gguf_architecture(const gguf_metadata & metadata);

/**
 * Hyper-parameters of architecture `arch`: what src/llama-model.cpp (load_hparams), the graph builders and the CPU
 * operators assert about them instead of reporting. Keys that a rule does not name are left to llama.cpp, which
 * reports a wrong type or a missing key. Throws `corrupt`.
 */
void check_gguf_hyper_parameters(const gguf_metadata & metadata, const std::string & arch);

/** Tensor types that an operator would abort on while it computes: norms and biases must be f32, and so on. */
void check_gguf_tensor_types(const gguf_metadata & metadata);

/**
 * The vocabulary: its size, and that no token appears twice (src/llama-vocab.cpp asserts it). Reads the token list.
 * Throws `corrupt`. Cost: one pass over the tokens, about 100 bytes of memory for each.
 */
void check_gguf_vocabulary(gguf_source & source, const gguf_metadata & metadata, const std::string & arch);

/** Number of tokens: the length of the token list, else `<arch>.vocab_size`, else rows of token_embd; 0 if unknown. */
uint64_t gguf_vocabulary_size(const gguf_metadata & metadata, const std::string & arch);

}  // namespace rewardlens
