// The evaluation callback: reads and edits site tensors inside llama.cpp's forward pass.
//
// llama.cpp asks once per graph node whether we want it; wanted nodes end a piece of the graph, after which we read or
// write the tensor. Rules kept here (docs/engine.md): no allocation per node, no exceptions through ggml (the first error
// is stored and thrown by end_decode), one ubatch per decode so that row r of a tensor is entry r of the batch — and
// that is not assumed but checked against the graph's own token, position and KV-index inputs.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "capture.h"
#include "error.h"
#include "layer_skip.h"
#include "plan.h"
#include "sites.h"
#include "stored_prompt.h"

namespace rewardlens {

// Edits of one arm, grouped by watched site (index into the hook's list), in list order.
struct compiled_edits {
    const edit_list * list = nullptr;
    std::vector<std::vector<const edit *>> by_site;
};

// One batch entry as the hook sees it.
struct hook_row {
    int32_t sequence = 0;
    int32_t position = 0;
    int32_t token = 0;
    int32_t prompt_length = 0;
    bool output = false;
    const compiled_edits * edits = nullptr;  // null = none
    uint64_t * changed = nullptr;            // [edits->list->source_count] values written, per intervention
    capture_chunk * chunk = nullptr;         // null = not captured
    int32_t chunk_row = 0;
    stored_prompt * record = nullptr;        // where its rows at the entries are kept (blocks that are there)
    const stored_prompt * enter = nullptr;   // where the row comes from when the pass starts above a layer
};

struct watched_site {
    site_ref ref;
    resolved_site node;
    int capture_block = -1;  // index into capture_chunk::blocks, -1 = only edited
    int entry = -1;          // index into the layers above which a pass may start, -1 = none of them
};

// "residPost.3"
std::string site_label(const site_ref & ref);

// Which sites of a run are watched.
struct hook_plan {
    capture_plan capture;
    std::vector<site_ref> edited;      // sites of all edit lists
    std::vector<int32_t> entry_layers; // a pass may start after residPost of these layers; ascending
    int32_t max_rows = 0;              // n_ubatch
    int32_t max_outputs = 0;           // of which may be output rows
    bool exit_early = false;           // the pass stops after the last site: only for runs that need no logits
};

class hook {
  public:
    // Sites are resolved here; throws SITE_NOT_FOUND etc. `trace`: the nodes that the catalogue was made from; must outlive
    // the hook's use.
    void configure(const site_catalog & catalog, const std::vector<node_record> & trace, const hook_plan & plan);
    compiled_edits compile(const edit_list & list) const;

    // Collect the graph instead of watching sites (probe decode).
    void start_trace(graph_trace * trace) { trace_ = trace; }
    void stop_trace() { trace_ = nullptr; }

    // Cells per sequence of the KV cache, to recognise a row's sequence by its cell; 0 = not checkable (one shared stream).
    void set_kv_size(int64_t cells_per_sequence) { kv_size_ = cells_per_sequence; }

    // Declares the rows of the next llama_decode; `rows` must outlive it. `entry`: the pass starts above that entry, with
    // the rows of each row's `enter`; -1 = a full pass.
    void begin_decode(const std::vector<hook_row> & rows, int entry = -1);
    // After llama_decode: the layers below could not be left out safely. Nothing of the pass counts; repeat it in full.
    bool skip_broken() const { return skip_.broken(); }
    // After llama_decode: throws the stored error, or HOOK_NOT_FIRED when a wanted site did not come up exactly once.
    void end_decode();
    // Forgets the current decode without checking (it failed for another reason).
    void abandon_decode();

    const std::vector<watched_site> & watched() const { return watched_; }
    // Floats per captured row of block k.
    int32_t block_width(size_t block) const;
    // True when the row is captured at a site that only has rows for tokens flagged as outputs (the last layer).
    bool needs_output(const hook_row & row) const;
    bool captures_output_rows() const { return captures_output_rows_; }

    static bool callback(ggml_tensor * tensor, bool ask, void * user_data);

  private:
    bool on_ask(ggml_tensor * tensor);
    int find_site(const ggml_tensor * tensor);
    bool on_data(ggml_tensor * tensor);
    void verify_inputs(const ggml_tensor * tensor);
    void verify_cells(const ggml_tensor * tensor);
    void watch(const site_catalog & catalog, const site_ref & ref, int block, int entry);
    void index_watched();
    void exchange_rows(const watched_site & site, ggml_tensor * tensor);
    void process(const watched_site & site, size_t index, ggml_tensor * tensor);
    bool site_wanted_by(size_t index, const hook_row & row) const;
    void edit_row(size_t index, const hook_row & row, float * data, int32_t width, bool & changed);
    void capture_row(const watched_site & site, const hook_row & row, const float * data);
    void fail(error_code code, const std::string & message);

    std::vector<watched_site> watched_;
    // Watched sites by node name (transparent: looked up without building a string). Several sites may be one node, and
    // several nodes may share a name and op: `seen` counts them within a forward pass.
    struct name_group {
        std::vector<size_t> sites;
        int seen = 0;
    };
    std::map<std::string, name_group, std::less<>> by_name_;
    std::vector<uint8_t> watched_ops_;                    // [GGML_OP_COUNT] cheap first filter of nodes
    capture_plan plan_;
    std::vector<float> staging_;    // rows of a tensor that is not in host memory
    std::vector<int64_t> inputs_;   // token ids, positions or KV indices of a pass
    int exit_site_ = -1;
    bool captures_output_rows_ = false;
    int current_ = -1;  // first watched site of the node last asked for
    int64_t kv_size_ = 0;

    const std::vector<hook_row> * rows_ = nullptr;
    std::vector<int32_t> output_index_;  // row numbers of output rows
    std::vector<uint8_t> wanted_;        // per watched site: needed by some row of this decode
    std::vector<uint32_t> fired_;        // per watched site
    layer_skip skip_;
    graph_trace * trace_ = nullptr;
    bool active_ = false;
    bool exited_ = false;
    bool tokens_checked_ = false, positions_checked_ = false, streams_checked_ = false;
    bool failed_ = false;
    error_code error_code_ = error_code::hook_not_fired;
    std::string error_message_;
};

}  // namespace rewardlens
