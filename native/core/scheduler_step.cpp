// One forward pass: which rows go into it, and what its logits and captured rows become.
#include "scheduler.h"

#include <algorithm>
#include <cstdlib>

#include "clock.h"
#include "error.h"

namespace rewardlens {

// Extends a group of prefilling neighbours that read `chunk` tokens each, while that makes the pass larger.
size_t scheduler::choose_prefill_group(size_t first, int32_t & chunk) const {
    const bool outputs_limited = hooked_ && session_->hooks().captures_output_rows();
    const int32_t most = outputs_limited ? std::min(session_->params().ubatch, session_->max_outputs()) : session_->params().ubatch;
    const auto remaining = [&](size_t i) { return slots_[i].result.prompt_length - slots_[i].position(); };
    // A piece of one row takes other CPU kernels than one of several: none is left over when it can be avoided, so that
    // a sequence's numbers do not depend on how its prompt was cut.
    const auto fits = [&](size_t i, int32_t rows) { return rows == remaining(i) || remaining(i) - rows > 1; };
    size_t count = 1;
    chunk = std::min(remaining(first), most);
    chunk -= fits(first, chunk) ? 0 : 1;
    while (first + count < slots_.size() && slots_[first + count].state == slot_state::prefilling && slots_[first + count].entry == slots_[first].entry) {
        const auto next = static_cast<int32_t>(count) + 1;
        const int32_t shorter = std::min(chunk, remaining(first + count));
        bool possible = shorter * next <= most && shorter * next > chunk * static_cast<int32_t>(count);
        for (size_t i = first; i <= first + count; ++i) {
            possible = possible && fits(i, shorter) && (!slots_[i].hollow || shorter == remaining(i));
        }
        if (!possible) {
            break;
        }
        chunk = shorter;
        ++count;
    }
    return count;
}

void scheduler::prefill_step() {
    size_t first = 0;
    while (slots_[first].state != slot_state::prefilling) {
        ++first;
    }
    int32_t chunk = 0;
    const size_t count = choose_prefill_group(first, chunk);
    rows_.clear();
    batch_.n_tokens = 0;
    for (size_t i = first; i < first + count; ++i) {
        slot & s = slots_[i];
        const int32_t begin = s.position();
        int32_t captured = 0;
        for (int32_t p = begin; p < begin + chunk; ++p) {
            captured += capture_wants(params_.capture, p, s.result.prompt_length) ? 1 : 0;
        }
        reserve_capture(s, captured);
        for (int32_t p = begin; p < begin + chunk; ++p) {
            add_row(s, p, s.request->prompt[p], p == s.result.prompt_length - 1 && s.request->max_tokens > 0);
        }
    }
    execute_group(first, count);
    for (size_t i = 0; i < count; ++i) {
        slot & s = slots_[first + i];
        const int32_t begin = s.position();
        s.cells.insert(s.cells.end(), s.request->prompt.begin() + begin, s.request->prompt.begin() + begin + chunk);
        if (s.position() < s.result.prompt_length) {
            continue;
        }
        end_prompt(s);
        if (s.request->max_tokens == 0) {
            finish_slot(s, finish_reason::prompt);
        } else {
            s.state = slot_state::generating;
            sample_next(s, static_cast<int32_t>(i + 1) * chunk - 1);
        }
    }
}

void scheduler::decode_step() {
    const auto most = static_cast<size_t>(session_->params().ubatch);
    for (size_t first = 0; first < slots_.size() && !cancelled_;) {
        if (slots_[first].state != slot_state::generating) {
            ++first;
            continue;
        }
        size_t end = first;  // neighbours only: llama.cpp splits a batch at every gap in the sequence ids
        rows_.clear();
        batch_.n_tokens = 0;
        while (end < slots_.size() && slots_[end].state == slot_state::generating && end - first < most) {
            slot & s = slots_[end++];
            reserve_capture(s, capture_wants(params_.capture, s.position(), s.result.prompt_length) ? 1 : 0);
            add_row(s, s.position(), s.next_token, true);
        }
        execute(-1);
        for (size_t i = first; i < end; ++i) {
            slots_[i].cells.push_back(slots_[i].next_token);
            sample_next(slots_[i], static_cast<int32_t>(i - first));
        }
        first = end;
    }
}

// With nothing left to admit, moves the last sequences into the gaps: one pass over the weights instead of several.
void scheduler::compact() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (!queue_.empty() || !closed_) {
            return;
        }
    }
    if (!session_->can_share_prefix()) {
        return;
    }
    llama_memory_t memory = llama_get_memory(context_);
    size_t low = 0;
    size_t high = slots_.size();
    while (true) {
        while (low < slots_.size() && slots_[low].active()) {
            ++low;
        }
        while (high > 0 && !slots_[high - 1].active()) {
            --high;
        }
        if (low + 1 >= high) {
            return;
        }
        llama_memory_seq_rm(memory, slots_[low].sequence, -1, -1);
        llama_memory_seq_cp(memory, slots_[high - 1].sequence, slots_[low].sequence, -1, -1);
        llama_memory_seq_rm(memory, slots_[high - 1].sequence, -1, -1);
        std::swap(slots_[low], slots_[high - 1]);
        std::swap(slots_[low].sequence, slots_[high - 1].sequence);
        slots_[high - 1].cells.clear();
    }
}

void scheduler::add_row(slot & s, int32_t position, llama_token token, bool wants_logits) {
    hook_row row;
    row.sequence = s.sequence;
    row.position = position;
    row.token = token;
    row.prompt_length = s.result.prompt_length;
    row.edits = s.edits;
    row.changed = s.result.changed.data();
    if (capture_wants(params_.capture, position, s.result.prompt_length)) {
        row.chunk = s.chunk.get();
        row.chunk_row = params_.capture.positions.kind == position_kind::last ? 0 : s.chunk->row_count++;
        s.chunk->row_count = std::max(s.chunk->row_count, row.chunk_row + 1);
        s.chunk->tokens[row.chunk_row] = token;
        s.chunk->positions[row.chunk_row] = position;
    }
    row.record = s.recording.get();
    row.enter = s.entry >= 0 ? s.stored.get() : nullptr;
    row.output = wants_logits;
    row.output = wants_logits || (hooked_ && session_->hooks().needs_output(row));
    const int32_t i = batch_.n_tokens++;
    batch_.token[i] = token;
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = s.sequence;
    batch_.logits[i] = row.output;
    rows_.push_back(row);
}

void scheduler::execute(int entry) {
    if (hooked_) {
        session_->hooks().begin_decode(rows_, entry);
    }
    const double start = now_ms();
    log_capture log;
    const int32_t status = llama_decode(context_, batch_);
    llama_synchronize(context_);
    progress_.busy_ms += now_ms() - start;
    ++progress_.decode_calls;
    std::fill(copies_pending_.begin(), copies_pending_.end(), 0);
    if (status != 0) {
        session_->hooks().abandon_decode();
        throw engine_error(status == 2 ? error_code::aborted : error_code::decode_failed,
                           "llama_decode failed with status " + std::to_string(status) + " for " + std::to_string(rows_.size()) +
                               " rows: " + log.problems());
    }
    if (hooked_) {
        session_->hooks().end_decode();
    }
}

void scheduler::sample_next(slot & s, int32_t batch_index) {
    const float * logits = llama_get_logits_ith(context_, batch_index);
    if (logits == nullptr) {
        throw engine_error(error_code::decode_failed, "llama.cpp returned no logits for row " + std::to_string(batch_index));
    }
    const sampled_token sampled = s.sampler->sample(logits, session_->owner().info().vocab_size, s.request->statistics, scratch_);
    s.next_token = sampled.token;
    s.result.tokens.push_back(sampled.token);
    ++progress_.completion_tokens;
    if (s.request->statistics) {
        s.result.log_probabilities.push_back(sampled.log_probability);
        s.result.entropies.push_back(sampled.entropy);
    }
    if (!s.request->ignore_eog && session_->owner().is_end_of_generation(sampled.token)) {
        finish_slot(s, finish_reason::eog);
    } else if (append_text(s, sampled.token)) {
        finish_slot(s, finish_reason::stop);
    } else if (static_cast<int32_t>(s.result.tokens.size()) >= s.request->max_tokens) {
        finish_slot(s, finish_reason::length);
    } else if (s.position() >= session_->context_length()) {
        finish_slot(s, finish_reason::context);
    }
}

// Adds the token's bytes; true when a stop string is complete (the text is then cut before the earliest one).
bool scheduler::append_text(slot & s, llama_token token) {
    std::string & text = s.result.text;
    const size_t before = text.size();
    text += session_->owner().token_piece(token, false);
    size_t cut = std::string::npos;
    for (const std::string & stop : s.request->stop) {
        if (stop.empty()) {
            continue;
        }
        const size_t from = before >= stop.size() - 1 ? before - (stop.size() - 1) : 0;
        cut = std::min(cut, text.find(stop, from));
    }
    if (cut == std::string::npos) {
        return false;
    }
    text.resize(cut);
    return true;
}

void scheduler::finish_slot(slot & s, finish_reason reason) {
    if (s.chunk && s.chunk->row_count > 0) {
        emit_chunk(s);
    }
    s.chunk.reset();
    s.result.reason = reason;
    s.result.processed = s.position();
    ++progress_.finished;
    run_event event;
    event.kind = run_event::kind_id::result;
    event.result = std::make_unique<sequence_result>(std::move(s.result));
    emit(std::move(event));
    s.state = slot_state::idle;
    s.request.reset();
    s.sampler.reset();
    s.edits = nullptr;
    if (s.hollow) {  // its cells are of no use to others: the lower layers are not filled
        llama_memory_seq_rm(llama_get_memory(context_), s.sequence, -1, -1);
        s.cells.clear();
        s.hollow = false;
    }
}

// Makes room for `rows` more captured rows of this sequence, handing out a full piece first.
void scheduler::reserve_capture(slot & s, int32_t rows) {
    if (rows == 0) {
        return;
    }
    if (params_.capture.positions.kind == position_kind::last) {
        rows = 1;
        if (s.chunk) {
            return;  // the one row is overwritten
        }
    }
    if (s.chunk && s.chunk->capacity - s.chunk->row_count >= rows) {
        return;
    }
    if (s.chunk && s.chunk->row_count > 0) {
        emit_chunk(s);
    }
    size_t bytes_per_row = 1;
    for (size_t bytes : block_row_bytes_) {
        bytes_per_row += bytes;
    }
    const int32_t remaining = s.result.prompt_length + s.request->max_tokens - s.position();
    const auto affordable = static_cast<int32_t>(std::min<size_t>(params_.chunk_bytes / bytes_per_row, 1u << 20));
    auto chunk = std::make_unique<capture_chunk>();
    chunk->request_id = s.request->id;
    chunk->first_row = s.result.captured_rows;
    chunk->capacity = std::max(rows, std::min(affordable, remaining));
    chunk->tokens.resize(chunk->capacity);
    chunk->positions.resize(chunk->capacity);
    chunk->row_bytes = block_row_bytes_;
    for (size_t bytes : block_row_bytes_) {
        void * block = std::malloc(std::max<size_t>(1, bytes * static_cast<size_t>(chunk->capacity)));
        if (block == nullptr) {
            throw engine_error(error_code::memory_budget, "no memory for " + std::to_string(chunk->capacity) + " captured rows");
        }
        chunk->blocks.emplace_back(block);
    }
    s.chunk = std::move(chunk);
}

void scheduler::emit_chunk(slot & s) {
    s.chunk->tokens.resize(s.chunk->row_count);
    s.chunk->positions.resize(s.chunk->row_count);
    s.result.captured_rows += s.chunk->row_count;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        pending_bytes_ += s.chunk->total_bytes();
    }
    run_event event;
    event.kind = run_event::kind_id::capture;
    event.chunk = std::move(s.chunk);
    event.block_widths = block_widths_;
    emit(std::move(event));
}

}  // namespace rewardlens
