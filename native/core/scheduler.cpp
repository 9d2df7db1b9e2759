#include "scheduler.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <set>

#include "error.h"

namespace rewardlens {

namespace {

constexpr double PROGRESS_INTERVAL_MS = 100.0;
constexpr size_t ADMISSION_LOOKAHEAD = 64;  // queue entries inspected per free slot

double now_ms() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

// Runs whose thread may be alive. `exit()` does not close environments in order: without this, engine threads would
// compute on while the libraries they use are torn down.
class running_schedulers {
  public:
    static void add(scheduler * run) {
        static const int registered = std::atexit(stop_all);
        (void) registered;
        std::lock_guard<std::mutex> lock(mutex());
        all().insert(run);
    }
    static void remove(scheduler * run) {
        std::lock_guard<std::mutex> lock(mutex());
        all().erase(run);
    }

  private:
    static void stop_all() {
        std::set<scheduler *> left;
        {
            std::lock_guard<std::mutex> lock(mutex());
            left = all();
        }
        for (scheduler * run : left) {
            run->cancel();
        }
        for (scheduler * run : left) {
            run->join();
        }
    }
    // Never destroyed: used during exit.
    static std::mutex & mutex() {
        static auto * instance = new std::mutex();
        return *instance;
    }
    static std::set<scheduler *> & all() {
        static auto * instance = new std::set<scheduler *>();
        return *instance;
    }
};

}  // namespace

scheduler::scheduler(std::shared_ptr<session> owner, run_params params, std::shared_ptr<run_listener> listener)
    : session_(std::move(owner)), params_(std::move(params)), listener_(std::move(listener)) {
    if (!session_->try_acquire()) {
        throw engine_error(error_code::busy, "the session is already running; wait for that run or make another session");
    }
    session_->set_cancelled(false);
}

scheduler::~scheduler() {
    cancel();
    join();
    if (batch_ready_) {
        llama_batch_free(batch_);
    }
    session_->set_cancelled(false);
    session_->release();
}

void scheduler::start() {
    running_schedulers::add(this);
    thread_ = std::thread([this] { thread_main(); });
}

void scheduler::join() {
    std::lock_guard<std::mutex> lock(join_mutex_);
    if (thread_.joinable()) {
        thread_.join();
        running_schedulers::remove(this);
    }
}

// What can be known to be wrong before the request waits its turn.
void scheduler::check_request(const sequence_request & request) const {
    const std::string name = "request " + std::to_string(request.id);
    const model_info & info = session_->owner().info();
    const auto prompt_length = static_cast<int32_t>(std::min<size_t>(request.prompt.size(), INT32_MAX));
    if (prompt_length == 0) {
        throw engine_error(error_code::invalid_argument, name + ": prompt: expected at least one token, got none");
    }
    for (int32_t i = 0; i < prompt_length; ++i) {
        if (request.prompt[i] < 0 || request.prompt[i] >= info.vocab_size) {
            throw engine_error(error_code::invalid_argument, name + ": prompt[" + std::to_string(i) + "]: expected a token id in 0.." +
                                                                 std::to_string(info.vocab_size - 1) + ", got " + std::to_string(request.prompt[i]));
        }
    }
    if (prompt_length > session_->context_length()) {
        throw engine_error(error_code::context_full, name + ": the prompt has " + std::to_string(prompt_length) +
                                                         " tokens, the session's context " + std::to_string(session_->context_length()) + " per sequence");
    }
    if (request.max_tokens < 0 || (params_.prompt_only && request.max_tokens > 0)) {
        throw engine_error(error_code::invalid_argument, name + ": maxTokens: expected " + (params_.prompt_only ? "0 in a prompt-only run" : "0 or more") +
                                                             ", got " + std::to_string(request.max_tokens));
    }
    if (info.vocab_type == "none" && !(request.sampling.grammar.empty() && request.stop.empty())) {
        throw engine_error(error_code::invalid_argument, name + ": grammar, stop: this model carries no tokenizer, so its tokens have no text");
    }
    if (request.edits >= static_cast<int32_t>(params_.edit_lists.size())) {
        throw engine_error(error_code::invalid_argument, name + ": edits: no edit list " + std::to_string(request.edits));
    }
}

void scheduler::push(std::unique_ptr<sequence_request> request) {
    check_request(*request);
    // "As many as fit" is often written as a huge number: buffers are sized by this one, and sums with it must not overflow.
    request->max_tokens = std::min(request->max_tokens, session_->context_length() + 1);
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (closed_) {
            throw engine_error(error_code::aborted, "the run takes no more requests");
        }
        queue_.push_back(std::move(request));
    }
    wake_.notify_all();
}

void scheduler::finish() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        closed_ = true;
    }
    wake_.notify_all();
}

void scheduler::cancel() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        cancelled_ = true;
        closed_ = true;
    }
    session_->set_cancelled(true);
    wake_.notify_all();
}

void scheduler::acknowledge(size_t bytes) {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        pending_bytes_ -= std::min(bytes, pending_bytes_);
    }
    wake_.notify_all();
}

void scheduler::thread_main() {
    run_event end;
    end.kind = run_event::kind_id::end;
    try {
        prepare();
        loop();
        if (cancelled_) {
            throw engine_error(error_code::aborted, "the run was aborted");
        }
    } catch (const engine_error & error) {
        end.failed = true;
        end.code = cancelled_ ? error_code::aborted : error.code();
        end.message = cancelled_ ? "the run was aborted" : error.what();
    } catch (const std::exception & error) {
        end.failed = true;
        end.message = error.what();
    }
    end.progress = progress_;
    end.block_widths = block_widths_;
    emit(std::move(end));
    flush();
}

void scheduler::prepare() {
    std::vector<site_ref> edited;
    for (const edit_list & list : params_.edit_lists) {
        for (const edit & e : list.edits) {
            if (std::find(edited.begin(), edited.end(), e.where) == edited.end()) {
                edited.push_back(e.where);
            }
        }
    }
    hooked_ = !params_.capture.empty() || !edited.empty();
    if (hooked_) {
        session_->hooks().configure(session_->catalog(), params_.capture, edited, session_->params().ubatch, params_.prompt_only);
        for (const edit_list & list : params_.edit_lists) {
            compiled_.push_back(session_->hooks().compile(list));
        }
    }
    context_ = session_->context(hooked_);
    llama_memory_clear(llama_get_memory(context_), false);
    const size_t value_bytes = params_.capture.half_precision ? 2 : 4;
    for (size_t block = 0; block < params_.capture.sites.size(); ++block) {
        block_widths_.push_back(session_->hooks().block_width(block));
        block_row_bytes_.push_back(static_cast<size_t>(block_widths_.back()) * value_bytes);
    }
    slots_.resize(session_->params().parallel);
    for (size_t i = 0; i < slots_.size(); ++i) {
        slots_[i].sequence = static_cast<int32_t>(i);
    }
    const int32_t capacity = std::max(session_->params().ubatch, session_->params().parallel);
    batch_ = llama_batch_init(capacity, 0, 1);
    batch_ready_ = true;
    rows_.reserve(capacity);
}

void scheduler::loop() {
    while (!cancelled_) {
        admit();
        const auto prefilling = std::count_if(slots_.begin(), slots_.end(), [](const slot & s) { return s.state == slot_state::prefilling; });
        const auto generating = std::count_if(slots_.begin(), slots_.end(), [](const slot & s) { return s.state == slot_state::generating; });
        if (prefilling + generating == 0) {
            if (!wait_for_work()) {
                return;
            }
            continue;
        }
        progress_.active = static_cast<int32_t>(prefilling + generating);
        if (prefilling > 0) {
            prefill_step();
        }
        // A decode costs about the same for few sequences as for many: fill up first.
        if (generating > 0 && generating >= prefilling) {
            compact();
            decode_step();
        }
        report_progress(false);
        flush();
        wait_for_consumer();
    }
}

// Blocks until there is a request; false when none will come.
bool scheduler::wait_for_work() {
    report_progress(true);
    flush();
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return cancelled_ || closed_ || !queue_.empty(); });
    return !cancelled_ && !queue_.empty();
}

// Bounded memory: captured rows that nobody has taken yet stop the engine.
void scheduler::wait_for_consumer() {
    std::unique_lock<std::mutex> lock(mutex_);
    wake_.wait(lock, [&] { return cancelled_ || pending_bytes_ <= params_.max_pending_bytes; });
}

const compiled_edits * scheduler::edits_of(const sequence_request & request) const {
    if (request.edits < 0 || compiled_.empty() || compiled_[request.edits].list->edits.empty()) {
        return nullptr;
    }
    return &compiled_[request.edits];
}

void scheduler::admit() {
    for (slot & s : slots_) {
        if (!s.active() && !admit_into(s)) {
            return;  // nothing (yet) for this slot, so nothing for the others
        }
    }
}

// Gives `target` the first queued request that need not wait for a longer prefix now being computed elsewhere.
bool scheduler::admit_into(slot & target) {
    std::unique_ptr<sequence_request> request;
    const compiled_edits * edits = nullptr;
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
            request = std::move(queue_[i]);
            queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(i));
            break;
        }
    }
    if (!request) {
        return false;
    }
    start_request(target, std::move(request), edits, source, prefix);
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
        if (s.state != slot_state::prefilling) {
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

void scheduler::start_request(slot & target, std::unique_ptr<sequence_request> request, const compiled_edits * edits, int source, int32_t prefix) {
    llama_memory_t memory = llama_get_memory(context_);
    if (source >= 0 && source != target.sequence) {
        llama_memory_seq_rm(memory, target.sequence, -1, -1);
        llama_memory_seq_cp(memory, source, target.sequence, -1, -1);
        target.cells = slots_[source].cells;
    }
    if (prefix < target.position()) {
        if (!llama_memory_seq_rm(memory, target.sequence, prefix > 0 ? prefix : -1, -1)) {
            llama_memory_seq_rm(memory, target.sequence, -1, -1);
            prefix = 0;
        }
        target.cells.resize(prefix);
    }
    const auto prompt_length = static_cast<int32_t>(request->prompt.size());
    const bool statistics = request->statistics;
    target.result = sequence_result{};
    target.result.id = request->id;
    target.result.prompt_length = prompt_length;
    target.result.shared_prefix = prefix;
    if (request->edits >= 0) {
        const edit_list & list = params_.edit_lists[request->edits];
        target.result.changed.assign(list.source_count, 0);
        target.result.changed_shared.assign(list.source_count, 0);
        for (const edit & e : list.edits) {
            target.result.changed_shared[e.source] += prefix > 0 ? count_shared(e, prefix, prompt_length) : 0;
        }
    }
    if (request->max_tokens > 0) {
        target.sampler = std::make_unique<sequence_sampler>(session_->owner().vocab(), request->sampling);
        target.result.tokens.reserve(request->max_tokens);
        if (statistics) {
            target.result.log_probabilities.reserve(request->max_tokens);
            target.result.entropies.reserve(request->max_tokens);
        }
    }
    progress_.shared_tokens += prefix;
    target.edits = target.cells_edits = edits;
    target.cells_prompt_length = prompt_length;
    target.request = std::move(request);
    target.state = slot_state::prefilling;
}

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
    while (first + count < slots_.size() && slots_[first + count].state == slot_state::prefilling) {
        const auto next = static_cast<int32_t>(count) + 1;
        const int32_t shorter = std::min(chunk, remaining(first + count));
        bool possible = shorter * next <= most && shorter * next > chunk * static_cast<int32_t>(count);
        for (size_t i = first; i <= first + count; ++i) {
            possible = possible && fits(i, shorter);
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
    execute();
    progress_.prompt_tokens += rows_.size();
    for (size_t i = 0; i < count; ++i) {
        slot & s = slots_[first + i];
        const int32_t begin = s.position();
        s.cells.insert(s.cells.end(), s.request->prompt.begin() + begin, s.request->prompt.begin() + begin + chunk);
        if (s.position() < s.result.prompt_length) {
            continue;
        }
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
        execute();
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

void scheduler::execute() {
    if (hooked_) {
        session_->hooks().begin_decode(rows_);
    }
    const double start = now_ms();
    log_capture log;
    const int32_t status = llama_decode(context_, batch_);
    llama_synchronize(context_);
    progress_.busy_ms += now_ms() - start;
    ++progress_.decode_calls;
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

void scheduler::emit(run_event && event) { events_.push_back(std::move(event)); }

void scheduler::report_progress(bool force) {
    const double now = now_ms();
    if (force || now - last_progress_ms_ > PROGRESS_INTERVAL_MS) {
        last_progress_ms_ = now;
        run_event event;
        event.kind = run_event::kind_id::progress;
        event.progress = progress_;
        emit(std::move(event));
    }
}

void scheduler::flush() {
    if (!events_.empty()) {
        listener_->on_events(std::move(events_));
        events_.clear();
    }
}

}  // namespace rewardlens
