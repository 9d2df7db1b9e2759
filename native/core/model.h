// A loaded GGUF model: weights, metadata and vocabulary. Immutable after loading; shared by sessions.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "llama.h"

namespace rewardlens {

struct model_params {
    std::string path;
    int32_t gpu_layer_count = 0;        // -ngl; negative = all
    std::vector<std::string> devices;   // --device names; empty = all
    bool use_mmap = true;
    bool use_mlock = false;
    bool check_tensors = false;         // validate tensor data (reads the whole file)
};

// Facts that do not change while the model lives.
struct model_info {
    std::string architecture;
    std::string description;      // llama.cpp's one-line description, e.g. "llama 2.7M Q8_0"
    std::string file_type;        // e.g. "Q8_0"
    int32_t layer_count = 0;
    int32_t d_model = 0;
    int32_t head_count = 0;
    int32_t kv_head_count = 0;
    int32_t train_context_length = 0;
    int32_t vocab_size = 0;       // rows of the logits
    std::string vocab_type;       // "none" | "spm" | "bpe" | "wpm" | "ugm" | "rwkv" | "plamo2"
    uint64_t parameter_count = 0;
    uint64_t size_bytes = 0;
    bool offloaded = false;       // layers on a GPU
    bool recurrent = false;
    bool hybrid = false;
    bool has_encoder = false;
    int32_t bos = -1, eos = -1, eot = -1, nl = -1, pad = -1;  // -1 = the vocabulary has none
    bool add_bos = false, add_eos = false;
    std::string chat_template;    // empty = none
};

class model {
  public:
    // Loads `params.path`. `on_progress(fraction)` runs on the calling thread; returning false aborts (ABORTED).
    // Throws MODEL_LOAD with llama.cpp's last warnings. Cost: reads the file (lazily with mmap).
    model(const model_params & params, const std::function<bool(float)> & on_progress);
    ~model();
    model(const model &) = delete;
    model & operator=(const model &) = delete;

    llama_model * handle() const { return model_; }
    const llama_vocab * vocab() const { return vocab_; }
    const model_info & info() const { return info_; }

    // Scalar metadata of the file, in file order, values as llama.cpp prints them.
    std::vector<std::pair<std::string, std::string>> metadata() const;

    // Text to token ids. add_special: BOS/EOS as the model wants; parse_special: control-token text becomes the token.
    // Throws INVALID_ARGUMENT when the model has no tokenizer.
    std::vector<llama_token> tokenize(const std::string & text, bool add_special, bool parse_special) const;

    // Token ids to text. Throws INVALID_ARGUMENT for an id outside the vocabulary or a model without tokenizer.
    std::string detokenize(const std::vector<llama_token> & tokens, bool remove_special, bool unparse_special) const;

    // The bytes of one token (may be part of a UTF-8 character); special tokens give "" unless `special`.
    std::string token_piece(llama_token token, bool special) const;

    bool is_end_of_generation(llama_token token) const;

  private:
    void read_info();

    llama_model * model_ = nullptr;
    const llama_vocab * vocab_ = nullptr;
    model_info info_;
};

}  // namespace rewardlens
