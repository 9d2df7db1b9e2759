#include "hook.h"

#include <algorithm>
#include <cmath>
#include <cstring>
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

constexpr float F16_MAX = 65504.0f;

std::string site_label(const site_ref & ref) { return std::string(site_name(ref.site)) + "." + std::to_string(ref.layer); }

}  // namespace

void hook::configure(const site_catalog & catalog, const capture_plan & plan, const std::vector<site_ref> & edited,
                     int32_t max_rows, int32_t max_outputs, bool exit_early) {
    watched_.clear();
    by_name_.clear();
    plan_ = plan;
    const auto watch = [&](const site_ref & ref, int block) {
        const resolved_site & node = catalog.at(ref);
        for (watched_site & other : watched_) {  // residPre.l and residPost.(l-1) are one node: read and edited together
            if (other.ref == ref) {
                other.capture_block = std::max(other.capture_block, block);
                return;
            }
        }
        watched_.push_back({ref, node, block});
    };
    for (size_t block = 0; block < plan.sites.size(); ++block) {
        if (std::find(plan.sites.begin(), plan.sites.begin() + static_cast<std::ptrdiff_t>(block), plan.sites[block]) !=
            plan.sites.begin() + static_cast<std::ptrdiff_t>(block)) {
            throw engine_error(error_code::invalid_argument, "capture: " + site_label(plan.sites[block]) + " is listed twice");
        }
        watch(plan.sites[block], static_cast<int>(block));
    }
    for (const site_ref & ref : edited) {
        watch(ref, -1);
    }
    // One node may be watched under two names: handle them in one go, lower layer's residPost before residPre.
    std::stable_sort(watched_.begin(), watched_.end(), [](const watched_site & a, const watched_site & b) {
        return a.node.ordinal != b.node.ordinal ? a.node.ordinal < b.node.ordinal
                                                : a.ref.layer < b.ref.layer;
    });
    size_t largest = 0;  // floats of a node's rows
    watched_ops_.assign(GGML_OP_COUNT, 0);
    for (size_t i = 0; i < watched_.size(); ++i) {
        by_name_[watched_[i].node.node_name].sites.push_back(i);
        watched_ops_[watched_[i].node.op] = 1;
        const int32_t most = watched_[i].node.output_rows ? std::max(max_outputs, 1) : max_rows;
        largest = std::max(largest, static_cast<size_t>(watched_[i].node.width) * static_cast<size_t>(most));
    }
    for (int32_t neuron : plan.neurons) {
        for (const site_ref & ref : plan.sites) {
            const int32_t width = catalog.at(ref).width;
            if (neuron < 0 || neuron >= width) {
                throw engine_error(error_code::invalid_argument, "neurons: " + site_label(ref) + " has neurons 0.." +
                                                                     std::to_string(width - 1) + ", got " + std::to_string(neuron));
            }
        }
    }
    staging_.assign(largest, 0.0f);
    output_index_.reserve(max_rows);
    inputs_.resize(max_rows);
    captures_output_rows_ = std::any_of(watched_.begin(), watched_.end(), [](const watched_site & site) {
        return site.capture_block >= 0 && site.node.output_rows;
    });
    exit_site_ = exit_early && !watched_.empty() ? static_cast<int>(watched_.size()) - 1 : -1;
    wanted_.assign(watched_.size(), 0);
    fired_.assign(watched_.size(), 0);
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

void hook::begin_decode(const std::vector<hook_row> & rows) {
    rows_ = &rows;
    output_index_.clear();
    for (size_t r = 0; r < rows.size(); ++r) {
        if (rows[r].output) {
            output_index_.push_back(static_cast<int32_t>(r));
        }
    }
    for (size_t i = 0; i < watched_.size(); ++i) {
        fired_[i] = 0;
        wanted_[i] = std::any_of(rows.begin(), rows.end(), [&](const hook_row & row) { return site_wanted_by(i, row); });
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

void hook::end_decode() {
    active_ = false;
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

bool hook::on_ask(const ggml_tensor * tensor) {
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
        return false;
    }
    const int ordinal = watched_[current_].node.ordinal;
    for (size_t i = current_; i < watched_.size() && watched_[i].node.ordinal == ordinal; ++i) {
        if (wanted_[i]) {
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
    } else if (tensor->op == GGML_OP_SET_ROWS && !streams_checked_ && tensor->src[1] != nullptr &&
               plain_name(tensor->src[1]) == "attn_inp_k_idxs" && kv_size_ > 0) {
        const int64_t * cells = read_input<int64_t>(tensor->src[1], n, inputs_);
        for (size_t r = 0; r < n; ++r) {
            if (cells[r] / kv_size_ != (*rows_)[r].sequence) {
                fail(error_code::decode_failed, "row map: sequence of row " + std::to_string(r) + " is not the submitted one");
            }
        }
        streams_checked_ = true;
    }
}

void hook::edit_row(size_t index, const hook_row & row, float * data, int32_t width, bool & changed) {
    if (row.edits == nullptr) {
        return;
    }
    for (const edit * e : row.edits->by_site[index]) {
        if (edit_applies(*e, row.position, row.prompt_length)) {
            row.changed[e->source] += apply_edit(*e, data, width, row.position);
            changed = true;
        }
    }
}

void hook::capture_row(const watched_site & site, const hook_row & row, const float * data) {
    const auto block = static_cast<size_t>(site.capture_block);
    auto * out = static_cast<uint8_t *>(row.chunk->blocks[block].get()) + static_cast<size_t>(row.chunk_row) * row.chunk->row_bytes[block];
    if (plan_.neurons.empty() && !plan_.half_precision) {
        std::memcpy(out, data, row.chunk->row_bytes[block]);
        return;
    }
    const size_t count = plan_.neurons.empty() ? static_cast<size_t>(site.node.width) : plan_.neurons.size();
    for (size_t i = 0; i < count; ++i) {
        const float value = plan_.neurons.empty() ? data[i] : data[plan_.neurons[i]];
        if (plan_.half_precision) {
            if (std::fabs(value) > F16_MAX && std::isfinite(value)) {
                fail(error_code::non_finite, site_label(site.ref) + ": a value of " + std::to_string(value) + " does not fit f16; capture as f32");
            }
            reinterpret_cast<ggml_fp16_t *>(out)[i] = ggml_fp32_to_fp16(value);
        } else {
            reinterpret_cast<float *>(out)[i] = value;
        }
    }
}

void hook::process(const watched_site & site, size_t index, ggml_tensor * tensor) {
    const auto & rows = *rows_;
    const int64_t tensor_rows = tensor->ne[1];
    const bool all_rows = tensor_rows == static_cast<int64_t>(rows.size());
    if (tensor->type != GGML_TYPE_F32 || !ggml_is_contiguous(tensor) || tensor->ne[0] != site.node.width || ggml_nrows(tensor) != tensor_rows ||
        (!all_rows && tensor_rows != static_cast<int64_t>(output_index_.size()))) {
        fail(error_code::shape_mismatch, site_label(site.ref) + ": node '" + site.node.node_name + "' has an unexpected shape");
        return;
    }
    const auto row_of = [&](int64_t r) -> const hook_row & { return rows[all_rows ? r : output_index_[r]]; };
    int64_t lo = tensor_rows, hi = 0;  // span of rows that matter
    for (int64_t r = 0; r < tensor_rows; ++r) {
        if (site_wanted_by(index, row_of(r))) {
            lo = std::min(lo, r);
            hi = r + 1;
        }
    }
    ++fired_[index];
    if (lo >= hi) {
        return;
    }
    const auto width = static_cast<size_t>(site.node.width);
    const bool host = ggml_backend_buffer_is_host(tensor->buffer);
    float * data = host ? static_cast<float *>(tensor->data) + lo * width : staging_.data();
    if (!host) {
        ggml_backend_tensor_get(tensor, data, lo * width * sizeof(float), (hi - lo) * width * sizeof(float));
    }
    bool changed = false;
    for (int64_t r = lo; r < hi; ++r) {
        const hook_row & row = row_of(r);
        edit_row(index, row, data + (r - lo) * width, site.node.width, changed);
        if (row.chunk != nullptr && site.capture_block >= 0) {
            capture_row(site, row, data + (r - lo) * width);
        }
    }
    if (changed && !host) {
        ggml_backend_tensor_set(tensor, data, lo * width * sizeof(float), (hi - lo) * width * sizeof(float));
    }
}

}  // namespace rewardlens
