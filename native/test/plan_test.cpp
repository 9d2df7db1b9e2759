// Edits and position sets against rows computed by hand.
#include "plan.h"

#include <limits>
#include <string>
#include <vector>

#include "check.h"
#include "error.h"

using namespace rewardlens;

namespace {

constexpr int32_t NEVER = std::numeric_limits<int32_t>::max();

edit make(edit_op op, std::vector<float> values, std::vector<int32_t> neurons = {}) {
    edit out;
    out.op = op;
    out.neurons = std::move(neurons);
    out.values = std::make_shared<const std::vector<float>>(std::move(values));
    return out;
}

std::string text(const std::vector<float> & row) {
    std::string out;
    for (float x : row) {
        out += check_show(x) + " ";
    }
    return out;
}

// Applies `e` at `position` to {1, -2, 3, -4} and checks the row and the count.
void expect_row(const edit & e, std::vector<float> expected, uint32_t count, int32_t position = 0) {
    std::vector<float> row = {1, -2, 3, -4};
    CHECK_EQ(apply_edit(e, row.data(), 4, position), count);
    CHECK_EQ(text(row), text(expected));
}

// Code of what check_edit throws for a site of width 4, "" when it accepts.
std::string verdict(const edit & e) {
    try {
        check_edit(e, 4);
        return "";
    } catch (const engine_error & error) {
        return error_code_name(error.code());
    }
}

std::string members(const position_set & set, int32_t prompt_length, int32_t end) {
    std::string out;
    for (int32_t p = 0; p < end; ++p) {
        out += set.contains(p, prompt_length) ? std::to_string(p) + " " : "";
    }
    return out;
}

position_set positions(position_kind kind, int32_t from = 0, std::vector<int32_t> list = {}) { return {kind, std::move(list), from}; }

}  // namespace

static void test_elementwise_ops() {
    expect_row(make(edit_op::set, {9}), {9, 9, 9, 9}, 4);
    expect_row(make(edit_op::set, {5, 6, 7, 8}), {5, 6, 7, 8}, 4);
    expect_row(make(edit_op::set, {5, 6}, {3, 1}), {1, 6, 3, 5}, 2);
    expect_row(make(edit_op::set, {0}, {2}), {1, -2, 0, -4}, 1);
    expect_row(make(edit_op::scale, {-0.5f}), {-0.5f, 1, -1.5f, 2}, 4);
    expect_row(make(edit_op::scale, {2, 3}, {0, 3}), {2, -2, 3, -12}, 2);
    expect_row(make(edit_op::add, {10, 20, 30, 40}), {11, 18, 33, 36}, 4);
    expect_row(make(edit_op::add, {1}, {1, 2}), {1, -1, 4, -4}, 2);
    expect_row(make(edit_op::clamp, {-3, 2}), {1, -2, 2, -3}, 4);
    expect_row(make(edit_op::clamp, {0, 0}, {0}), {0, -2, 3, -4}, 1);
}

static void test_project() {
    // u = (0.6, 0, 0.8, 0): h·u = 0.6 + 2.4 = 3, h − 3u = (−0.8, −2, 0.6, −4).
    std::vector<float> row = {1, -2, 3, -4};
    const edit whole = make(edit_op::project, {0.6f, 0, 0.8f, 0});
    CHECK_EQ(apply_edit(whole, row.data(), 4, 0), 4u);
    const std::vector<float> expected = {-0.8f, -2, 0.6f, -4};
    for (int i = 0; i < 4; ++i) {
        CHECK_NEAR(row[i], expected[i], 1e-6);
    }
    // The same direction inside two selected neurons: only these are read and written.
    std::vector<float> part = {1, -2, 3, -4};
    const edit selected = make(edit_op::project, {0.6f, 0.8f}, {0, 2});
    CHECK_EQ(verdict(selected), std::string());
    CHECK_EQ(apply_edit(selected, part.data(), 4, 0), 2u);
    for (int i = 0; i < 4; ++i) {
        CHECK_NEAR(part[i], expected[i], 1e-6);
    }
}

static void test_rows() {
    edit patch = make(edit_op::rows, {1, 2, 3, 4, 5, 6}, {1, 3});
    patch.choice = row_choice::by_position;
    patch.row_positions = {2, 5, 7};
    CHECK(!edit_applies(patch, 1, 10));
    CHECK(edit_applies(patch, 5, 10));
    expect_row(patch, {1, 1, 3, 2}, 2, 2);
    expect_row(patch, {1, 3, 3, 4}, 2, 5);
    expect_row(patch, {1, 5, 3, 6}, 2, 7);
    patch.positions.from = 6;
    CHECK(!edit_applies(patch, 5, 10));

    edit resample = make(edit_op::rows, {10, 20, 30, 40, 50});
    resample.neurons = {0};
    resample.seed = 42;
    std::vector<int> seen(5, 0);
    for (int32_t p = 0; p < 500; ++p) {
        float once = 0, again = 0;
        apply_edit(resample, &once, 1, p);
        apply_edit(resample, &again, 1, p);
        CHECK_EQ(once, again);  // a pure function of seed and position
        ++seen[static_cast<size_t>(once / 10) - 1];
    }
    for (int count : seen) {
        CHECK(count > 60 && count < 140);  // 100 expected, standard deviation 9
    }
}

static void test_check_edit() {
    CHECK_EQ(verdict(make(edit_op::set, {1, 2, 3, 4})), std::string());
    CHECK_EQ(verdict(make(edit_op::set, {1, 2, 3})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::scale, {})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::add, {1, 2}, {0, 3})), std::string());
    CHECK_EQ(verdict(make(edit_op::add, {1, 2, 3, 4}, {0, 3})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::set, {1}, {4})), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(verdict(make(edit_op::set, {1}, {-1})), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(verdict(make(edit_op::clamp, {1})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::clamp, {1, 2})), std::string());
    CHECK_EQ(verdict(make(edit_op::project, {1, 0, 0})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::project, {1, 0, 0, 0})), std::string());
    CHECK_EQ(verdict(make(edit_op::project, {1, 0, 0, 0}, {1, 2})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::rows, {1, 2, 3, 4, 5})), std::string("SHAPE_MISMATCH"));
    CHECK_EQ(verdict(make(edit_op::rows, {})), std::string("SHAPE_MISMATCH"));
    edit patch = make(edit_op::rows, {1, 2, 3, 4, 5, 6, 7, 8});
    patch.choice = row_choice::by_position;
    patch.row_positions = {0};
    CHECK_EQ(verdict(patch), std::string("SHAPE_MISMATCH"));
    patch.row_positions = {0, 3};
    CHECK_EQ(verdict(patch), std::string());
    edit without = make(edit_op::set, {1});
    without.values.reset();
    CHECK_EQ(verdict(without), std::string("SHAPE_MISMATCH"));
    // `last` is only known afterwards: an edit of it would silently never apply.
    edit last = make(edit_op::set, {1});
    last.positions.kind = position_kind::last;
    CHECK_EQ(verdict(last), std::string("INVALID_ARGUMENT"));
}

static void test_position_sets() {
    CHECK_EQ(members(positions(position_kind::all), 3, 6), std::string("0 1 2 3 4 5 "));
    CHECK_EQ(members(positions(position_kind::all, 4), 3, 6), std::string("4 5 "));
    CHECK_EQ(members(positions(position_kind::prompt), 3, 6), std::string("0 1 2 "));
    CHECK_EQ(members(positions(position_kind::prompt, 2), 3, 6), std::string("2 "));
    CHECK_EQ(members(positions(position_kind::completion), 3, 6), std::string("3 4 5 "));
    CHECK_EQ(members(positions(position_kind::response), 3, 6), std::string("2 3 4 5 "));
    CHECK_EQ(members(positions(position_kind::response, 4), 3, 6), std::string("4 5 "));
    CHECK_EQ(members(positions(position_kind::completion, 5), 3, 6), std::string("5 "));
    CHECK_EQ(members(positions(position_kind::s0), 3, 6), std::string("2 "));
    CHECK_EQ(members(positions(position_kind::s0, 3), 3, 6), std::string());
    CHECK_EQ(members(positions(position_kind::last), 3, 6), std::string());
    // −1 is s_0 and −9 lies before the prompt; 4 is in the completion.
    CHECK_EQ(members(positions(position_kind::list, 0, {-9, -3, -1, 1, 4}), 3, 6), std::string("0 1 2 4 "));
    CHECK_EQ(members(positions(position_kind::list, 2, {-3, -1, 1, 4}), 3, 6), std::string("2 4 "));
    CHECK_EQ(members(positions(position_kind::list), 3, 6), std::string());
}

static void test_first_position() {
    CHECK_EQ(positions(position_kind::all, 2).first(3), 2);
    CHECK_EQ(positions(position_kind::prompt).first(3), 0);
    CHECK_EQ(positions(position_kind::prompt, 3).first(3), NEVER);
    CHECK_EQ(positions(position_kind::completion).first(3), 3);
    CHECK_EQ(positions(position_kind::completion, 7).first(3), 7);
    CHECK_EQ(positions(position_kind::s0).first(3), 2);
    CHECK_EQ(positions(position_kind::s0, 3).first(3), NEVER);
    CHECK_EQ(positions(position_kind::last).first(3), 2);
    CHECK_EQ(positions(position_kind::last, 5).first(3), 5);
    CHECK_EQ(positions(position_kind::list, 0, {-9, -2, 2}).first(3), 1);
    CHECK_EQ(positions(position_kind::list, 2, {-2, 2}).first(3), 2);
    CHECK_EQ(positions(position_kind::list, 0, {-9}).first(3), NEVER);
}

static void test_prompt_length_matters() {
    for (position_kind kind : {position_kind::all, position_kind::prompt, position_kind::completion}) {
        CHECK(!positions(kind).depends_on_prompt_length());
    }
    CHECK(positions(position_kind::s0).depends_on_prompt_length());
    CHECK(positions(position_kind::last).depends_on_prompt_length());
    CHECK(positions(position_kind::list, 0, {-1, 3}).depends_on_prompt_length());
    CHECK(!positions(position_kind::list, 0, {0, 3}).depends_on_prompt_length());
}

static void test_site_names() {
    for (int i = 0; i < SITE_COUNT; ++i) {
        const auto site = static_cast<site_id>(i);
        CHECK(site_from_name(site_name(site)) == site);
    }
    CHECK_THROWS(site_from_name("residpost"), engine_error);
    CHECK_THROWS(site_from_name(""), engine_error);
}

int main() {
    RUN(test_elementwise_ops);
    RUN(test_project);
    RUN(test_rows);
    RUN(test_check_edit);
    RUN(test_position_sets);
    RUN(test_first_position);
    RUN(test_prompt_length_matters);
    RUN(test_site_names);
    return check_report();
}
