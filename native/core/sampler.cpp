#include "sampler.h"

#include <algorithm>
#include <cmath>

#include "error.h"

namespace rewardlens {

namespace {

// llama.cpp's parser recurses at every bracket and would run out of stack.
void check_nesting(const std::string & grammar) {
    constexpr int MOST = 256;
    int depth = 0;
    for (char c : grammar) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (depth > MOST) {
            throw engine_error(error_code::invalid_argument, "grammar: expected at most " + std::to_string(MOST) + " nested brackets");
        }
    }
}

[[noreturn]] void throw_not_a_number() {
    throw engine_error(error_code::non_finite, "the logits contain NaN: an intervention drove the model out of range, or the weights are damaged");
}

// Index of the first largest logit. Lanes of fixed width, so that compilers turn the first pass into SIMD: a plain loop
// takes three times as long as llama.cpp's own sampler, this one a quarter.
llama_token first_largest(const float * logits, int32_t vocab_size) {
    constexpr int32_t LANES = 16;
    float peaks[LANES];
    int32_t damaged[LANES] = {};
    std::fill(peaks, peaks + LANES, -INFINITY);
    int32_t i = 0;
    for (; i + LANES <= vocab_size; i += LANES) {
        for (int32_t lane = 0; lane < LANES; ++lane) {
            const float x = logits[i + lane];
            peaks[lane] = x > peaks[lane] ? x : peaks[lane];
            damaged[lane] |= x != x;
        }
    }
    bool not_a_number = std::any_of(damaged, damaged + LANES, [](int32_t flag) { return flag != 0; });
    float peak = *std::max_element(peaks, peaks + LANES);
    for (; i < vocab_size; ++i) {
        peak = logits[i] > peak ? logits[i] : peak;
        not_a_number |= logits[i] != logits[i];
    }
    if (not_a_number) {
        throw_not_a_number();
    }
    return static_cast<llama_token>(std::find(logits, logits + vocab_size, peak) - logits);
}

}  // namespace

sequence_sampler::sequence_sampler(const llama_vocab * vocab, const sampling_params & params) {
    if (params.temperature <= 0.0f && params.grammar.empty()) {
        return;
    }
    chain_.reset(llama_sampler_chain_init(llama_sampler_chain_default_params()));
    if (!params.grammar.empty()) {
        check_nesting(params.grammar);
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
    sampled_token out;
    if (!chain_) {
        out.token = first_largest(logits, vocab_size);
        if (with_statistics) {
            token_statistics(logits, vocab_size, out.token, out.log_probability, out.entropy);
        }
        return out;
    }
    bool not_a_number = false;
    scratch.resize(vocab_size);
    for (int32_t i = 0; i < vocab_size; ++i) {
        scratch[i] = {i, logits[i], 0.0f};
        not_a_number |= logits[i] != logits[i];
    }
    if (not_a_number) {
        throw_not_a_number();
    }
    llama_token_data_array candidates = {scratch.data(), scratch.size(), -1, false};
    llama_sampler_apply(chain_.get(), &candidates);
    if (candidates.selected < 0) {
        throw engine_error(error_code::decode_failed, "the sampler chose no token");
    }
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
