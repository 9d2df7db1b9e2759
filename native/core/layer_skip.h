// Leaves out the lower layers of a forward pass: for prompts whose lower layers have been computed before.
//
// In the ask phase the nodes up to residPost of a layer (the entry) lose their operation, so that the backend passes over
// them; the hook then writes kept rows into the entry node, and the operations come back. What is left out is decided from
// a traced graph and checked against the graph at hand, node by node: where anything differs, or a node that is computed
// would read one that is not, the pass is given up (`broken`) and must be repeated in full. See docs/engine.md.
#pragma once

#include <cstdint>
#include <vector>

#include "sites.h"

namespace rewardlens {

class layer_skip {
  public:
    enum class verdict : uint8_t { compute, skipped, broken };

    // `entries`: ordinals of the possible entry nodes in `trace`, which must outlive this object. Cost: a walk over the
    // trace per entry.
    void prepare(const std::vector<node_record> & trace, const std::vector<int> & entries);
    // Arms the next pass; `entry` is an index into `entries`, -1 = a full pass.
    void begin(int entry);
    // Ask phase, for every node in order. Allocates nothing.
    verdict visit(ggml_tensor * tensor);
    // The KV cells of this pass are (not) those the kept lower layers lie in. A pass without this word is given up.
    void confirm_cells(bool match) {
        cells_seen_ = true;
        broken_ = broken_ || !match;
    }
    // The entry's rows are written, or the pass is over: gives the operations back. Idempotent.
    void restore();

    bool active() const { return entry_ >= 0; }
    bool below_entry() const { return active() && next_ <= ordinals_[entry_]; }
    bool broken() const { return broken_; }
    int entry() const { return entry_; }

  private:
    struct changed_node {
        ggml_tensor * tensor;
        ggml_op op;
    };
    verdict visit_below(ggml_tensor * tensor, int ordinal);
    bool reads_skipped(const ggml_tensor * tensor) const;

    const std::vector<node_record> * trace_ = nullptr;
    std::vector<int> ordinals_;
    std::vector<std::vector<uint8_t>> needed_;  // [entry][node below it]: later nodes use it directly or through others
    int entry_ = -1;
    int next_ = 0;  // ordinal of the node asked for next
    bool broken_ = false;
    bool cells_seen_ = false;
    std::vector<changed_node> changed_;
    std::vector<const ggml_tensor *> skipped_;  // sorted once the entry is reached
    std::vector<const ggml_tensor *> kept_;     // computed below the entry
    std::vector<const ggml_tensor *> unwritten_;  // memory (KV) that skipped nodes would have written
};

}  // namespace rewardlens
