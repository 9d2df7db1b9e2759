#include "sampler.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace rewardlens {

sequence_sampler::sequence_sampler(const llama_vocab * vocab, const sampling_params & params) {
    chain_.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    if (!params.grammar.empty()) {
        llama_sampler * grammar = llama_sampler_init_grammar(vocab, params.grammar.c_str(), "root");
        if (grammar == nullptr) {
            throw engine_error(error_code::invalid_argument, "grammar: expected GBNF with a rule 'root', llama.cpp could not parse it");
        }
        llama_sampler_chain_add(chain_.get(), grammar);
    }
    if (params.temperature <= 0.0f) {
        llama_sampler_chain_add(chain_.get(), llama_sampler_init_greedy());
        return;
    }
    if (params.top_k > 0) {
        llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_k(params.top_k));
    }
    if (params.top_p < 1.0f) {
        llama_sampler_chain_add(chain_.get(), llama_sampler_init_top_p(params.top_p, 1));
    }
    if (params.min_p > 0.0f) {
        llama_sampler_chain_add(chain_.get(), llama_sampler_init_min_p(params.min_p, 1));
    }
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_temp(params.temperature));
    llama_sampler_chain_add(chain_.get(), llama_sampler_init_dist(params.seed));
}

sampled_token sequence_sampler::sample(const float * logits, int32_t vocab_size, bool with_statistics,
                                       std::vector<llama_token_data> & scratch) {
    bool not_a_number = false;
    scratch.resize(vocab_size);
    for (int32_t i = 0; i < vocab_size; ++i) {
        scratch[i] = {i, logits[i], 0.0f};
        not_a_number |= logits[i] != logits[i];
    }
    if (not_a_number) {
        throw engine_error(error_code::non_finite, "the logits contain NaN: an intervention drove the model out of range, or the weights are damaged");
    }
    llama_token_data_array candidates = {scratch.data(), scratch.size(), -1, false};
    llama_sampler_apply(chain_.get(), &candidates);
    if (candidates.selected < 0) {
        throw engine_error(error_code::decode_failed, "the sampler chose no token");
    }
    sampled_token out;
    out.token = candidates.data[candidates.selected].id;
    llama_sampler_accept(chain_.get(), out.token);
    if (with_statistics) {
        token_statistics(logits, vocab_size, out.token, out.log_probability, out.entropy);
    }
    return out;
}

void token_statistics(const float * logits, int32_t vocab_size, llama_token token, float & log_probability, float & entropy) {
    const float peak = *std::max_element(logits, logits + vocab_size);
    double total = 0.0;
    double weighted = 0.0;
    for (int32_t i = 0; i < vocab_size; ++i) {
        const double shifted = static_cast<double>(logits[i]) - peak;
        const double weight = std::exp(shifted);
        total += weight;
        weighted += weight > 0.0 ? weight * shifted : 0.0;
    }
    const double log_total = std::log(total);
    log_probability = static_cast<float>(static_cast<double>(logits[token]) - peak - log_total);
    entropy = static_cast<float>(log_total - weighted / total);
}

}  // namespace rewardlens
