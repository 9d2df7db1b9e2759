#include "sites.h"

#include <cstring>

#include "error.h"

namespace rewardlens {

namespace {

constexpr int NO_NODE = -1;

// How a site is found. Rules of a site are tried in order; the first that matches wins.
enum class rule_kind {
    named,              // node "<arg>-<layer>"
    stream_entering,    // residPost of the layer below; for layer 0 the embedding
    residual_operand,   // the operand of residPost's sum that carries the stream on (is itself a sum with residPre)
    added_to_mid,       // what is added to residPre to give residMid
    added_to_post,      // what is added to residMid to give residPost
    parallel_branch,    // parallel blocks, x + attn + mlp: the branch with / without the weight <arg>
    not_parallel_branch,
    input_of_weight,    // second operand of the matrix product with blk.<layer>.<arg>.weight
    model_output,       // node "<arg>", in the last layer only
};

struct site_rule {
    site_id site;
    rule_kind kind;
    const char * arg;
};

// The declarative table: how each site is found in the graph of one block.
const site_rule RULES[] = {
    {site_id::resid_post, rule_kind::named, "l_out"},
    {site_id::resid_pre, rule_kind::stream_entering, ""},
    {site_id::resid_mid, rule_kind::residual_operand, ""},
    {site_id::resid_mid, rule_kind::named, "ffn_inp"},
    {site_id::attn_out, rule_kind::added_to_mid, ""},
    {site_id::attn_out, rule_kind::not_parallel_branch, "ffn_down"},
    {site_id::mlp_out, rule_kind::added_to_post, ""},
    {site_id::mlp_out, rule_kind::parallel_branch, "ffn_down"},
    {site_id::mlp_post, rule_kind::input_of_weight, "ffn_down"},
    {site_id::logits, rule_kind::model_output, "result_output"},
};

const char * const EMBEDDING_NAMES[] = {"inp_scaled", "inpL", "embd", "inp_norm", "inp_embd"};

// Finds the nodes of one layer; `pre`/`mid`/`post` are filled as rules succeed.
class layer_resolver {
  public:
    layer_resolver(const std::vector<node_record> & nodes, int32_t layer, bool is_last, int pre) : nodes_(nodes), layer_(layer), is_last_(is_last) {
        found_[static_cast<int>(site_id::resid_pre)] = pre;
    }

    int apply(const site_rule & rule, std::string & reason, bool & ambiguous) {
        switch (rule.kind) {
            case rule_kind::named:               return named(std::string(rule.arg) + "-" + std::to_string(layer_), reason, ambiguous);
            case rule_kind::stream_entering:     return known(site_id::resid_pre, reason);
            case rule_kind::residual_operand:    return residual_operand(reason);
            case rule_kind::added_to_mid:        return other_operand(site_id::resid_mid, site_id::resid_pre, reason);
            case rule_kind::added_to_post:       return other_operand(site_id::resid_post, site_id::resid_mid, reason);
            case rule_kind::parallel_branch:     return branch(rule.arg, true, reason);
            case rule_kind::not_parallel_branch: return branch(rule.arg, false, reason);
            case rule_kind::input_of_weight:     return input_of_weight(rule.arg, reason, ambiguous);
            case rule_kind::model_output:        return model_output(rule.arg, reason, ambiguous);
        }
        return NO_NODE;
    }

    void set(site_id site, int ordinal) { found_[static_cast<int>(site)] = ordinal; }
    int get(site_id site) const { return found_[static_cast<int>(site)]; }

  private:
    int known(site_id site, std::string & reason) const {
        if (get(site) == NO_NODE) {
            reason = std::string("the node of ") + site_name(site) + " is not in this architecture's graph";
        }
        return get(site);
    }

    int named(const std::string & name, std::string & reason, bool & ambiguous) const {
        int match = NO_NODE;
        for (size_t i = 0; i < nodes_.size(); ++i) {
            if (nodes_[i].name == name && !is_view_op(nodes_[i].op)) {
                ambiguous = ambiguous || match != NO_NODE;
                match = static_cast<int>(i);
            }
        }
        if (match == NO_NODE) {
            reason = "no node is named '" + name + "'";
        } else if (ambiguous) {
            reason = "more than one node is named '" + name + "'";
            return NO_NODE;
        }
        return match;
    }

    int model_output(const std::string & name, std::string & reason, bool & ambiguous) const {
        if (!is_last_) {
            reason = "the model's output belongs to the last layer";
            return NO_NODE;
        }
        return named(name, reason, ambiguous);
    }

    // The node itself, or what a GET_ROWS of the output rows (last layer) takes its rows from.
    int before_output_rows(int ordinal) const {
        if (ordinal != NO_NODE && nodes_[ordinal].op == GGML_OP_GET_ROWS && nodes_[ordinal].sources.size() > 1 &&
            nodes_[ordinal].sources[1] == "out_ids") {
            return nodes_[ordinal].source_ordinals[0];
        }
        return ordinal;
    }

    int operand(int ordinal, int index) const {
        const auto & sources = nodes_[ordinal].source_ordinals;
        return index < static_cast<int>(sources.size()) ? sources[index] : NO_NODE;
    }

    bool is_sum(int ordinal) const { return ordinal != NO_NODE && nodes_[ordinal].op == GGML_OP_ADD; }

    bool is_stream_entering(int ordinal) const {
        const int pre = get(site_id::resid_pre);
        return pre != NO_NODE && before_output_rows(ordinal) == pre;
    }

    int residual_operand(std::string & reason) const {
        const int post = get(site_id::resid_post);
        if (is_sum(post)) {
            for (int i = 0; i < 2; ++i) {
                const int mid = operand(post, i);
                if (is_sum(mid) && (is_stream_entering(operand(mid, 0)) || is_stream_entering(operand(mid, 1)))) {
                    return mid;
                }
            }
        }
        reason = "residPost is not 'residMid + mlpOut' with residMid = 'residPre + attnOut' (a parallel block has no residMid)";
        return NO_NODE;
    }

    int other_operand(site_id sum_site, site_id known_site, std::string & reason) const {
        const int sum = get(sum_site);
        const int part = get(known_site);
        if (is_sum(sum) && part != NO_NODE) {
            for (int i = 0; i < 2; ++i) {
                if (before_output_rows(operand(sum, i)) == part && operand(sum, 1 - i) != NO_NODE) {
                    return before_output_rows(operand(sum, 1 - i));
                }
            }
        }
        reason = std::string(site_name(sum_site)) + " is not a sum with " + site_name(known_site);
        return NO_NODE;
    }

    // Does the value of `ordinal` come straight (biases, norms, scales) from the product with the weight?
    bool from_weight(int ordinal, const std::string & weight, int depth) const {
        if (ordinal == NO_NODE || depth == 0) {
            return false;
        }
        const node_record & node = nodes_[ordinal];
        if (node.op == GGML_OP_MUL_MAT) {
            return !node.sources.empty() && node.sources[0] == weight;
        }
        for (int source : node.source_ordinals) {
            if (from_weight(source, weight, depth - 1)) {
                return true;
            }
        }
        return false;
    }

    int branch(const std::string & weight_stem, bool with_weight, std::string & reason) const {
        const int post = get(site_id::resid_post);
        const std::string weight = "blk." + std::to_string(layer_) + "." + weight_stem + ".weight";
        if (is_sum(post)) {
            for (int i = 0; i < 2; ++i) {
                const int both = operand(post, i);
                if (!is_stream_entering(operand(post, 1 - i)) || !is_sum(both)) {
                    continue;
                }
                for (int j = 0; j < 2; ++j) {
                    if (from_weight(operand(both, j), weight, 4)) {
                        return before_output_rows(operand(both, with_weight ? j : 1 - j));
                    }
                }
            }
        }
        reason = "the block is neither 'x + attn, then + mlp' nor 'x + (attn + mlp)'";
        return NO_NODE;
    }

    int input_of_weight(const std::string & stem, std::string & reason, bool & ambiguous) const {
        const std::string weight = "blk." + std::to_string(layer_) + "." + stem + ".weight";
        int match = NO_NODE;
        for (const node_record & node : nodes_) {
            if (node.op == GGML_OP_MUL_MAT && node.sources.size() > 1 && node.sources[0] == weight) {
                ambiguous = ambiguous || match != NO_NODE;
                match = node.source_ordinals[1];
            }
        }
        if (match == NO_NODE || is_view_op(nodes_[match].op)) {
            reason = "no dense matrix product with '" + weight + "' (a mixture of experts has none)";
            return NO_NODE;
        }
        return match;
    }

    const std::vector<node_record> & nodes_;
    int32_t layer_;
    bool is_last_;
    int found_[SITE_COUNT] = {NO_NODE, NO_NODE, NO_NODE, NO_NODE, NO_NODE, NO_NODE, NO_NODE};
};

int find_embedding(const std::vector<node_record> & nodes) {
    for (const char * name : EMBEDDING_NAMES) {
        for (size_t i = 0; i < nodes.size(); ++i) {
            if (nodes[i].name == name && !is_view_op(nodes[i].op)) {
                return static_cast<int>(i);
            }
        }
    }
    for (size_t i = 0; i < nodes.size(); ++i) {  // unnamed: the look-up in the token table itself
        if (nodes[i].op == GGML_OP_GET_ROWS && nodes[i].sources.size() > 1 && nodes[i].sources[1] == "inp_tokens") {
            return static_cast<int>(i);
        }
    }
    return NO_NODE;
}

resolved_site describe(const std::vector<node_record> & nodes, int ordinal, int64_t token_count) {
    const node_record & node = nodes[ordinal];
    resolved_site out;
    for (int i = 0; i < ordinal; ++i) {
        out.occurrence += nodes[i].name == node.name && nodes[i].op == node.op ? 1 : 0;
    }
    out.ordinal = ordinal;
    out.node_name = node.name;
    out.op = node.op;
    out.sources = node.sources;
    out.width = static_cast<int32_t>(node.ne0);
    out.output_rows = node.ne1 != token_count;
    if (node.type != GGML_TYPE_F32 || !node.contiguous || node.ne2 != 1 || node.ne3 != 1 ||
        (node.ne1 != token_count && node.ne1 != 1)) {
        out.reason = "node '" + node.name + "' is not a contiguous f32 matrix with one row per token";
        return out;
    }
    out.found = true;
    return out;
}

}  // namespace

std::string_view plain_name(const ggml_tensor * tensor) {
    const std::string_view name = tensor->name;
    const size_t first = name.find('#');
    if (first == std::string_view::npos) {
        return name;
    }
    const size_t last = name.rfind('#');
    return last == first ? name.substr(first + 1) : name.substr(first + 1, last - first - 1);
}

void graph_trace::add(const ggml_tensor * node) {
    node_record record;
    record.name = plain_name(node);
    record.op = node->op;
    record.type = node->type;
    record.ne0 = node->ne[0];
    record.ne1 = node->ne[1];
    record.ne2 = node->ne[2];
    record.ne3 = node->ne[3];
    record.contiguous = ggml_is_contiguous(node);
    for (int i = 0; i < GGML_MAX_SRC && node->src[i] != nullptr; ++i) {
        const ggml_tensor * source = node->src[i];
        record.sources.emplace_back(plain_name(source));
        auto it = by_pointer_.find(source);
        int ordinal = it == by_pointer_.end() ? NO_NODE : it->second;
        if (ordinal == NO_NODE && std::strchr(source->name, '#') != nullptr) {  // a copy made for another device
            auto named = by_name_.find(record.sources.back());
            ordinal = named == by_name_.end() ? NO_NODE : named->second;
        }
        record.source_ordinals.push_back(ordinal);
    }
    by_pointer_[node] = static_cast<int>(nodes_.size());
    by_name_[record.name] = static_cast<int>(nodes_.size());
    nodes_.push_back(std::move(record));
}

site_catalog::site_catalog(const graph_trace & trace, int32_t layer_count, int64_t token_count) : layer_count_(layer_count) {
    sites_.resize(static_cast<size_t>(layer_count) * SITE_COUNT);
    const auto & nodes = trace.nodes();
    int pre = find_embedding(nodes);
    for (int32_t layer = 0; layer < layer_count; ++layer) {
        layer_resolver resolver(nodes, layer, layer == layer_count - 1, pre);
        for (const site_rule & rule : RULES) {
            resolved_site & out = sites_[static_cast<size_t>(layer) * SITE_COUNT + static_cast<int>(rule.site)];
            if (out.found) {
                continue;
            }
            std::string reason;
            bool ambiguous = false;
            const int ordinal = resolver.apply(rule, reason, ambiguous);
            if (ordinal == NO_NODE) {
                out.ambiguous = out.ambiguous || ambiguous;
                out.reason += (out.reason.empty() ? "" : "; ") + reason;
                continue;
            }
            resolver.set(rule.site, ordinal);
            out = describe(nodes, ordinal, token_count);
            out.rule = rule.kind == rule_kind::named || rule.kind == rule_kind::model_output ? "named " + std::string(rule.arg) : "structure";
        }
        pre = resolver.get(site_id::resid_post);
    }
}

const resolved_site & site_catalog::peek(site_id site, int32_t layer) const {
    return sites_[static_cast<size_t>(layer) * SITE_COUNT + static_cast<int>(site)];
}

const resolved_site & site_catalog::at(const site_ref & ref) const {
    if (ref.layer < 0 || ref.layer >= layer_count_) {
        throw engine_error(error_code::invalid_argument, "layers: expected 0.." + std::to_string(layer_count_ - 1) + ", got " +
                                                             std::to_string(ref.layer));
    }
    const resolved_site & site = peek(ref.site, ref.layer);
    if (!site.found) {
        throw engine_error(site.ambiguous ? error_code::site_ambiguous : error_code::site_not_found,
                           std::string(site_name(ref.site)) + "." + std::to_string(ref.layer) + ": " + site.reason);
    }
    return site;
}

}  // namespace rewardlens
