// One sequence's sampler: llama.cpp's own chain with its own seed, so that text depends on nothing but the sequence.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "llama.h"

namespace rewardlens {

struct sampling_params {
    float temperature = 0.8f;  // ≤ 0: greedy
    int32_t top_k = 40;        // ≤ 0: off
    float top_p = 0.95f;       // ≥ 1: off
    float min_p = 0.05f;       // ≤ 0: off
    uint32_t seed = 0;
    std::string grammar;       // GBNF, empty = none; root rule "root"
};

// What is known about a sampled token. Both numbers are of the model's own distribution (temperature 1, nothing cut off).
struct sampled_token {
    llama_token token = -1;
    float log_probability = 0.0f;  // nats; only when asked for
    float entropy = 0.0f;          // nats; only when asked for
};

class sequence_sampler {
  public:
    // Chain: grammar, top-k, top-p, min-p, temperature, draw — llama.cpp's default order for the samplers it shares.
    // Greedy without a grammar needs no chain: the first largest logit is what llama.cpp's greedy sampler takes.
    // Throws INVALID_ARGUMENT when the grammar does not parse.
    sequence_sampler(const llama_vocab * vocab, const sampling_params & params);

    // Draws from `logits` [vocab_size] and accepts the token. `scratch` is reused between calls.
    // Throws NON_FINITE when the logits hold NaN. Cost: O(vocab).
    sampled_token sample(const float * logits, int32_t vocab_size, bool with_statistics, std::vector<llama_token_data> & scratch);

  private:
    struct chain_deleter {
        void operator()(llama_sampler * chain) const { llama_sampler_free(chain); }
    };
    std::unique_ptr<llama_sampler, chain_deleter> chain_;  // null: greedy without a grammar
};

// log-softmax value of one entry and the entropy of the whole, in nats. Double accumulation; cost O(vocab).
void token_statistics(const float * logits, int32_t vocab_size, llama_token token, float & log_probability, float & entropy);

}  // namespace rewardlens
