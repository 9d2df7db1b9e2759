// Capture plans and edits as plain data. TypeScript compiles its unions to these; nothing here is decided at run time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rewardlens {

// Places in a transformer block, named as in TransformerLens. See docs/sites.md.
// `logits` is not in a block: it is the model's output and belongs to the last layer.
enum class site_id : uint8_t { resid_pre, resid_mid, resid_post, attn_out, mlp_post, mlp_out, logits };
constexpr int SITE_COUNT = 7;

// "residPre" … "logits"; the reverse throws INVALID_ARGUMENT for an unknown name.
const char * site_name(site_id site);
site_id site_from_name(const std::string & name);

// `response` is s0 and the completion: the states from which tokens are sampled.
enum class position_kind : uint8_t { all, prompt, completion, response, last, s0, list };

// Which positions of a sequence. `list` entries ≥ 0 are absolute, < 0 count from the end of the prompt (-1 = s_0).
struct position_set {
    position_kind kind = position_kind::all;
    std::vector<int32_t> list;  // sorted ascending
    int32_t from = 0;           // only positions ≥ from

    // O(log list). `last` is not a property of one position and is handled by the scheduler: here it is false.
    bool contains(int32_t position, int32_t prompt_length) const;
    // Smallest position that may belong to the set for a prompt of this length; INT32_MAX when empty.
    int32_t first(int32_t prompt_length) const;
    // True when membership of a prompt position depends on the prompt's length.
    bool depends_on_prompt_length() const;
};

struct site_ref {
    site_id site = site_id::resid_post;
    int32_t layer = 0;
    bool operator==(const site_ref & other) const { return site == other.site && layer == other.layer; }
};

enum class edit_op : uint8_t { set, scale, add, clamp, rows, project };
enum class row_choice : uint8_t { seeded, by_position };

// One edit of one site. The selected neurons are `neurons`, or the whole width when that is empty; n_sel below.
struct edit {
    uint32_t source = 0;                  // index of the intervention it came from: counters are per source
    site_ref where;
    edit_op op = edit_op::set;
    std::vector<int32_t> neurons;
    position_set positions;
    // set, scale, add: [1] or [n_sel]; clamp: {lo, hi}; project: unit direction [n_sel]; rows: [row_count, n_sel]
    std::shared_ptr<const std::vector<float>> values;
    row_choice choice = row_choice::seeded;
    uint64_t seed = 0;                    // rows + seeded: row = hash(seed, position) mod row_count
    std::vector<int32_t> row_positions;   // rows + by_position: row i replaces this position; sorted ascending
};

// Edits of one arm, applied at a site in list order.
struct edit_list {
    std::vector<edit> edits;
    uint32_t source_count = 0;
};

// What to read, the same for every request of a run.
struct capture_plan {
    std::vector<site_ref> sites;     // one block of rows per entry, in this order
    position_set positions;
    std::vector<int32_t> neurons;    // empty = whole width
    bool half_precision = false;     // rows as f16 instead of f32
    bool empty() const { return sites.empty(); }
};

// Does `e` replace a value at this position? (For rows/by_position only listed positions have a row.)
bool edit_applies(const edit & e, int32_t position, int32_t prompt_length);

// Applies `e` in place to one row of `width` floats. Returns the number of values written.
// Precondition: edit_applies(e, position, …) and indices within width.
uint32_t apply_edit(const edit & e, float * row, int32_t width, int32_t position);

// Throws SHAPE_MISMATCH / INVALID_ARGUMENT when `e` does not fit a site of this width.
void check_edit(const edit & e, int32_t width);

}  // namespace rewardlens
