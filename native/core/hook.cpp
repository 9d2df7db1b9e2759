#include "hook.h"

#include <algorithm>
#include <string_view>

#include "ggml-backend.h"

namespace rewardlens {

namespace {

// Copies an input tensor (token ids, positions, KV indices) to the host, into a buffer that was sized beforehand. Inputs
// are small: a few bytes per token.
template <typename T>
const T * read_input(const ggml_tensor * tensor, size_t count, std::vector<int64_t> & buffer) {
    ggml_backend_tensor_get(tensor, buffer.data(), 0, count * sizeof(T));
    return reinterpret_cast<const T *>(buffer.data());
}

}  // namespace

std::string site_label(const site_ref & ref) { return std::string(site_name(ref.site)) + "." + std::to_string(ref.layer); }

void hook::watch(const site_catalog & catalog, const site_ref & ref, int block, int entry) {
    const resolved_site & node = catalog.at(ref);
    for (watched_site & other : watched_) {  // residPre.l and residPost.(l-1) are one node: read and edited together
        if (other.ref == ref) {
            other.capture_block = std::max(other.capture_block, block);
            other.entry = std::max(other.entry, entry);
            return;
        }
    }
    watched_.push_back({ref, node, block, entry});
}

void hook::configure(const site_catalog & catalog, const std::vector<node_record> & trace, const hook_plan & plan) {
    watched_.clear();
    plan_ = plan.capture;
    for (size_t block = 0; block < plan_.sites.size(); ++block) {
        if (std::find(plan_.sites.begin(), plan_.sites.begin() + static_cast<std::ptrdiff_t>(block), plan_.sites[block]) !=
            plan_.sites.begin() + static_cast<std::ptrdiff_t>(block)) {
            throw engine_error(error_code::invalid_argument, "capture: " + site_label(plan_.sites[block]) + " is listed twice");
        }
        watch(catalog, plan_.sites[block], static_cast<int>(block), -1);
    }
    for (const site_ref & ref : plan.edited) {
        watch(catalog, ref, -1, -1);
    }
    std::vector<int> entries;
    for (const int32_t layer : plan.entry_layers) {
        watch(catalog, {site_id::resid_post, layer}, -1, static_cast<int>(entries.size()));
        entries.push_back(catalog.peek(site_id::resid_post, layer).ordinal);
    }
    skip_.prepare(trace, entries);
    for (int32_t neuron : plan_.neurons) {
        for (const site_ref & ref : plan_.sites) {
            const int32_t width = catalog.at(ref).width;
            if (neuron < 0 || neuron >= width) {
                throw engine_error(error_code::invalid_argument, "neurons: " + site_label(ref) + " has neurons 0.." +
                                                                     std::to_string(width - 1) + ", got " + std::to_string(neuron));
            }
        }
    }
    index_watched();
    size_t largest = 0;  // floats of a node's rows
    for (const watched_site & site : watched_) {
        const int32_t most = site.node.output_rows ? std::max(plan.max_outputs, 1) : plan.max_rows;
        largest = std::max(largest, static_cast<size_t>(site.node.width) * static_cast<size_t>(most));
    }
    staging_.assign(largest, 0.0f);
    output_index_.reserve(plan.max_rows);
    inputs_.resize(plan.max_rows);
    captures_output_rows_ = std::any_of(watched_.begin(), watched_.end(), [](const watched_site & site) {
        return site.capture_block >= 0 && site.node.output_rows;
    });
    exit_site_ = plan.exit_early && !watched_.empty() ? static_cast<int>(watched_.size()) - 1 : -1;
    wanted_.assign(watched_.size(), 0);
    fired_.assign(watched_.size(), 0);
}

// Sorts the sites into execution order and makes them findable by node name.
void hook::index_watched() {
    // One node may be watched under two names: handle them in one go, lower layer's residPost before residPre.
    std::stable_sort(watched_.begin(), watched_.end(), [](const watched_site & a, const watched_site & b) {
        return a.node.ordinal != b.node.ordinal ? a.node.ordinal < b.node.ordinal
                                                : a.ref.layer < b.ref.layer;
    });
    by_name_.clear();
    watched_ops_.assign(GGML_OP_COUNT, 0);
    for (size_t i = 0; i < watched_.size(); ++i) {
        by_name_[watched_[i].node.node_name].sites.push_back(i);
        watched_ops_[watched_[i].node.op] = 1;
    }
}

compiled_edits hook::compile(const edit_list & list) const {
    compiled_edits out;
    out.list = &list;
    out.by_site.resize(watched_.size());
    for (const edit & e : list.edits) {
        for (size_t i = 0; i < watched_.size(); ++i) {
            if (watched_[i].ref == e.where) {
                check_edit(e, watched_[i].node.width);
                out.by_site[i].push_back(&e);
            }
        }
    }
    return out;
}

int32_t hook::block_width(size_t block) const {
    if (!plan_.neurons.empty()) {
        return static_cast<int32_t>(plan_.neurons.size());
    }
    for (const watched_site & site : watched_) {
        if (site.capture_block == static_cast<int>(block)) {
            return site.node.width;
        }
    }
    return 0;
}

// Does the row take part in the site's capture or edits?
bool hook::site_wanted_by(size_t index, const hook_row & row) const {
    if (row.chunk != nullptr && watched_[index].capture_block >= 0) {
        return true;
    }
    if (watched_[index].node.output_rows && !row.output) {
        return false;  // this row of the last layer feeds nothing: it is not computed, and editing it could change nothing
    }
    if (row.edits != nullptr) {
        for (const edit * e : row.edits->by_site[index]) {
            if (edit_applies(*e, row.position, row.prompt_length)) {
                return true;
            }
        }
    }
    return false;
}

bool hook::needs_output(const hook_row & row) const { return row.chunk != nullptr && captures_output_rows_; }

void hook::begin_decode(const std::vector<hook_row> & rows, int entry) {
    skip_.begin(entry);
    rows_ = &rows;
    output_index_.clear();
    for (size_t r = 0; r < rows.size(); ++r) {
        if (rows[r].output) {
            output_index_.push_back(static_cast<int32_t>(r));
        }
    }
    for (size_t i = 0; i < watched_.size(); ++i) {
        fired_[i] = 0;
        const int own = watched_[i].entry;
        wanted_[i] = (own >= 0 && own == entry) || std::any_of(rows.begin(), rows.end(), [&](const hook_row & row) {
            return site_wanted_by(i, row) || (own > entry && row.record != nullptr && row.record->rows[own] != nullptr);
        });
    }
    for (auto & group : by_name_) {
        group.second.seen = 0;
    }
    exited_ = failed_ = false;
    for (const hook_row & row : rows) {
        if (!row.output && needs_output(row)) {
            fail(error_code::hook_not_fired, "a row of the last layer is wanted whose output was not requested");
        }
    }
    tokens_checked_ = positions_checked_ = streams_checked_ = false;
    active_ = true;
}

void hook::abandon_decode() {
    active_ = false;
    skip_.restore();
}

void hook::end_decode() {
    abandon_decode();
    if (skip_.broken()) {
        return;
    }
    if (failed_) {
        throw engine_error(error_code_, error_message_);
    }
    if (!watched_.empty() && !tokens_checked_) {
        throw engine_error(error_code::hook_not_fired, "the token look-up of this architecture was not seen: rows cannot be verified");
    }
    for (size_t i = 0; i < watched_.size(); ++i) {
        if (wanted_[i] && fired_[i] != 1) {
            throw engine_error(error_code::hook_not_fired, site_label(watched_[i].ref) + ": expected to fire once in this decode, fired " +
                                                               std::to_string(fired_[i]) + " times");
        }
    }
}

void hook::fail(error_code code, const std::string & message) {
    if (!failed_) {
        failed_ = true;
        error_code_ = code;
        error_message_ = message;
    }
}

bool hook::callback(ggml_tensor * tensor, bool ask, void * user_data) {
    auto * self = static_cast<hook *>(user_data);
    try {
        return ask ? self->on_ask(tensor) : self->on_data(tensor);
    } catch (const std::exception & error) {  // e.g. bad_alloc: never through ggml
        self->fail(error_code::decode_failed, error.what());
        return true;
    }
}

bool hook::on_ask(ggml_tensor * tensor) {
    if (trace_ != nullptr) {
        trace_->add(tensor);
        return false;
    }
    if (!active_) {
        return false;
    }
    if (exited_) {
        return true;  // and false afterwards: each remaining split computes a single node
    }
    verify_inputs(tensor);
    const int first = watched_ops_[tensor->op] ? find_site(tensor) : -1;
    if (skip_.active()) {
        const layer_skip::verdict verdict = skip_.visit(tensor);
        exited_ = verdict == layer_skip::verdict::broken;
        if (verdict != layer_skip::verdict::compute) {
            return exited_;
        }
    }
    if (first < 0) {
        return false;
    }
    const watched_site & site = watched_[first];
    for (size_t i = 0; i < site.node.sources.size(); ++i) {
        if (tensor->src[i] == nullptr || plain_name(tensor->src[i]) != site.node.sources[i]) {
            fail(error_code::site_not_found, site_label(site.ref) + ": the graph changed: node '" + site.node.node_name +
                                                 "' no longer has the operands it was recognised by");
            return false;
        }
    }
    current_ = first;
    bool wanted = exit_site_ >= 0 && site.node.ordinal == watched_[exit_site_].node.ordinal;
    for (size_t i = first; i < watched_.size() && watched_[i].node.ordinal == site.node.ordinal; ++i) {
        wanted = wanted || wanted_[i] != 0;
    }
    return wanted;
}

// The first watched site that lives in this node, or -1. Counts nodes that share a name.
int hook::find_site(const ggml_tensor * tensor) {
    const auto it = by_name_.find(std::string_view(tensor->name));
    if (it == by_name_.end()) {
        return -1;
    }
    name_group & group = it->second;
    if (tensor->op != watched_[group.sites.front()].node.op) {
        return -1;  // a view that carries the same name
    }
    const int occurrence = group.seen++;
    for (size_t index : group.sites) {
        if (watched_[index].node.occurrence == occurrence) {
            return static_cast<int>(index);
        }
    }
    return -1;
}

bool hook::on_data(ggml_tensor * tensor) {
    if (exited_) {
        skip_.restore();
        return false;
    }
    const int ordinal = watched_[current_].node.ordinal;
    for (size_t i = current_; i < watched_.size() && watched_[i].node.ordinal == ordinal; ++i) {
        if (wanted_[i]) {
            exchange_rows(watched_[i], tensor);  // before any edit
            process(watched_[i], i, tensor);
        }
    }
    if (exit_site_ >= 0 && watched_[exit_site_].node.ordinal == ordinal) {
        exited_ = true;
        return false;
    }
    return true;
}

// The batch we submitted must be the batch that is computed, row by row.
void hook::verify_inputs(const ggml_tensor * tensor) {
    const size_t n = rows_->size();
    if (tensor->op == GGML_OP_GET_ROWS && !tokens_checked_ && tensor->src[1] != nullptr && plain_name(tensor->src[1]) == "inp_tokens") {
        if (tensor->src[1]->ne[0] != static_cast<int64_t>(n)) {
            fail(error_code::decode_failed, "llama.cpp split a batch of " + std::to_string(n) + " rows that must stay whole");
            return;
        }
        const int32_t * tokens = read_input<int32_t>(tensor->src[1], n, inputs_);
        for (size_t r = 0; r < n; ++r) {
            if (tokens[r] != (*rows_)[r].token) {
                fail(error_code::decode_failed, "row map: token of row " + std::to_string(r) + " is not the submitted one");
            }
        }
        tokens_checked_ = true;
    } else if (tensor->op == GGML_OP_ROPE && !positions_checked_ && tensor->src[1] != nullptr &&
               tensor->src[1]->type == GGML_TYPE_I32 && tensor->src[1]->ne[0] >= static_cast<int64_t>(n)) {
        const int32_t * positions = read_input<int32_t>(tensor->src[1], n, inputs_);
        for (size_t r = 0; r < n; ++r) {
            if (positions[r] != (*rows_)[r].position) {
                fail(error_code::decode_failed, "row map: position of row " + std::to_string(r) + " is not the submitted one");
            }
        }
        positions_checked_ = true;
    } else if (tensor->op == GGML_OP_SET_ROWS && (!streams_checked_ || skip_.below_entry()) && tensor->src[1] != nullptr &&
               plain_name(tensor->src[1]) == "attn_inp_k_idxs" && kv_size_ > 0) {
        verify_cells(tensor->src[1]);
        streams_checked_ = true;
    }
}

// KV cells of the rows: in the sequence's own stream; for a pass that leaves layers out exactly the cell of the position,
// as that is where those layers' keys and values lie.
void hook::verify_cells(const ggml_tensor * indices) {
    const size_t n = rows_->size();
    const int64_t * cells = read_input<int64_t>(indices, n, inputs_);
    bool in_place = true;
    for (size_t r = 0; r < n; ++r) {
        const hook_row & row = (*rows_)[r];
        in_place = in_place && cells[r] == row.sequence * kv_size_ + row.position;
        if (cells[r] / kv_size_ != row.sequence) {
            fail(error_code::decode_failed, "row map: sequence of row " + std::to_string(r) + " is not the submitted one");
        }
    }
    if (skip_.below_entry()) {
        skip_.confirm_cells(in_place);
    }
}

}  // namespace rewardlens
