// Decides whether a model file may be handed to llama.cpp, and says what is wrong when it may not.
//
// llama.cpp reports many malformed files, but aborts the process (GGML_ASSERT), divides by zero or allocates without
// bound on others. This check reads the header independently, in milliseconds, and refuses what is known to do that.
// It cannot know every assertion of every architecture: rewardlens-load-check (native/probe) runs llama.cpp's own
// loading in a separate process for the rest.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "error.h"
#include "gguf_reader.h"

namespace rewardlens {

/** The verdict and, as far as the header could be read, facts about the model. */
struct gguf_check_result {
    bool ok = false;
    gguf_check_kind kind = gguf_check_kind::io;
    std::string message;  // empty when ok; otherwise one line that names the file, the place and the expectation

    std::string architecture;          // general.architecture
    std::vector<std::string> files;    // every part in load order; one for a model that is not split
    uint64_t total_bytes = 0;          // size of all parts
    uint64_t tensor_bytes = 0;         // weights in all parts
    uint64_t tensor_count = 0;         // in all parts
    uint64_t vocabulary_size = 0;      // tokens
    std::string tokenizer;             // tokenizer.ggml.model; "none" and "no_vocab" cannot tokenize
    int64_t block_count = -1;          // layers; -1 = not known, here and below
    int64_t embedding_length = -1;     // d_model
    int64_t context_length = -1;       // of training
    int64_t file_type = -1;            // general.file_type, llama_ftype
};

/**
 * Checks the model at `path`, a GGUF file or the first part of a split model (`<prefix>-00001-of-00004.gguf`; the
 * other parts must lie beside it). Never throws and never reads the weights. Time: a few milliseconds, with a large
 * vocabulary tens of them; memory: a few times the size of the header.
 */
gguf_check_result gguf_check(const std::string & path);

/** The same for one file in memory, which must not be split. For tests and the fuzzer. */
gguf_check_result gguf_check_memory(const void * data, size_t size);

/** "OK", "NOT_GGUF", "TRUNCATED", "CORRUPT", "UNSUPPORTED_VERSION", "UNSUPPORTED_ARCH", "MISSING_SPLIT", "IO". */
const char * gguf_check_kind_name(gguf_check_kind kind);

/** The error code of the public API: `unsupported_arch` for that kind, else `model_load`. */
error_code gguf_check_error_code(gguf_check_kind kind);

}  // namespace rewardlens
