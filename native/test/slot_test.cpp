// Which prompt positions may come from another sequence's cache, which rows a plan wants, and token statistics.
#include "slot.h"

#include <cmath>
#include <limits>
#include <vector>

#include "check.h"
#include "plan.h"
#include "sampler.h"

using namespace rewardlens;

namespace {

using tokens = std::vector<llama_token>;

struct arm {
    edit_list list;
    compiled_edits compiled;
    explicit arm(position_set positions) {
        edit e;
        e.op = edit_op::set;
        e.positions = std::move(positions);
        e.values = std::make_shared<const std::vector<float>>(1, 0.0f);
        list.edits.push_back(e);
        list.source_count = 1;
        compiled.list = &list;
    }
    arm(const arm &) = delete;
    const compiled_edits * get() const { return &compiled; }
};

position_set at(position_kind kind, int32_t from = 0, std::vector<int32_t> list = {}) { return {kind, std::move(list), from}; }

capture_plan capture(position_set positions) {
    capture_plan out;
    out.sites.push_back({site_id::resid_post, 0});
    out.positions = std::move(positions);
    return out;
}

sequence_request prompt(const tokens & ids) {
    sequence_request out;
    out.prompt = ids;
    return out;
}

const tokens SOURCE = {1, 2, 3, 4, 5, 6, 7, 8};
const capture_plan NOTHING;

// `request` is SOURCE's first `same` tokens and then others, `length` in all; the source's prompt had `source_prompt`.
int32_t shared(int32_t same, int32_t length, int32_t source_prompt, const compiled_edits * source_edits, const compiled_edits * edits,
               const capture_plan & plan = NOTHING) {
    tokens ids(SOURCE.begin(), SOURCE.begin() + same);
    ids.resize(length, 50);
    return shareable_prefix(SOURCE, source_prompt, source_edits, prompt(ids), edits, plan);
}

}  // namespace

static void test_common_tokens() {
    CHECK_EQ(shared(3, 6, 8, nullptr, nullptr), 3);
    CHECK_EQ(shared(0, 6, 8, nullptr, nullptr), 0);
    CHECK_EQ(shared(8, 12, 8, nullptr, nullptr), 8);
    CHECK_EQ(shared(8, 12, 4, nullptr, nullptr), 8);  // cells of the source's completion serve as well
    CHECK_EQ(shared(6, 6, 8, nullptr, nullptr), 4);   // the last two are computed: logits, and no piece of one row
    CHECK_EQ(shared(1, 1, 8, nullptr, nullptr), 0);
    CHECK_EQ(shareable_prefix({}, 0, nullptr, prompt({1, 2}), nullptr, NOTHING), 0);
}

static void test_captured_positions_are_computed() {
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::all))), 0);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::prompt))), 0);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::all, 4))), 4);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::completion))), 7);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::s0))), 7);
    CHECK_EQ(shared(8, 8, 8, nullptr, nullptr, capture(at(position_kind::s0))), 6);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::last))), 7);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::list, 0, {-4}))), 5);
    CHECK_EQ(shared(8, 9, 8, nullptr, nullptr, capture(at(position_kind::list, 0, {2}))), 2);
}

static void test_edited_positions_need_the_same_edits() {
    const arm everywhere(at(position_kind::all));
    const arm other(at(position_kind::all));
    const arm late(at(position_kind::all, 5));
    const arm completion(at(position_kind::completion));
    CHECK_EQ(shared(8, 9, 8, everywhere.get(), nullptr), 0);
    CHECK_EQ(shared(8, 9, 8, nullptr, everywhere.get()), 0);
    CHECK_EQ(shared(8, 9, 8, everywhere.get(), other.get()), 0);
    CHECK_EQ(shared(8, 9, 8, everywhere.get(), everywhere.get()), 7);
    CHECK_EQ(shared(8, 9, 8, late.get(), nullptr), 5);
    CHECK_EQ(shared(8, 9, 8, nullptr, late.get()), 5);
    CHECK_EQ(shared(8, 9, 8, late.get(), late.get()), 7);
    CHECK_EQ(shared(8, 9, 4, completion.get(), nullptr), 4);  // the source's completion was edited, its prompt not
    CHECK_EQ(shared(8, 9, 8, nullptr, completion.get()), 7);
    CHECK_EQ(shared(8, 9, 4, completion.get(), completion.get()), 4);
}

static void test_prompt_length_in_an_edit() {
    const arm prompt_only(at(position_kind::prompt));
    const arm s0(at(position_kind::s0));
    const arm from_the_end(at(position_kind::list, 0, {-2}));
    CHECK_EQ(shared(8, 9, 4, prompt_only.get(), prompt_only.get()), 4);  // behind it the source was not edited
    CHECK_EQ(shared(8, 9, 8, prompt_only.get(), prompt_only.get()), 7);
    CHECK_EQ(shared(8, 9, 8, s0.get(), s0.get()), 7);  // position 7 was s_0 for the source and is not for the request
    CHECK_EQ(shared(8, 9, 9, s0.get(), s0.get()), 7);
    CHECK_EQ(shared(8, 9, 8, from_the_end.get(), from_the_end.get()), 6);
    CHECK_EQ(shared(7, 8, 8, from_the_end.get(), from_the_end.get()), 6);  // equal lengths: equal meaning
}

static void test_capture_wants() {
    const auto wanted = [](const position_set & set) {
        std::string out;
        for (int32_t p = 0; p < 6; ++p) {
            out += capture_wants(capture(set), p, 3) ? std::to_string(p) + " " : "";
        }
        return out;
    };
    CHECK_EQ(wanted(at(position_kind::all)), std::string("0 1 2 3 4 5 "));
    CHECK_EQ(wanted(at(position_kind::last)), std::string("2 3 4 5 "));
    CHECK_EQ(wanted(at(position_kind::last, 4)), std::string("4 5 "));
    CHECK_EQ(wanted(at(position_kind::s0)), std::string("2 "));
    CHECK(!capture_wants(NOTHING, 0, 3));
}

static void test_token_statistics() {
    // p = (1/2, 1/4, 1/8, 1/8): entropy 1.75 bits.
    const float logits[] = {std::log(4.0f), std::log(2.0f), 0.0f, 0.0f};
    float log_probability = 0, entropy = 0;
    token_statistics(logits, 4, 1, log_probability, entropy);
    CHECK_NEAR(log_probability, std::log(0.25), 1e-6);
    CHECK_NEAR(entropy, 1.75 * std::log(2.0), 1e-6);
    token_statistics(logits, 4, 3, log_probability, entropy);
    CHECK_NEAR(log_probability, std::log(0.125), 1e-6);
    const float uniform[] = {1000.0f, 1000.0f, 1000.0f};  // no overflow
    token_statistics(uniform, 3, 2, log_probability, entropy);
    CHECK_NEAR(log_probability, -std::log(3.0), 1e-6);
    CHECK_NEAR(entropy, std::log(3.0), 1e-6);
    const float infinity = std::numeric_limits<float>::infinity();
    const float certain[] = {-infinity, 5.0f, -infinity};  // masked tokens carry no entropy
    token_statistics(certain, 3, 1, log_probability, entropy);
    CHECK_NEAR(log_probability, 0.0, 1e-9);
    CHECK_NEAR(entropy, 0.0, 1e-9);
}

static void test_finish_reasons() {
    CHECK_EQ(std::string(finish_reason_name(finish_reason::prompt)), std::string("prompt"));
    CHECK_EQ(std::string(finish_reason_name(finish_reason::context)), std::string("context"));
}

int main() {
    RUN(test_common_tokens);
    RUN(test_captured_positions_are_computed);
    RUN(test_edited_positions_need_the_same_edits);
    RUN(test_prompt_length_in_an_edit);
    RUN(test_capture_wants);
    RUN(test_token_statistics);
    RUN(test_finish_reasons);
    return check_report();
}
