// Prefix skip: layers below the edits of a prompt are computed once and kept; other arms start above them.
#include "scheduler.h"

#include <algorithm>
#include <limits>

namespace rewardlens {

namespace {

constexpr int32_t SMALLEST_SHARE = 8;  // starting above less than this part of the layers (1/n) is not worth smaller passes

}  // namespace

// The layers that requests of this run may start above: for every edit list the highest whose residPost comes before all
// that the list and the capture touch in prompts. Ascending.
std::vector<int32_t> scheduler::entry_layers() const {
    std::vector<int32_t> out;
    const site_catalog & catalog = session_->catalog();
    if (!params_.skip_layers || !session_->can_skip_layers()) {
        return out;
    }
    int32_t captured = std::numeric_limits<int32_t>::max();
    if (params_.capture.positions.kind != position_kind::completion) {
        for (const site_ref & ref : params_.capture.sites) {
            captured = std::min(captured, catalog.at(ref).ordinal);
        }
    }
    for (const edit_list & list : params_.edit_lists) {
        int32_t first = std::numeric_limits<int32_t>::max();
        for (const edit & e : list.edits) {
            first = e.positions.kind == position_kind::completion ? first : std::min(first, catalog.at(e.where).ordinal);
        }
        if (first == std::numeric_limits<int32_t>::max()) {
            continue;
        }
        first = std::min(first, captured);
        for (int32_t layer = catalog.layer_count() - 1; (layer + 1) * SMALLEST_SHARE >= catalog.layer_count() && layer >= 0; --layer) {
            const resolved_site & site = catalog.peek(site_id::resid_post, layer);
            if (site.found && !site.output_rows && site.ordinal <= first) {
                out.push_back(layer);
                break;
            }
        }
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

// How many of the entries come before this node, or at it.
int32_t scheduler::reach_below(int32_t ordinal) const {
    return static_cast<int32_t>(std::upper_bound(entry_ordinals_.begin(), entry_ordinals_.end(), ordinal) - entry_ordinals_.begin());
}

// How many entries a prompt of this length has below its first edit.
int32_t scheduler::edit_reach(const compiled_edits * edits, int32_t prompt_length) const {
    auto reach = static_cast<int32_t>(entry_ordinals_.size());
    if (edits != nullptr) {
        for (const edit & e : edits->list->edits) {
            if (e.positions.first(prompt_length) < prompt_length) {
                reach = std::min(reach, reach_below(session_->catalog().at(e.where).ordinal));
            }
        }
    }
    return reach;
}

// How many entries the request may start above: nothing edited or captured in its prompt below them.
int32_t scheduler::usable_reach(const sequence_request & request, const compiled_edits * edits) const {
    const auto prompt_length = static_cast<int32_t>(request.prompt.size());
    if (entry_ordinals_.empty() || (!can_keep_cells(request.prompt.size()) && (request.max_tokens > 0 || !one_pass(request.prompt.size())))) {
        return 0;
    }
    int32_t reach = edit_reach(edits, prompt_length);
    if (params_.capture.positions.first(prompt_length) < prompt_length) {
        for (const site_ref & ref : params_.capture.sites) {
            reach = std::min(reach, reach_below(session_->catalog().at(ref).ordinal));
        }
    }
    return reach;
}

// The cheapest start above a layer, where that is cheaper than a full pass behind `prefix` shared positions.
scheduler::skip_choice scheduler::find_skip(const sequence_request & request, const compiled_edits * edits, int32_t prefix) {
    const auto length = static_cast<int32_t>(request.prompt.size());
    const int32_t reach = usable_reach(request, edits);
    skip_choice out;
    out.stored = reach > 0 ? stored_.find(request.prompt) : nullptr;
    out.entry = out.stored ? out.stored->highest_entry(reach) : -1;
    if (out.entry < 0) {
        return {};
    }
    if (out.stored->clean && params_.min_shared_prefix >= 0 && can_keep_cells(request.prompt.size())) {
        out.prefix = shareable_prefix(request.prompt, length, nullptr, request, edits, params_.capture);
    }
    const int64_t layers = session_->catalog().layer_count();
    const int64_t cost = (length - out.prefix) * (layers - 1 - entry_layers_[out.entry]);
    return cost < (length - prefix) * layers ? out : skip_choice{};
}

// Is a pass over the same prompt under way, above whose rows the request could start notably higher than now?
bool scheduler::worth_waiting_for_layers(const sequence_request & request, const compiled_edits * edits, const skip_choice & now) const {
    const int32_t reach = usable_reach(request, edits);
    if (reach == 0) {
        return false;  // also in a run without plan, whose context must not be asked for sites
    }
    const auto layers_below = [&](int entry) { return entry < 0 ? 0 : entry_layers_[entry] + 1; };
    const int32_t notable = std::max(1, session_->catalog().layer_count() / SMALLEST_SHARE);
    return std::any_of(slots_.begin(), slots_.end(), [&](const slot & s) {
        return s.state == slot_state::prefilling && s.recording != nullptr && s.recording->tokens == request.prompt &&
               layers_below(s.recording->highest_entry(reach)) - layers_below(now.entry) >= notable;
    });
}

// Will the cells of the layers below be read? Not when the prompt is read in one pass and nothing is generated.
bool scheduler::needs_cells(const sequence_request & request, const skip_choice & skip) const {
    return skip.stored != nullptr && (request.max_tokens > 0 || skip.prefix > 0 || !one_pass(request.prompt.size()));
}

// llama.cpp writes a sequence's cells out without those that left the window of sliding-window layers.
bool scheduler::can_keep_cells(size_t prompt_length) const {
    const int32_t window = llama_model_n_swa(session_->owner().handle());
    return window <= 0 || prompt_length <= static_cast<size_t>(window);
}

// Does a prompt of this length fit one forward pass?
bool scheduler::one_pass(size_t prompt_length) const {
    const int32_t rows = session_->hooks().captures_output_rows() ? std::min(session_->params().ubatch, session_->max_outputs())
                                                                  : session_->params().ubatch;
    return prompt_length <= static_cast<size_t>(rows);
}

// Prepares `target` to start above `skip.entry`; false when there is nothing to start from. Then the slot is empty, or as it was.
bool scheduler::start_above(slot & target, const sequence_request & request, const skip_choice & skip) {
    target.stored.reset();
    target.entry = -1;
    target.hollow = false;
    if (skip.stored == nullptr) {
        return false;
    }
    llama_memory_t memory = llama_get_memory(context_);
    const bool fill = needs_cells(request, skip);
    target.cells.clear();
    const auto is_filled = [&] {
        return llama_state_seq_set_data(context_, skip.stored->cells.data(), skip.stored->cells.size(), target.sequence) > 0 &&
               llama_memory_seq_pos_min(memory, target.sequence) == 0 &&
               llama_memory_seq_pos_max(memory, target.sequence) == static_cast<int32_t>(request.prompt.size()) - 1;
    };
    if (fill && !is_filled()) {
        llama_memory_seq_rm(memory, target.sequence, -1, -1);
        return false;
    }
    // Cells of positions to be computed are free again, but what lies in them stays: the pass gets the same cells (which is
    // checked) and fills them above the entry only.
    llama_memory_seq_rm(memory, target.sequence, skip.prefix > 0 ? skip.prefix : -1, -1);
    target.cells.assign(request.prompt.begin(), request.prompt.begin() + skip.prefix);
    target.stored = skip.stored;
    target.entry = skip.entry;
    target.hollow = !fill;
    return true;
}

// Does a queued request wait for this prompt? `when_unknown`: the queue is empty, but one may still come.
bool scheduler::prompt_is_wanted(const std::vector<llama_token> & tokens, bool when_unknown) const {
    std::lock_guard<std::mutex> lock(mutex_);
    if (queue_.empty()) {
        return when_unknown && !closed_;
    }
    return std::any_of(queue_.begin(), queue_.end(), [&](const auto & request) {
        return request->prompt == tokens && usable_reach(*request, edits_of(*request)) > 0;
    });
}

// What a request's pass over its prompt is to keep; null when that is kept already or cannot be.
std::shared_ptr<stored_prompt> scheduler::plan_recording(const sequence_request & request, const compiled_edits * edits, const skip_choice & skip) {
    const auto length = static_cast<int32_t>(request.prompt.size());
    auto out = std::make_shared<stored_prompt>();
    out->reach = entry_layers_.empty() ? 0 : edit_reach(edits, length);
    out->clean = first_edited(edits, length) >= length;
    if (out->reach == 0 || !session_->can_skip_layers()) {
        return nullptr;
    }
    const auto covered = [&](const stored_prompt & other) { return other.reach >= out->reach && (other.clean || !out->clean); };
    const auto kept = stored_.find(request.prompt);
    if ((kept && covered(*kept)) || std::any_of(slots_.begin(), slots_.end(), [&](const slot & s) {
            return s.recording && s.recording->tokens == request.prompt && covered(*s.recording);
        })) {
        return nullptr;
    }
    out->tokens = request.prompt;
    out->rows.resize(entry_layers_.size());
    for (int entry = 0; entry <= skip.entry; ++entry) {
        out->rows[entry] = skip.stored->rows[entry];
    }
    // Where memory does not suffice for all entries, every second, third … from the top: the others start a little lower.
    const auto size = static_cast<size_t>(length) * static_cast<size_t>(session_->catalog().peek(site_id::resid_post, entry_layers_[0]).width);
    const size_t affordable = stored_.budget() / 2 / (size * sizeof(float));
    const int count = out->reach - (skip.entry + 1);
    if (affordable == 0 || count <= 0) {
        return nullptr;
    }
    const int step = (count + static_cast<int>(std::min<size_t>(affordable, count)) - 1) / static_cast<int>(std::min<size_t>(affordable, count));
    for (int entry = out->reach - 1; entry > skip.entry; entry -= step) {
        out->rows[entry] = std::make_shared<std::vector<float>>(size);
    }
    return out;
}

// The prompt has been computed: keep its rows and cells if somebody waits for them.
void scheduler::end_prompt(slot & s) {
    s.read_cells = s.read_cells == s.result.shared_prefix ? s.result.prompt_length : s.read_cells;
    if (s.recording && prompt_is_wanted(s.recording->tokens, true)) {
        bool complete = true;
        if (can_keep_cells(s.recording->tokens.size())) {
            s.recording->cells.resize(llama_state_seq_get_size(context_, s.sequence));
            const size_t written = llama_state_seq_get_data(context_, s.recording->cells.data(), s.recording->cells.size(), s.sequence);
            complete = written > 0 && written == s.recording->cells.size();
        }
        if (complete) {
            stored_.add(std::move(s.recording));
        }
    }
    s.recording.reset();
    s.stored.reset();
    s.entry = -1;
}

// One pass over the rows of these prefilling slots, from above their common entry. Where the graph turns out not to allow
// that, the pass is repeated in full, and no other one tries.
void scheduler::execute_group(size_t first, size_t count) {
    const int entry = slots_[first].entry;
    std::vector<std::vector<uint64_t>> changed;
    for (size_t i = first; entry >= 0 && i < first + count; ++i) {
        changed.push_back(slots_[i].result.changed);
    }
    execute(entry);
    progress_.prompt_tokens += rows_.size();
    if (entry < 0) {
        return;
    }
    if (!session_->hooks().skip_broken()) {
        progress_.skipped_tokens += rows_.size();
        progress_.skipped_layer_tokens += rows_.size() * static_cast<size_t>(entry_layers_[entry] + 1);
        return;
    }
    ++progress_.skip_fallbacks;
    session_->refuse_skip();
    stored_.clear();
    for (size_t i = first; i < first + count; ++i) {
        slot & s = slots_[i];
        std::copy(changed[i - first].begin(), changed[i - first].end(), s.result.changed.begin());  // in place: rows point into it
        llama_memory_seq_rm(llama_get_memory(context_), s.sequence, s.position() > 0 ? s.position() : -1, -1);
    }
    for (slot & s : slots_) {
        s.result.skipped_layers = s.entry >= 0 && s.position() <= s.result.shared_prefix ? 0 : s.result.skipped_layers;
        s.entry = -1;
        s.hollow = false;
        s.stored.reset();
        s.recording.reset();
    }
    for (hook_row & row : rows_) {
        row.record = nullptr;
        row.enter = nullptr;
    }
    execute(-1);
}

}  // namespace rewardlens
