#include "layer_skip.h"

#include <algorithm>
#include <cstring>

namespace rewardlens {

void layer_skip::prepare(const std::vector<node_record> & trace, const std::vector<int> & entries) {
    trace_ = &trace;
    ordinals_ = entries;
    entry_ = -1;
    needed_.clear();
    for (const int entry : entries) {
        std::vector<uint8_t> needed(static_cast<size_t>(entry) + 1, 0);
        const auto need_sources = [&](const node_record & node) {
            for (const int source : node.source_ordinals) {
                if (source >= 0 && source < entry) {
                    needed[source] = 1;
                }
            }
        };
        for (size_t i = entry + 1; i < trace.size(); ++i) {
            need_sources(trace[i]);
        }
        for (int i = entry - 1; i >= 0; --i) {  // sources come before the nodes that use them
            if (needed[i]) {
                need_sources(trace[i]);
            }
        }
        needed_.push_back(std::move(needed));
    }
    for (auto * list : {&skipped_, &kept_, &unwritten_}) {
        list->clear();
        list->reserve(trace.size());
    }
    changed_.clear();
    changed_.reserve(trace.size());
}

void layer_skip::begin(int entry) {
    entry_ = entry;
    next_ = 0;
    broken_ = cells_seen_ = false;
    skipped_.clear();
    kept_.clear();
    unwritten_.clear();
}

// Does it use a node that was left out, memory that was therefore not written, or a copy made for another device, whose
// origin cannot be told?
bool layer_skip::reads_skipped(const ggml_tensor * tensor) const {
    for (int i = 0; i < GGML_MAX_SRC && tensor->src[i] != nullptr; ++i) {
        const ggml_tensor * source = tensor->src[i];
        const ggml_tensor * memory = source->view_src != nullptr ? source->view_src : source;
        if (std::binary_search(skipped_.begin(), skipped_.end(), source) || std::strchr(source->name, '#') != nullptr ||
            std::binary_search(unwritten_.begin(), unwritten_.end(), memory)) {
            return true;
        }
    }
    return false;
}

layer_skip::verdict layer_skip::visit_below(ggml_tensor * tensor, int ordinal) {
    const node_record & node = (*trace_)[ordinal];
    const bool is_entry = ordinal == ordinals_[entry_];
    if (tensor->op != node.op || plain_name(tensor) != node.name || changed_.size() == changed_.capacity()) {
        broken_ = true;
        return verdict::broken;
    }
    if (!is_entry && needed_[entry_][ordinal]) {
        kept_.push_back(tensor);
        return verdict::compute;
    }
    changed_.push_back({tensor, tensor->op});
    tensor->op = GGML_OP_NONE;
    if (!is_entry) {
        skipped_.push_back(tensor);
        // An operation that writes into a leaf (the KV cache) and not into another node's result.
        if (tensor->view_src != nullptr && tensor->view_src->op == GGML_OP_NONE && !is_view_op(node.op)) {
            unwritten_.push_back(tensor->view_src);
        }
        return verdict::skipped;
    }
    std::sort(skipped_.begin(), skipped_.end());
    std::sort(unwritten_.begin(), unwritten_.end());
    broken_ = !cells_seen_ || std::any_of(kept_.begin(), kept_.end(), [&](const ggml_tensor * kept) { return reads_skipped(kept); });
    return broken_ ? verdict::broken : verdict::compute;
}

layer_skip::verdict layer_skip::visit(ggml_tensor * tensor) {
    const int ordinal = next_++;
    if (broken_) {
        return verdict::broken;
    }
    if (ordinal <= ordinals_[entry_]) {
        return visit_below(tensor, ordinal);
    }
    broken_ = reads_skipped(tensor);
    return broken_ ? verdict::broken : verdict::compute;
}

void layer_skip::restore() {
    for (const changed_node & node : changed_) {
        node.tensor->op = node.op;
    }
    changed_.clear();
}

}  // namespace rewardlens
