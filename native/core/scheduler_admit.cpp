// Which request goes into a free slot, and what of its prompt is already in some cache.
#include "scheduler.h"

#include <algorithm>

#include "error.h"

namespace rewardlens {

namespace {

constexpr size_t ADMISSION_LOOKAHEAD = 64;  // queue entries inspected per free slot

}  // namespace

const compiled_edits * scheduler::edits_of(const sequence_request & request) const {
    if (request.edits < 0 || compiled_.empty() || compiled_[request.edits].list->edits.empty()) {
        return nullptr;
    }
    return &compiled_[request.edits];
}

// Free slots whose request began longest ago first: what ran last is what a request to come most likely goes on from.
void scheduler::admit() {
    started_.resize(slots_.size());
    std::vector<size_t> free;
    for (size_t i = 0; i < slots_.size(); ++i) {
        if (!slots_[i].active()) {
            free.push_back(i);
        }
    }
    std::stable_sort(free.begin(), free.end(), [this](size_t a, size_t b) { return started_[a] < started_[b]; });
    for (const size_t i : free) {
        if (!admit_into(slots_[i])) {
            return;  // nothing (yet) for this slot, so nothing for the others
        }
    }
}

// Gives `target` the first queued request that need not wait for a longer prefix now being computed elsewhere.
bool scheduler::admit_into(slot & target) {
    std::unique_ptr<sequence_request> request;
    const compiled_edits * edits = nullptr;
    skip_choice skip;
    int source = -1;
    int32_t prefix = 0;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        for (size_t i = 0; i < queue_.size() && i < ADMISSION_LOOKAHEAD; ++i) {
            edits = edits_of(*queue_[i]);
            source = find_source(*queue_[i], edits, target, prefix);
            if (worth_waiting(*queue_[i], edits, prefix)) {
                continue;
            }
            skip = find_skip(*queue_[i], edits, prefix);
            if (worth_waiting_for_layers(*queue_[i], edits, skip) || (copies_pending_[target.sequence] && needs_cells(*queue_[i], skip))) {
                continue;
            }
            request = std::move(queue_[i]);
            queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
            break;
        }
    }
    if (!request) {
        return false;
    }
    start_request(target, std::move(request), edits, source, prefix, skip);
    return true;
}

// The slot with the longest usable prefix; the target itself wins ties (no copy needed).
int scheduler::find_source(const sequence_request & request, const compiled_edits * edits, const slot & target, int32_t & prefix) const {
    prefix = 0;
    int source = -1;
    if (params_.min_shared_prefix < 0 || !session_->can_share_prefix()) {
        return source;
    }
    for (const slot & s : slots_) {
        if (s.hollow) {
            continue;
        }
        const int32_t length = shareable_prefix(s.cells, s.cells_prompt_length, s.cells_edits, request, edits, params_.capture);
        const bool self = s.sequence == target.sequence;
        if (length > 0 && (length > prefix || (length == prefix && self)) && (self || length >= params_.min_shared_prefix)) {
            prefix = length;
            source = s.sequence;
        }
    }
    return source;
}

bool scheduler::worth_waiting(const sequence_request & request, const compiled_edits * edits, int32_t available) const {
    if (params_.min_shared_prefix < 0 || !session_->can_share_prefix()) {
        return false;
    }
    for (const slot & s : slots_) {
        if (s.state != slot_state::prefilling || s.hollow) {
            continue;
        }
        const int32_t future = shareable_prefix(s.request->prompt, s.cells_prompt_length, s.edits, request, edits, params_.capture);
        if (future >= available + std::max(1, params_.min_shared_prefix)) {
            return true;
        }
    }
    return false;
}

uint64_t scheduler::count_shared(const edit & e, int32_t prefix, int32_t prompt_length) const {
    if (session_->catalog().at(e.where).output_rows) {
        return 0;  // rows of the last layer that nothing needs are not computed
    }
    uint64_t rows = 0;
    for (int32_t position = 0; position < prefix; ++position) {
        rows += edit_applies(e, position, prompt_length) ? 1 : 0;
    }
    const uint64_t per_row = e.neurons.empty() ? session_->catalog().at(e.where).width : e.neurons.size();
    return rows * per_row;
}

// An empty result and a sampler for a request of whose prompt `prefix` positions are taken from a cache.
void scheduler::begin_result(slot & target, const sequence_request & request, int32_t prefix) {
    const auto prompt_length = static_cast<int32_t>(request.prompt.size());
    target.result = sequence_result{};
    target.result.id = request.id;
    target.result.prompt_length = prompt_length;
    target.result.shared_prefix = prefix;
    target.result.skipped_layers = target.entry >= 0 ? entry_layers_[target.entry] + 1 : 0;
    if (request.edits >= 0) {
        const edit_list & list = params_.edit_lists[request.edits];
        target.result.changed.assign(list.source_count, 0);
        target.result.changed_shared.assign(list.source_count, 0);
        for (const edit & e : list.edits) {
            target.result.changed_shared[e.source] += prefix > 0 ? count_shared(e, prefix, prompt_length) : 0;
        }
    }
    if (request.max_tokens > 0) {
        target.sampler = std::make_unique<sequence_sampler>(session_->owner().vocab(), request.sampling);
        target.result.tokens.reserve(request.max_tokens);
        if (request.statistics) {
            target.result.log_probabilities.reserve(request.max_tokens);
            target.result.entropies.reserve(request.max_tokens);
        }
    }
    progress_.shared_tokens += prefix;
}

void scheduler::start_request(slot & target, std::unique_ptr<sequence_request> request, const compiled_edits * edits, int source, int32_t prefix,
                              const skip_choice & skip) {
    llama_memory_t memory = llama_get_memory(context_);
    int32_t read = source >= 0 ? std::min(prefix, slots_[source].read_cells) : 0;
    target.recording = plan_recording(*request, edits, skip);
    if (target.recording && skip.stored == nullptr && prefix > 0 && (read < prefix || !stored_.copy_rows(*target.recording, prefix))) {
        // The rows of a shared prefix are not computed, and the cells of sampled tokens are not those of a pass over the
        // prompt. Other arms need these more than this one needs the prefix.
        if (prompt_is_wanted(request->prompt, false)) {
            source = -1;
            prefix = read = 0;
        } else {
            target.recording.reset();
        }
    }
    if (start_above(target, *request, skip)) {
        source = target.sequence;
        prefix = read = skip.prefix;
    } else if (source == target.sequence && target.position() == 0) {
        prefix = 0;
    }
    if (source >= 0 && source != target.sequence) {
        llama_memory_seq_rm(memory, target.sequence, -1, -1);
        llama_memory_seq_cp(memory, source, target.sequence, -1, -1);
        copies_pending_[source] = 1;
        target.cells = slots_[source].cells;
    }
    if (prefix < target.position()) {
        if (!llama_memory_seq_rm(memory, target.sequence, prefix > 0 ? prefix : -1, -1)) {
            llama_memory_seq_rm(memory, target.sequence, -1, -1);
            prefix = 0;
        }
        target.cells.resize(prefix);
    }
    begin_result(target, *request, prefix);
    started_[target.sequence] = ++starts_;
    target.read_cells = std::min(read, prefix);
    target.edits = target.cells_edits = edits;
    target.cells_prompt_length = target.result.prompt_length;
    target.request = std::move(request);
    target.state = slot_state::prefilling;
}

}  // namespace rewardlens
