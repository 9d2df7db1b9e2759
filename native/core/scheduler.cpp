#include "scheduler.h"

#include <algorithm>

#include "clock.h"
#include "error.h"
#include "running.h"

namespace rewardlens {

namespace {

constexpr double PROGRESS_INTERVAL_MS = 100.0;

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
    add_running(this);
    thread_ = std::thread([this] { thread_main(); });
}

void scheduler::join() {
    std::lock_guard<std::mutex> lock(join_mutex_);
    if (thread_.joinable()) {
        thread_.join();
        remove_running(this);
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
        session_->catalog();
        entry_layers_ = entry_layers();
        session_->hooks().configure(session_->catalog(), session_->trace(),
                                    {params_.capture, edited, entry_layers_, session_->params().ubatch, session_->max_outputs(), params_.prompt_only});
        for (const int32_t layer : entry_layers_) {
            entry_ordinals_.push_back(session_->catalog().peek(site_id::resid_post, layer).ordinal);
        }
        stored_ = stored_prompts(params_.max_stored_bytes);
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
    copies_pending_.assign(slots_.size(), 0);
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
