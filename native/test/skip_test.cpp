// Layers below the edits left out: the same tokens, log-probabilities, captured rows and edit counts as full passes, bit
// for bit, on every architecture of the oracle; and what happens where a graph cannot be cut.
#include <algorithm>
#include <random>
#include <string>

#include "check.h"
#include "engine_support.h"

using namespace rewardlens;
using namespace testing;

namespace {

const char * const ARCHITECTURES[] = {"llama", "llama-q8_0", "llama-q4_0", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3-gelu", "phi3", "olmo2", "qwen3moe", "gpt2"};

edit some_neurons(site_ref where, position_kind kind, std::vector<int32_t> list = {}) {
    edit out = make_edit(where, edit_op::scale, {0.5f}, kind);
    out.neurons = {1, 2, 3};
    out.positions.list = std::move(list);
    return out;
}

// An arm for every layer and several sites, and some at particular positions.
std::vector<edit_list> arms_of_all_layers(int32_t layer_count) {
    std::vector<edit_list> out;
    for (int32_t layer = 0; layer < layer_count; ++layer) {
        for (const site_id site : {site_id::resid_pre, site_id::mlp_out, site_id::resid_post}) {
            out.push_back(list_of({some_neurons({site, layer}, position_kind::all)}));
        }
        out.push_back(list_of({some_neurons({site_id::resid_post, layer}, position_kind::list, {5})}));
        out.push_back(list_of({some_neurons({site_id::resid_post, layer}, position_kind::prompt), some_neurons({site_id::resid_post, 0}, position_kind::completion)}));
    }
    return out;
}

// Base, then every arm, all with the same prompt.
std::vector<sequence_request> arms_over(const std::vector<llama_token> & prompt, size_t arm_count, int32_t max_tokens, uint32_t first_id = 0) {
    std::vector<sequence_request> out;
    for (size_t i = 0; i <= arm_count; ++i) {
        out.push_back(request(first_id + static_cast<uint32_t>(i), prompt, max_tokens, static_cast<int32_t>(i) - 1));
        out.back().ignore_eog = true;
    }
    return out;
}

void expect_same(const outcome & full, const outcome & skipped, const std::vector<sequence_request> & requests, const std::string & what) {
    CHECK_EQ(full.failed + full.message + skipped.failed + skipped.message, std::string());
    CHECK_EQ(full.progress.skipped_tokens, uint64_t{0});
    if (!full.failed.empty() || !skipped.failed.empty()) {
        return;
    }
    for (const sequence_request & r : requests) {
        const recorded & a = full[r.id];
        const recorded & b = skipped[r.id];
        const std::string where = what + ", request " + std::to_string(r.id);
        check_record(a.result.tokens == b.result.tokens, __FILE__, __LINE__, where + ": tokens");
        check_record(same_bits(a.result.log_probabilities, b.result.log_probabilities), __FILE__, __LINE__, where + ": log-probabilities");
        check_record(same_bits(a.result.entropies, b.result.entropies), __FILE__, __LINE__, where + ": entropies");
        check_record(a.positions == b.positions && a.blocks.size() == b.blocks.size(), __FILE__, __LINE__, where + ": captured positions");
        for (size_t block = 0; block < std::min(a.blocks.size(), b.blocks.size()); ++block) {
            check_record(same_bits(a.blocks[block], b.blocks[block]), __FILE__, __LINE__, where + ": captured rows");
        }
        // A clean kept pass may serve as a shared prefix too: edits there are counted apart, their sum is the same.
        for (size_t i = 0; i < a.result.changed.size(); ++i) {
            CHECK_EQ(a.result.changed[i] + a.result.changed_shared[i], b.result.changed[i] + b.result.changed_shared[i]);
        }
    }
}

struct pair_of_runs {
    outcome full, skipped;
};

pair_of_runs run_both(const std::shared_ptr<const model> & model, const session_shape & shape, run_params params,
                      const std::vector<sequence_request> & requests) {
    pair_of_runs out;
    params.skip_layers = false;
    out.full = run(open(model, shape), params, requests);
    params.skip_layers = true;
    out.skipped = run(open(model, shape), params, requests);
    return out;
}

// Most layers left out over a run's requests.
int32_t most_skipped(const outcome & out) {
    int32_t most = 0;
    for (const auto & [id, one] : out.requests) {
        most = std::max(most, one.result.skipped_layers);
    }
    return most;
}

void test_generated_text_is_that_of_full_passes() {
    for (const std::string name : ARCHITECTURES) {
        const auto model = load(name);
        const int32_t layers = model->info().layer_count;
        run_params params;
        params.edit_lists = arms_of_all_layers(layers);
        params.capture = capture_all({site_id::resid_post}, layers, position_kind::completion);
        const auto requests = arms_over(random_tokens(21, 8), params.edit_lists.size(), 10);  // 8: within gemma's window here
        const auto [full, skipped] = run_both(model, {1}, params, requests);
        expect_same(full, skipped, requests, name);
        CHECK_EQ(most_skipped(skipped), layers - 1);
        CHECK(skipped.progress.skipped_tokens > skipped.progress.prompt_tokens / 2);
        CHECK_EQ(skipped.progress.skip_fallbacks, uint64_t{0});
    }
}

void test_scores_of_prompts_are_those_of_full_passes() {
    for (const std::string name : ARCHITECTURES) {
        const auto model = load(name);
        const int32_t layers = model->info().layer_count;
        run_params params;
        params.edit_lists = arms_of_all_layers(layers);
        params.capture.sites = {{site_id::resid_post, layers - 1}, {site_id::logits, layers - 1}};
        params.capture.positions.kind = position_kind::s0;
        params.prompt_only = true;
        const auto requests = arms_over(random_tokens(22, 40), params.edit_lists.size(), 0);
        const auto [full, skipped] = run_both(model, {1}, params, requests);
        expect_same(full, skipped, requests, name + ", prompt only");
        CHECK_EQ(most_skipped(skipped), layers - 1);
        CHECK(skipped.progress.skipped_layer_tokens >= skipped.progress.skipped_tokens);
    }
}

// Longer than the window of sliding layers: llama.cpp does not keep all cells, so generating arms run in full.
void test_prompts_beyond_the_window_fall_back() {
    const auto model = load("gemma2");
    run_params params;
    params.edit_lists = arms_of_all_layers(model->info().layer_count);
    const auto requests = arms_over(random_tokens(23, 30), params.edit_lists.size(), 6);
    const auto [full, skipped] = run_both(model, {1}, params, requests);
    expect_same(full, skipped, requests, "gemma2, long prompt");
    CHECK_EQ(skipped.progress.skipped_tokens, uint64_t{0});
}

void test_captured_layers_are_not_left_out() {
    const auto model = load("llama-q8_0");
    run_params params;
    params.edit_lists = {list_of({some_neurons({site_id::resid_post, 2}, position_kind::all)})};
    params.capture.sites = {{site_id::resid_post, 1}, {site_id::resid_post, 2}};
    params.capture.positions.kind = position_kind::prompt;
    const auto requests = arms_over(random_tokens(24, 20), 1, 4);
    const auto [full, skipped] = run_both(model, {1}, params, requests);
    expect_same(full, skipped, requests, "capture at layer 1");
    CHECK_EQ(most_skipped(skipped), 2);  // residPost.1 itself is where the pass starts
    params.capture.sites.push_back({site_id::resid_mid, 0});
    const auto [all, none] = run_both(model, {1}, params, requests);
    expect_same(all, none, requests, "capture at layer 0");
    CHECK_EQ(most_skipped(none), 0);
}

// Prompts in several passes, many sequences, prompts that begin alike, little memory to keep rows in, any order.
void test_any_company() {
    const auto model = load("llama-q8_0");
    const int32_t layers = model->info().layer_count;
    for (uint32_t seed = 0; seed < 12; ++seed) {
        std::mt19937 random(seed);
        const auto pick = [&](int32_t from, int32_t to) { return from + static_cast<int32_t>(random() % static_cast<uint32_t>(to - from + 1)); };
        run_params params;
        params.edit_lists = arms_of_all_layers(layers);
        params.prompt_only = seed % 4 == 3;
        params.max_stored_bytes = seed % 3 == 2 ? 60000 : 1 << 20;
        params.capture.sites = {{site_id::resid_post, layers - 1}};
        params.capture.positions.kind = seed % 2 == 0 ? position_kind::response : position_kind::completion;
        std::vector<sequence_request> requests;
        const auto beginning = random_tokens(70 + seed, pick(2, 40));
        for (uint32_t item = 0; item < 4; ++item) {
            auto prompt = beginning;
            const auto rest = random_tokens(100 + 10 * seed + item, pick(1, 40));
            prompt.insert(prompt.end(), rest.begin(), rest.end());
            const auto more = arms_over(prompt, params.edit_lists.size(), params.prompt_only ? 0 : pick(1, 9), item * 100);
            requests.insert(requests.end(), more.begin(), more.end());
        }
        if (seed % 5 == 4) {
            std::shuffle(requests.begin(), requests.end(), random);
        }
        const session_shape shape = {pick(1, 9), pick(16, 150)};
        const auto [full, skipped] = run_both(model, shape, params, requests);
        expect_same(full, skipped, requests, "seed " + std::to_string(seed));
        CHECK(skipped.progress.skipped_tokens > 0 || seed % 5 == 4 || seed % 3 == 2);
    }
}

// A prompt that goes on from sampled tokens: their cells, made one at a time, are not those of a pass over the prompt.
void test_cells_of_sampled_tokens_are_not_kept() {
    const auto model = load("llama-q8_0");
    run_params params;
    params.edit_lists = arms_of_all_layers(model->info().layer_count);
    params.capture = capture_all({site_id::resid_post}, model->info().layer_count, position_kind::s0);
    const auto engine = open(model, {1});
    const auto said = run(engine, params, {request(0, random_tokens(26, 20), 60)})[0].result.tokens;
    auto prompt = random_tokens(26, 20);
    prompt.insert(prompt.end(), said.begin(), said.end());
    auto requests = arms_over(prompt, params.edit_lists.size(), 8, 1);
    requests.insert(requests.begin(), request(0, random_tokens(26, 20), 60));
    run_params apart = params;
    apart.skip_layers = false;
    apart.min_shared_prefix = -1;
    const outcome full = run(open(model, {1}), apart, requests);
    const outcome skipped = run(engine, params, requests);
    requests.erase(requests.begin(), requests.begin() + 2);  // the base goes on from the sampled cells, as prefixes are shared
    expect_same(full, skipped, requests, "after sampled tokens");
    CHECK(most_skipped(skipped) > 0);
}

// A graph that is not the traced one: the pass is repeated in full, the session tries no more, the run goes on.
void test_another_graph_falls_back() {
    const auto model = load("llama-q8_0");
    run_params params;
    params.edit_lists = arms_of_all_layers(model->info().layer_count);
    params.capture = capture_all({site_id::resid_post}, model->info().layer_count, position_kind::response);
    const auto requests = arms_over(random_tokens(25, 30), params.edit_lists.size(), 6);
    const outcome full = run_both(model, {3}, params, requests).full;
    const auto engine = open(model, {3});
    engine->catalog();
    const_cast<std::vector<node_record> &>(engine->trace())[4].name = "another";
    const outcome broken = run(engine, params, requests);
    expect_same(full, broken, requests, "another graph");
    CHECK_EQ(broken.progress.skip_fallbacks, uint64_t{1});
    CHECK_EQ(most_skipped(broken), 0);
    const outcome again = run(engine, params, requests);
    expect_same(full, again, requests, "another graph, again");
    CHECK_EQ(again.progress.skip_fallbacks + again.progress.skipped_tokens, uint64_t{0});
}

// ---- the cut itself, on a graph of five nodes: a, b = a + a, entry = b + b, c = entry + entry, d = c + (whatever is given)

struct small_graph {
    ggml_context * context = ggml_init({ggml_tensor_overhead() * 32, nullptr, true});
    ggml_tensor * leaf = ggml_new_tensor_1d(context, GGML_TYPE_F32, 4);
    ggml_tensor * memory = ggml_new_tensor_1d(context, GGML_TYPE_F32, 4);
    std::vector<ggml_tensor *> nodes;
    graph_trace trace;
    ~small_graph() { ggml_free(context); }

    ggml_tensor * add(const char * name, ggml_tensor * node) {
        ggml_set_name(node, name);
        nodes.push_back(node);
        trace.add(node);
        return node;
    }
    ggml_tensor * sum(const char * name, ggml_tensor * a, ggml_tensor * b) { return add(name, ggml_add(context, a, b)); }
};

// Visits all nodes; true when the cut held. The operations are as they were afterwards, either way.
bool visit_all(layer_skip & skip, const small_graph & graph, int entry, bool cells, std::vector<bool> & computed) {
    std::vector<ggml_op> ops;
    for (const ggml_tensor * node : graph.nodes) {
        ops.push_back(node->op);
    }
    skip.begin(0);
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
        if (i == 1 && cells) {
            skip.confirm_cells(true);
        }
        const auto verdict = skip.visit(graph.nodes[i]);
        computed.push_back(graph.nodes[i]->op != GGML_OP_NONE);
        if (verdict == layer_skip::verdict::broken || static_cast<int>(i) == entry) {
            skip.restore();
        }
    }
    for (size_t i = 0; i < ops.size(); ++i) {
        CHECK(graph.nodes[i]->op == ops[i]);
    }
    return !skip.broken();
}

void test_only_nodes_that_nobody_needs_are_left_out() {
    small_graph graph;
    ggml_tensor * early = graph.sum("early", graph.leaf, graph.leaf);
    ggml_tensor * kept = graph.sum("kept", early, graph.leaf);
    ggml_tensor * below = graph.sum("below", kept, graph.leaf);
    ggml_tensor * entry = graph.sum("entry", below, below);
    graph.sum("above", entry, kept);
    layer_skip skip;
    skip.prepare(graph.trace.nodes(), {3});
    std::vector<bool> computed;
    CHECK(visit_all(skip, graph, 3, true, computed));
    CHECK(computed == std::vector<bool>({true, true, false, false, true}));
    computed.clear();
    CHECK(!visit_all(skip, graph, 3, false, computed));  // nothing said where the cells are
    ggml_set_name(kept, "renamed");
    CHECK(!visit_all(skip, graph, 3, true, computed));
    ggml_set_name(kept, "kept");
    CHECK(visit_all(skip, graph, 3, true, computed));
    graph.nodes[4]->src[1] = below;  // the graph at hand uses more than the traced one
    CHECK(!visit_all(skip, graph, 3, true, computed));
    graph.nodes[4]->src[1] = kept;
    kept->src[1] = early;
    CHECK(visit_all(skip, graph, 3, true, computed));
    ggml_set_name(graph.leaf, "CPU#below#0");  // a copy for another device
    graph.nodes[4]->src[1] = graph.leaf;
    CHECK(!visit_all(skip, graph, 3, true, computed));
}

void test_memory_that_was_not_written_is_not_read() {
    small_graph graph;
    ggml_tensor * early = graph.sum("early", graph.leaf, graph.leaf);
    graph.add("store", ggml_cpy(graph.context, early, graph.memory));
    ggml_tensor * entry = graph.sum("entry", early, early);
    ggml_tensor * above = graph.sum("above", entry, graph.leaf);
    layer_skip skip;
    skip.prepare(graph.trace.nodes(), {2});
    std::vector<bool> computed;
    CHECK(visit_all(skip, graph, 2, true, computed));
    CHECK(computed == std::vector<bool>({false, false, false, true}));
    above->src[1] = graph.memory;
    CHECK(!visit_all(skip, graph, 2, true, computed));
}

}  // namespace

int main() {
    RUN(test_only_nodes_that_nobody_needs_are_left_out);
    RUN(test_memory_that_was_not_written_is_not_read);
    RUN(test_generated_text_is_that_of_full_passes);
    RUN(test_scores_of_prompts_are_those_of_full_passes);
    RUN(test_prompts_beyond_the_window_fall_back);
    RUN(test_captured_layers_are_not_left_out);
    RUN(test_any_company);
    RUN(test_cells_of_sampled_tokens_are_not_kept);
    RUN(test_another_graph_falls_back);
    return check_report();
}
