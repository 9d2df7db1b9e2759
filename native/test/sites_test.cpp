// The site catalogue: on hand-built graphs, where every exception can be shown, and on a real model of every architecture.
#include "sites.h"

#include <deque>
#include <string>
#include <vector>

#include "check.h"
#include "engine_support.h"
#include "error.h"

using namespace rewardlens;
using namespace testing;

namespace {

// Tensors with names, ops and operands but no data: all that graph_trace looks at.
class fake_graph {
  public:
    ggml_tensor * node(const std::string & name, ggml_op op, std::vector<ggml_tensor *> sources, int64_t rows = 4) {
        tensors_.emplace_back();
        ggml_tensor * out = &tensors_.back();
        ggml_set_name(out, name.c_str());
        out->op = op;
        out->type = GGML_TYPE_F32;
        const int64_t shape[] = {8, rows, 1, 1};
        size_t stride = sizeof(float);
        for (int i = 0; i < 4; ++i) {
            out->ne[i] = shape[i];
            out->nb[i] = stride;
            stride *= static_cast<size_t>(shape[i]);
        }
        for (size_t i = 0; i < sources.size(); ++i) {
            out->src[i] = sources[i];
        }
        if (op != GGML_OP_NONE) {
            trace.add(out);
        }
        return out;
    }
    ggml_tensor * leaf(const std::string & name) { return node(name, GGML_OP_NONE, {}); }
    ggml_tensor * embedding() { return node("embd", GGML_OP_GET_ROWS, {leaf("token_embd.weight"), leaf("inp_tokens")}); }

    graph_trace trace;

  private:
    std::deque<ggml_tensor> tensors_;
};

struct block_nodes {
    ggml_tensor *attn, *mid, *hidden, *mlp, *post;
};

// x + attn, then + mlp.
block_nodes sequential_block(fake_graph & g, ggml_tensor * pre, const std::string & layer) {
    block_nodes out{};
    out.attn = g.node("attn_out-" + layer, GGML_OP_MUL_MAT, {g.leaf("blk." + layer + ".attn_output.weight"), pre});
    out.mid = g.node("ffn_inp-" + layer, GGML_OP_ADD, {out.attn, pre});
    out.hidden = g.node("ffn_swiglu-" + layer, GGML_OP_GLU, {out.mid});
    out.mlp = g.node("ffn_out-" + layer, GGML_OP_MUL_MAT, {g.leaf("blk." + layer + ".ffn_down.weight"), out.hidden});
    out.post = g.node("l_out-" + layer, GGML_OP_ADD, {out.mlp, out.mid});
    return out;
}

std::string code_of(const site_catalog & catalog, site_id site, int32_t layer) {
    try {
        catalog.at({site, layer});
        return "";
    } catch (const engine_error & error) {
        return error_code_name(error.code());
    }
}

std::string node_of(const site_catalog & catalog, site_id site, int32_t layer) { return catalog.peek(site, layer).node_name; }

}  // namespace

static void test_sequential_block() {
    fake_graph g;
    ggml_tensor * embedding = g.embedding();
    const block_nodes first = sequential_block(g, embedding, "0");
    // The last layer keeps output rows: one of the four.
    ggml_tensor * attn = g.node("attn_out-1", GGML_OP_MUL_MAT, {g.leaf("blk.1.attn_output.weight"), first.post});
    ggml_tensor * ids = g.leaf("out_ids");
    ggml_tensor * attn_rows = g.node("node_20", GGML_OP_GET_ROWS, {attn, ids}, 1);
    ggml_tensor * stream_rows = g.node("node_21", GGML_OP_GET_ROWS, {first.post, ids}, 1);
    ggml_tensor * mid = g.node("ffn_inp-1", GGML_OP_ADD, {attn_rows, stream_rows}, 1);
    ggml_tensor * hidden = g.node("ffn_swiglu-1", GGML_OP_GLU, {mid}, 1);
    ggml_tensor * mlp = g.node("ffn_out-1", GGML_OP_MUL_MAT, {g.leaf("blk.1.ffn_down.weight"), hidden}, 1);
    g.node("l_out-1", GGML_OP_ADD, {mlp, mid}, 1);
    const site_catalog catalog(g.trace, 2, 4);
    for (int32_t layer = 0; layer < 2; ++layer) {
        const std::string suffix = "-" + std::to_string(layer);
        CHECK_EQ(node_of(catalog, site_id::resid_pre, layer), layer == 0 ? std::string("embd") : std::string("l_out-0"));
        CHECK_EQ(node_of(catalog, site_id::attn_out, layer), "attn_out" + suffix);
        CHECK_EQ(node_of(catalog, site_id::resid_mid, layer), "ffn_inp" + suffix);
        CHECK_EQ(node_of(catalog, site_id::mlp_post, layer), "ffn_swiglu" + suffix);
        CHECK_EQ(node_of(catalog, site_id::mlp_out, layer), "ffn_out" + suffix);
        CHECK_EQ(node_of(catalog, site_id::resid_post, layer), "l_out" + suffix);
        CHECK_EQ(catalog.at({site_id::resid_post, layer}).output_rows, layer == 1);
        CHECK_EQ(catalog.at({site_id::attn_out, layer}).output_rows, false);
    }
    CHECK_EQ(code_of(catalog, site_id::resid_post, 2), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(code_of(catalog, site_id::resid_post, -1), std::string("INVALID_ARGUMENT"));
}

static void test_parallel_block() {
    fake_graph g;
    ggml_tensor * pre = g.embedding();
    ggml_tensor * attn = g.node("attn_out-0", GGML_OP_MUL_MAT, {g.leaf("blk.0.attn_output.weight"), pre});
    ggml_tensor * hidden = g.node("ffn_gelu-0", GGML_OP_UNARY, {pre});
    ggml_tensor * mlp = g.node("ffn_out-0", GGML_OP_MUL_MAT, {g.leaf("blk.0.ffn_down.weight"), hidden});
    ggml_tensor * both = g.node("node_5", GGML_OP_ADD, {mlp, attn});
    g.node("l_out-0", GGML_OP_ADD, {both, pre});
    const site_catalog catalog(g.trace, 1, 4);
    CHECK_EQ(node_of(catalog, site_id::attn_out, 0), std::string("attn_out-0"));
    CHECK_EQ(node_of(catalog, site_id::mlp_out, 0), std::string("ffn_out-0"));
    CHECK_EQ(code_of(catalog, site_id::resid_mid, 0), std::string("SITE_NOT_FOUND"));
    CHECK_CONTAINS(catalog.peek(site_id::resid_mid, 0).reason, "a parallel block has no residMid");
}

static void test_ambiguous_and_missing() {
    fake_graph g;
    const block_nodes block = sequential_block(g, g.embedding(), "0");
    g.node("l_out-0", GGML_OP_ADD, {block.mlp, block.mid});
    const site_catalog twice(g.trace, 1, 4);
    CHECK_EQ(code_of(twice, site_id::resid_post, 0), std::string("SITE_AMBIGUOUS"));
    CHECK_CONTAINS(twice.peek(site_id::resid_post, 0).reason, "more than one node");

    fake_graph view;  // a view that repeats the name is not a second match
    const block_nodes seen = sequential_block(view, view.embedding(), "0");
    view.node("l_out-0", GGML_OP_VIEW, {seen.post});
    CHECK_EQ(code_of(site_catalog(view.trace, 1, 4), site_id::resid_post, 0), std::string());

    fake_graph empty;
    const site_catalog nothing(empty.trace, 1, 4);
    for (int site = 0; site < SITE_COUNT; ++site) {
        CHECK_EQ(code_of(nothing, static_cast<site_id>(site), 0), std::string("SITE_NOT_FOUND"));
        CHECK(!nothing.peek(static_cast<site_id>(site), 0).reason.empty());
    }
}

static void test_wrong_shape_is_not_a_site() {
    fake_graph g;
    ggml_tensor * pre = g.embedding();
    ggml_tensor * strided = g.node("l_out-0", GGML_OP_ADD, {pre, pre});
    CHECK_EQ(code_of(site_catalog(g.trace, 1, 3), site_id::resid_post, 0), std::string("SITE_NOT_FOUND"));  // 4 rows for 3 tokens
    fake_graph other;
    strided = other.node("l_out-0", GGML_OP_ADD, {}, 4);
    strided->nb[1] *= 2;
    graph_trace trace;
    trace.add(strided);
    CHECK_CONTAINS(site_catalog(trace, 1, 4).peek(site_id::resid_post, 0).reason, "not a contiguous f32 matrix");
}

static void test_scheduler_copies_keep_their_name() {
    fake_graph g;
    CHECK_EQ(plain_name(g.leaf("Vulkan0#l_out-3#0")), std::string("l_out-3"));
    CHECK_EQ(plain_name(g.leaf("l_out-3")), std::string("l_out-3"));
    CHECK_EQ(plain_name(g.leaf("a#b")), std::string("b"));
}

static void test_real_models() {
    for (const std::string name : {"llama", "llama-q8_0", "llama-q4_0", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3-gelu", "phi3", "olmo2", "qwen3moe", "gpt2"}) {
        const auto model = load(name);
        const auto session = open(model, {1, 16, 0, 256});
        const site_catalog & catalog = session->catalog();
        for (int32_t layer = 0; layer < model->info().layer_count; ++layer) {
            for (int s = 0; s < SITE_COUNT; ++s) {
                const auto site = static_cast<site_id>(s);
                const bool expected = !(name == "qwen3moe" && site == site_id::mlp_post) && (site != site_id::logits || layer == model->info().layer_count - 1);
                if (!check_record(catalog.peek(site, layer).found == expected, __FILE__, __LINE__, name + " " + site_name(site) + ": " + catalog.peek(site, layer).reason)) {
                    continue;
                }
                const int32_t width = site == site_id::logits ? model->info().vocab_size : name == "gpt2" && site == site_id::mlp_post ? 256 : site == site_id::mlp_post ? 96 : 64;
                CHECK_EQ(catalog.peek(site, layer).width, expected ? width : 0);
            }
            CHECK_EQ(node_of(catalog, site_id::resid_post, layer), "l_out-" + std::to_string(layer));
        }
        const bool last = catalog.at({site_id::resid_post, model->info().layer_count - 1}).output_rows;
        CHECK(last);  // without it the last layer would need no special care
        CHECK(!catalog.at({site_id::resid_post, 0}).output_rows);
    }
    CHECK_CONTAINS(open(load("qwen3moe"))->catalog().peek(site_id::mlp_post, 0).reason, "a mixture of experts has none");
}

int main() {
    RUN(test_sequential_block);
    RUN(test_parallel_block);
    RUN(test_ambiguous_and_missing);
    RUN(test_wrong_shape_is_not_a_site);
    RUN(test_scheduler_copies_keep_their_name);
    RUN(test_real_models);
    return check_report();
}
