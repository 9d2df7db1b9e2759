// Maps sites (residPost …) to graph nodes of one model, by graph structure instead of by hope: node names differ
// between llama.cpp's architectures (`ffn_inp`, `sa_out`, unnamed), the shape of a block does not.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ggml.h"
#include "plan.h"

namespace rewardlens {

// Operations that only look at memory that is there already.
inline bool is_view_op(ggml_op op) {
    return op == GGML_OP_NONE || op == GGML_OP_VIEW || op == GGML_OP_RESHAPE || op == GGML_OP_PERMUTE || op == GGML_OP_TRANSPOSE;
}

// What is kept of one graph node: enough to find sites now and to recognise the same node in later graphs.
struct node_record {
    std::string name;  // without the scheduler's "DEVICE#name#copy" wrapping
    ggml_op op = GGML_OP_NONE;
    ggml_type type = GGML_TYPE_F32;
    int64_t ne0 = 0, ne1 = 0, ne2 = 0, ne3 = 0;
    bool contiguous = false;
    std::vector<std::string> sources;   // names of src[i]
    std::vector<int> source_ordinals;   // index into the trace, -1 for leaves (weights, inputs)
};

// All nodes of one forward pass in execution order, collected in the ask phase.
class graph_trace {
  public:
    void add(const ggml_tensor * node);
    const std::vector<node_record> & nodes() const { return nodes_; }

  private:
    std::vector<node_record> nodes_;
    std::map<const ggml_tensor *, int> by_pointer_;
    std::map<std::string, int> by_name_;
};

// Name of a tensor with the scheduler's copy wrapping removed: "Vulkan0#l_out-3#0" → "l_out-3".
// A view into the tensor: valid as long as it keeps its name. Allocates nothing.
std::string_view plain_name(const ggml_tensor * tensor);

// One site of one layer, found or not.
struct resolved_site {
    bool found = false;
    bool ambiguous = false;
    std::string reason;         // when not found: why, for the error message
    std::string node_name;
    ggml_op op = GGML_OP_NONE;
    int occurrence = 0;         // which of the nodes with this name and op, in execution order (some carry no layer number)
    std::vector<std::string> sources;
    int32_t width = 0;          // floats per row
    bool output_rows = false;   // the node has rows only for tokens whose logits are asked for (last layer)
    int ordinal = -1;           // place in execution order
    std::string rule;           // which row of the table matched, e.g. "named l_out"
};

// The site catalogue of a model. Built once per context from a traced decode of `token_count` tokens of which one is an
// output; cost: one tiny forward pass.
class site_catalog {
  public:
    site_catalog() = default;
    site_catalog(const graph_trace & trace, int32_t layer_count, int64_t token_count);

    // Throws SITE_NOT_FOUND / SITE_AMBIGUOUS with the reason, INVALID_ARGUMENT for a layer out of range.
    const resolved_site & at(const site_ref & ref) const;
    int32_t layer_count() const { return layer_count_; }
    const resolved_site & peek(site_id site, int32_t layer) const;

  private:
    int32_t layer_count_ = 0;
    std::vector<resolved_site> sites_;  // [layer * SITE_COUNT + site]
};

}  // namespace rewardlens
