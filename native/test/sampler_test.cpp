// Greedy sampling takes a shortcut without a grammar: it must choose what llama.cpp's own greedy sampler chooses.
#include "sampler.h"

#include <limits>
#include <random>

#include "check.h"
#include "error.h"

using namespace rewardlens;

namespace {

llama_token ours(const std::vector<float> & logits) {
    sampling_params params;
    params.temperature = 0.0f;
    sequence_sampler sampler(nullptr, params);
    std::vector<llama_token_data> scratch;
    return sampler.sample(logits.data(), static_cast<int32_t>(logits.size()), false, scratch).token;
}

llama_token llama_cpp(const std::vector<float> & logits) {
    std::vector<llama_token_data> data;
    for (size_t i = 0; i < logits.size(); ++i) {
        data.push_back({static_cast<llama_token>(i), logits[i], 0.0f});
    }
    llama_token_data_array candidates = {data.data(), data.size(), -1, false};
    llama_sampler * greedy = llama_sampler_init_greedy();
    llama_sampler_apply(greedy, &candidates);
    llama_sampler_free(greedy);
    return data[candidates.selected].id;
}

}  // namespace

static void test_greedy_equals_llama_cpp() {
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    for (size_t size = 1; size < 200; ++size) {  // whole lanes, partial lanes, fewer than one lane
        std::vector<float> logits(size);
        for (float & x : logits) {
            x = normal(random);
        }
        CHECK_EQ(ours(logits), llama_cpp(logits));
        for (float & x : logits) {
            x = static_cast<float>(static_cast<int>(x));  // many ties: the first one wins
        }
        CHECK_EQ(ours(logits), llama_cpp(logits));
    }
}

static void test_greedy_with_infinities() {
    const float infinity = std::numeric_limits<float>::infinity();
    std::vector<float> logits(40, -infinity);
    CHECK_EQ(ours(logits), llama_cpp(logits));
    logits[37] = -1e30f;
    CHECK_EQ(ours(logits), 37);
    logits[3] = infinity;
    CHECK_EQ(ours(logits), 3);
}

static void test_not_a_number_is_refused() {
    for (size_t at : {0, 15, 16, 39}) {
        std::vector<float> logits(40, 1.0f);
        logits[at] = std::numeric_limits<float>::quiet_NaN();
        error_code code = error_code::backend;
        try {
            ours(logits);
        } catch (const engine_error & error) {
            code = error.code();
        }
        CHECK(code == error_code::non_finite);
    }
}

int main() {
    RUN(test_greedy_equals_llama_cpp);
    RUN(test_greedy_with_infinities);
    RUN(test_not_a_number_is_refused);
    return check_report();
}
