// Generated text against a plain loop over llama.cpp's API, one sequence at a time: with no plan, and with a hook whose
// edits change nothing.
#include <limits>
#include <string>

#include "check.h"
#include "engine_support.h"
#include "error.h"
#include "sampler.h"

using namespace rewardlens;
using namespace testing;

namespace {

constexpr int32_t STEPS = 12;

// Edits that must leave every bit as it is.
edit_list identity() {
    return list_of({make_edit({site_id::resid_post, 0}, edit_op::scale, {1.0f}), make_edit({site_id::mlp_post, 1}, edit_op::scale, {1.0f}),
                    make_edit({site_id::resid_post, 2}, edit_op::scale, {1.0f}, position_kind::completion)});
}

// A single sequence: token ids, statistics of every step and the last logits, bit for bit.
void expect_stock(const std::string & name, const session_shape & shape, run_params params, int32_t edits, const std::string & what) {
    const auto model = load(name);
    const auto prompt = random_tokens(3, 11);
    reference stock(*model, shape);
    std::vector<std::vector<float>> steps;
    // A capture of the last layer makes every prompt row an output: the same for the reference, since batch shape decides rounding.
    const auto expected = stock.greedy(prompt, STEPS, steps, !params.capture.empty());
    const bool hooked = !params.capture.empty() || !params.edit_lists.empty();
    const auto engine = open(model, shape);
    const outcome out = run(engine, params, {request(1, prompt, STEPS, edits)});
    CHECK_EQ(out.failed + out.message, std::string());
    if (!out.failed.empty()) {
        return;
    }
    check_record(out[1].result.tokens == expected, __FILE__, __LINE__, name + ": tokens, " + what);
    const int32_t vocab = model->info().vocab_size;
    for (int32_t i = 0; i < STEPS; ++i) {
        float log_probability = 0, entropy = 0;
        token_statistics(steps[i].data(), vocab, expected[i], log_probability, entropy);
        const std::string where = name + " step " + std::to_string(i) + ", " + what;
        check_record(out[1].result.log_probabilities[i] == log_probability, __FILE__, __LINE__, "log-probability: " + where);
        check_record(out[1].result.entropies[i] == entropy, __FILE__, __LINE__, "entropy: " + where);
    }
    const float * last = llama_get_logits_ith(engine->context(hooked), 0);
    check_record(same_bits(std::vector<float>(last, last + vocab), steps.back()), __FILE__, __LINE__, name + ": logits, " + what);
}

void expect_same_tokens(const outcome & out, const std::vector<sequence_request> & requests, const model & model, const session_shape & shape) {
    reference stock(model, shape);
    for (const sequence_request & r : requests) {
        stock.reset();
        std::vector<std::vector<float>> steps;
        CHECK(out[r.id].result.tokens == stock.greedy(r.prompt, r.max_tokens, steps));
    }
}

std::vector<sequence_request> various_requests(int32_t count) {
    std::vector<sequence_request> out;
    for (int32_t i = 0; i < count; ++i) {
        out.push_back(request(i, random_tokens(50 + i, 1 + (i * 7) % 23), 1 + (i * 5) % 17));
    }
    return out;
}

}  // namespace

static void test_no_plan_is_stock() {
    for (const int32_t flash_attention : {0, 1}) {
        const session_shape shape = {1, 512, flash_attention, 256};
        expect_stock("llama", shape, {}, -1, "no plan");
        expect_stock("llama-q8_0", shape, {}, -1, "no plan");
    }
    expect_stock("gemma2", {1, 512, 0, 256}, {}, -1, "no plan");
}

static void test_identity_edit_is_stock() {
    for (const std::string name : {"llama", "llama-q8_0", "llama-q4_0", "gemma3"}) {
        run_params params;
        params.edit_lists = {identity(), edit_list{}};
        expect_stock(name, {1, 512, 0, 256}, params, 0, "scale by one");
        expect_stock(name, {1, 512, 1, 256}, params, 1, "empty list, other list hooked");
        params.capture = capture_all({site_id::resid_post, site_id::mlp_post}, 3);
        expect_stock(name, {1, 512, 0, 256}, params, 0, "scale by one, captured");
    }
    run_params empty;
    empty.edit_lists = {edit_list{}};
    const auto model = load("llama");
    const auto session = open(model);
    const outcome out = run(session, empty, {request(1, random_tokens(3, 11), STEPS, 0)});
    CHECK_EQ(out.failed, std::string());
    CHECK_EQ(out[1].result.changed.size(), size_t(0));
}

static void test_batched_text_equals_one_at_a_time() {
    const auto model = load("llama");
    const auto requests = various_requests(20);
    for (const int32_t parallel : {1, 3, 8}) {
        const session_shape shape = {parallel, parallel == 3 ? 16 : 512, 0, 256};
        const outcome out = run(open(model, shape), {}, requests);
        CHECK_EQ(out.failed, std::string());
        expect_same_tokens(out, requests, *model, {});
    }
}

// Many sequences of different lengths with nothing left to admit: survivors move together and must not notice.
static void test_compaction() {
    const auto model = load("llama");
    std::vector<sequence_request> requests;
    for (int32_t i = 0; i < 24; ++i) {
        requests.push_back(request(i, random_tokens(80 + i, 3 + i % 5), i % 3 == 0 ? 30 : 1 + i % 4, i % 2 - 1));
    }
    run_params params;
    params.edit_lists = {list_of({make_edit({site_id::resid_post, 1}, edit_op::scale, {0.5f})})};
    params.capture = capture_all({site_id::resid_post}, 3);
    const outcome together = run(open(model, {24, 512, 0, 256}), params, requests);
    const outcome alone = run(open(model), params, requests);
    CHECK_EQ(together.failed + alone.failed, std::string());
    for (const sequence_request & r : requests) {
        CHECK(together[r.id].result.tokens == alone[r.id].result.tokens);
        CHECK(together[r.id].result.changed == alone[r.id].result.changed);
        for (size_t block = 0; block < alone[r.id].blocks.size(); ++block) {
            CHECK(relative_l2(together[r.id].blocks[block], alone[r.id].blocks[block]) < 3e-4);
        }
    }
    CHECK(together.progress.decode_calls < alone.progress.decode_calls / 3);
}

static void test_limits_and_eog() {
    const auto model = load("spm");
    const auto full = random_tokens(1, 250, 60);
    auto endless = request(1, full, 1000);
    endless.ignore_eog = true;
    auto limitless = request(2, {1, 5, 6}, std::numeric_limits<int32_t>::max());
    limitless.ignore_eog = true;
    run_params params;
    params.capture = capture_all({site_id::resid_post}, 1);
    CHECK_THROWS(run(open(model), params, {request(1, full, -1)}), engine_error);
    const outcome out = run(open(model), params, {endless, limitless, request(3, full, 1)});
    CHECK_EQ(out.failed + out.message, std::string());
    for (uint32_t id : {1u, 2u}) {
        CHECK(out[id].result.reason == finish_reason::context);
        CHECK_EQ(out[id].result.processed, 256);
        CHECK_EQ(out[id].result.captured_rows, 256);
    }
    CHECK(out[3].result.reason == finish_reason::length || out[3].result.reason == finish_reason::eog);
    CHECK_EQ(out[3].result.processed, 250);
}

static void test_seeds() {
    const auto model = load("spm");
    std::vector<sequence_request> requests;
    for (uint32_t i = 0; i < 6; ++i) {
        requests.push_back(request(i, {1, 5, 9}, 16));
        requests.back().sampling = {1.0f, 0, 1.0f, 0.0f, i / 2, ""};
        requests.back().ignore_eog = true;
    }
    const outcome out = run(open(model, {6, 512, 0, 256}), {}, requests);
    CHECK_EQ(out.failed, std::string());
    CHECK(out[0].result.tokens == out[1].result.tokens);  // the same seed in another slot
    CHECK(out[2].result.tokens == out[3].result.tokens);
    CHECK(out[0].result.tokens != out[2].result.tokens);
}

static void test_stop_strings() {
    const auto model = load("spm");
    const std::vector<llama_token> prompt = {1, 5, 9, 12};
    auto plain = request(1, prompt, 24);
    plain.ignore_eog = true;
    const outcome full = run(open(model), {}, {plain});
    CHECK_EQ(full.failed, std::string());
    const std::string text = full[1].result.text;
    if (!CHECK(text.size() > 8)) {
        return;
    }
    auto stopped = plain;
    stopped.stop = {"never here", text.substr(4, 3), "", text.substr(5, 3)};
    const outcome cut = run(open(model), {}, {stopped});
    CHECK(cut[1].result.reason == finish_reason::stop);
    CHECK_EQ(cut[1].result.text, text.substr(0, text.find(text.substr(4, 3))));
    CHECK(cut[1].result.tokens.size() < full[1].result.tokens.size());
}

static void test_grammar() {
    const auto model = load("spm");
    auto digits = request(1, {1, 5, 9}, 20);
    digits.sampling.grammar = "root ::= [0-9] [0-9] [0-9] \"=\" [a-c]";
    const outcome out = run(open(model), {}, {digits});
    CHECK_EQ(out.failed + out.message, std::string());
    CHECK(out[1].result.reason == finish_reason::eog);
    const std::string text = out[1].result.text;
    CHECK(text.size() == 5 && text[3] == '=' && text[4] >= 'a' && text[4] <= 'c' && text.find_first_not_of("0123456789") == 3);
    auto broken = digits;
    broken.sampling.grammar = "root ::= [";
    CHECK_EQ(run(open(model), {}, {broken}).failed, std::string("INVALID_ARGUMENT"));
    auto untokenized = request(1, {5, 9}, 4);
    untokenized.sampling.grammar = digits.sampling.grammar;
    CHECK_THROWS(run(open(load("llama")), {}, {untokenized}), engine_error);
}

int main() {
    RUN(test_no_plan_is_stock);
    RUN(test_identity_edit_is_stock);
    RUN(test_batched_text_equals_one_at_a_time);
    RUN(test_compaction);
    RUN(test_limits_and_eog);
    RUN(test_seeds);
    RUN(test_stop_strings);
    RUN(test_grammar);
    return check_report();
}
