// Captured rows against an independent pass: an own llama.cpp context that flags every token as an output and reads the
// nodes by hand-written names.
#include <algorithm>
#include <cstring>
#include <random>
#include <string>

#include "check.h"
#include "engine_support.h"

using namespace rewardlens;
using namespace testing;

namespace {

// Node of each site of the llama architecture (tools/oracle/README.md), written down independently of sites.cpp.
std::string llama_node(site_id site, int32_t layer) {
    const std::string suffix = "-" + std::to_string(layer);
    switch (site) {
        case site_id::resid_pre:  return layer == 0 ? "embd" : "l_out-" + std::to_string(layer - 1);
        case site_id::resid_mid:  return "ffn_inp" + suffix;
        case site_id::resid_post: return "l_out" + suffix;
        case site_id::attn_out:   return "attn_out" + suffix;
        case site_id::mlp_post:   return "ffn_swiglu" + suffix;
        case site_id::mlp_out:    return "ffn_out" + suffix;
        case site_id::logits:     return "result_output";
    }
    return "";
}

const std::vector<site_id> ALL_SITES = {site_id::resid_pre, site_id::resid_mid, site_id::resid_post,
                                        site_id::attn_out, site_id::mlp_post, site_id::mlp_out};

std::vector<std::string> nodes_of(const capture_plan & plan) {
    std::vector<std::string> out;
    for (const site_ref & ref : plan.sites) {
        out.push_back(llama_node(ref.site, ref.layer));
    }
    return out;
}

// What one token at a time and many at once may differ by: their sums round differently, and the f16 cache magnifies that.
constexpr double ROUNDING = 3e-4;

// Largest relative L2 over all blocks of all requests, each against a pass of its own.
double compare(const model & model, const session_shape & shape, const capture_plan & plan, const outcome & out,
               const std::vector<sequence_request> & requests) {
    const auto nodes = nodes_of(plan);
    session_shape alone = shape;
    alone.ubatch = 512;
    double worst = 0.0;
    reference oracle(model, alone, nodes);
    for (size_t k = 0; k < requests.size(); k += 1 + requests.size() / 30) {  // of many requests some
        const sequence_request & r = requests[k];
        const recorded & got = out[r.id];
        std::vector<llama_token> computed = r.prompt;  // the last sampled token is never computed
        if (!got.result.tokens.empty()) {
            computed.insert(computed.end(), got.result.tokens.begin(), got.result.tokens.end() - 1);
        }
        oracle.reset();
        oracle.decode(computed, true);
        CHECK_EQ(got.result.captured_rows, static_cast<int32_t>(computed.size()));
        CHECK(got.tokens == computed);
        for (size_t i = 0; i < computed.size(); ++i) {
            CHECK_EQ(got.positions[i], static_cast<int32_t>(i));
        }
        if (!CHECK_EQ(got.blocks.size(), nodes.size())) {
            continue;
        }
        for (size_t block = 0; block < nodes.size(); ++block) {
            worst = std::max(worst, relative_l2(got.blocks[block], oracle.rows.at(nodes[block])));
        }
    }
    return worst;
}

std::vector<sequence_request> unequal_requests(int32_t count, int32_t max_tokens, uint32_t seed) {
    std::vector<sequence_request> out;
    std::mt19937 generator(seed);
    for (int32_t i = 0; i < count; ++i) {
        const auto length = static_cast<int32_t>(1 + generator() % 40);
        out.push_back(request(100 + i, random_tokens(seed + i, length), max_tokens > 0 ? static_cast<int32_t>(generator() % max_tokens) : 0));
    }
    return out;
}

void check_model(const std::string & name, const session_shape & shape, const std::vector<site_id> & sites,
                 std::vector<sequence_request> requests, double tolerance) {
    const auto model = load(name);
    run_params params;
    params.capture = capture_all(sites, model->info().layer_count);
    const outcome out = run(open(model, shape), params, requests);
    CHECK_EQ(out.failed + out.message, std::string());
    if (out.failed.empty()) {
        const double worst = compare(*model, shape, params.capture, out, requests);
        std::fprintf(stderr, "%s parallel %d ubatch %d fa %d: relative L2 %.2g\n", name.c_str(), shape.parallel, shape.ubatch,
                     shape.flash_attention, worst);
        CHECK(worst <= tolerance);
    }
}

}  // namespace

static void test_every_site_of_every_layer() {
    check_model("llama", {1, 512, 0, 256}, ALL_SITES, unequal_requests(3, 0, 1), 0.0);
    check_model("llama", {1, 16, 0, 256, 2}, ALL_SITES, unequal_requests(3, 0, 2), 1e-6);
}

static void test_flash_attention() {
    check_model("llama", {3, 512, 1, 256}, ALL_SITES, unequal_requests(6, 6, 3), ROUNDING);
    check_model("llama", {3, 16, 1, 256}, ALL_SITES, unequal_requests(6, 6, 3), ROUNDING);
}

static void test_quantized() {
    check_model("llama-q8_0", {3, 16, 0, 256}, ALL_SITES, unequal_requests(6, 6, 4), ROUNDING);
    check_model("llama-q4_0", {3, 16, 1, 256}, ALL_SITES, unequal_requests(6, 6, 5), ROUNDING);
}

static void test_side_by_side_in_any_order() {
    std::mt19937 generator(7);
    for (const int32_t parallel : {1, 3, 8}) {
        for (const int32_t ubatch : {16, 512}) {
            auto requests = unequal_requests(10, 6, 10 + parallel);
            std::shuffle(requests.begin(), requests.end(), generator);
            check_model("llama", {parallel, ubatch, 0, 256}, ALL_SITES, requests, ROUNDING);
        }
    }
}

static void test_many_sequences() {
    check_model("llama", {128, 512, 0, 256}, {site_id::resid_post}, unequal_requests(140, 3, 20), ROUNDING);
    check_model("llama", {256, 64, 0, 256}, {site_id::resid_post}, unequal_requests(260, 2, 30), ROUNDING);
}

int main() {
    RUN(test_every_site_of_every_layer);
    RUN(test_flash_attention);
    RUN(test_quantized);
    RUN(test_side_by_side_in_any_order);
    RUN(test_many_sequences);
    return check_report();
}
