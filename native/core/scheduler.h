// Continuous batching over one session: differently edited sequences side by side, on a thread of its own.
#pragma once

#include <atomic>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "session.h"
#include "slot.h"

namespace rewardlens {

struct run_params {
    capture_plan capture;
    std::vector<edit_list> edit_lists;
    bool prompt_only = false;           // promise: every request has max_tokens 0; allows early exit
    int32_t min_shared_prefix = 16;     // shorter prefixes are recomputed: a KV copy moves a whole stream. < 0: never share
    bool skip_layers = true;            // compute layers below the edits once per prompt; always equal bit for bit
    size_t max_stored_bytes = 256u << 20;   // rows and KV cells kept for that
    size_t max_pending_bytes = 256u << 20;  // captured bytes handed out and not yet acknowledged
    int32_t chunk_bytes = 4 << 20;      // captured rows are handed out in pieces of about this size
};

// Running totals, all since the start of the run.
struct run_progress {
    uint64_t prompt_tokens = 0;         // computed
    uint64_t shared_tokens = 0;         // prompt tokens saved by shared prefixes
    uint64_t skipped_tokens = 0;        // of the computed prompt tokens: those whose lower layers were taken from a kept pass
    uint64_t skipped_layer_tokens = 0;  // the same × their layers left out
    uint64_t skip_fallbacks = 0;        // passes that could not be cut and were repeated in full
    uint64_t completion_tokens = 0;     // sampled
    uint64_t decode_calls = 0;          // forward passes
    uint64_t finished = 0;
    int32_t active = 0;
    double busy_ms = 0.0;               // time inside llama_decode
};

struct run_event {
    enum class kind_id : uint8_t { capture, result, progress, end } kind = kind_id::progress;
    std::unique_ptr<capture_chunk> chunk;        // capture
    std::unique_ptr<sequence_result> result;     // result
    run_progress progress;                       // progress, end
    bool failed = false;                         // end
    error_code code = error_code::decode_failed; // end, failed
    std::string message;                         // end, failed
    std::vector<int32_t> block_widths;           // end (and first capture): floats per row of each block
};

// Receives events on the engine thread, in order; the last one has kind `end`. Must not call back into the run.
class run_listener {
  public:
    virtual ~run_listener() = default;
    virtual void on_events(std::vector<run_event> && events) = 0;
};

class scheduler {
  public:
    // Takes the session for its lifetime; throws BUSY when another run holds it. `start` launches the thread.
    scheduler(std::shared_ptr<session> owner, run_params params, std::shared_ptr<run_listener> listener);
    ~scheduler();
    scheduler(const scheduler &) = delete;
    scheduler & operator=(const scheduler &) = delete;

    void start();
    // Any thread. Throws INVALID_ARGUMENT / CONTEXT_FULL for a request that can never run, ABORTED after `finish`.
    void push(std::unique_ptr<sequence_request> request);
    void finish();                        // no more requests will come
    void cancel();                        // stop soon; the end event then says ABORTED
    void acknowledge(size_t bytes);       // captured bytes consumed
    void join();                          // waits for the thread; idempotent, from any other thread
    bool uses(const session & other) const { return session_.get() == &other; }

  private:
    // How a request may start above a layer.
    struct skip_choice {
        std::shared_ptr<stored_prompt> stored;  // null = not at all
        int entry = -1;
        int32_t prefix = 0;                     // positions whose cells are good in all layers
    };

    void thread_main();
    std::vector<int32_t> entry_layers() const;
    int32_t reach_below(int32_t ordinal) const;
    int32_t edit_reach(const compiled_edits * edits, int32_t prompt_length) const;
    int32_t usable_reach(const sequence_request & request, const compiled_edits * edits) const;
    bool can_keep_cells(size_t prompt_length) const;
    bool one_pass(size_t prompt_length) const;
    void loop();
    void check_request(const sequence_request & request) const;
    bool wait_for_work();
    void prepare();
    void admit();
    bool admit_into(slot & target);
    int find_source(const sequence_request & request, const compiled_edits * edits, const slot & target, int32_t & prefix) const;
    bool worth_waiting(const sequence_request & request, const compiled_edits * edits, int32_t available) const;
    void start_request(slot & target, std::unique_ptr<sequence_request> request, const compiled_edits * edits, int source, int32_t prefix,
                       const skip_choice & skip);
    void begin_result(slot & target, const sequence_request & request, int32_t prefix);
    void prefill_step();
    void decode_step();
    void compact();
    size_t choose_prefill_group(size_t first, int32_t & chunk) const;
    void add_row(slot & s, int32_t position, llama_token token, bool wants_logits);
    void execute(int entry);
    void after_rows(slot & s, int32_t count, int32_t last_batch_index);
    void sample_next(slot & s, int32_t batch_index);
    bool append_text(slot & s, llama_token token);
    void finish_slot(slot & s, finish_reason reason);
    void reserve_capture(slot & s, int32_t rows);
    void emit_chunk(slot & s);
    void emit(run_event && event);
    void report_progress(bool force);
    void flush();
    void wait_for_consumer();
    const compiled_edits * edits_of(const sequence_request & request) const;
    // Prefix skip (scheduler_skip.cpp).
    skip_choice find_skip(const sequence_request & request, const compiled_edits * edits, int32_t prefix);
    bool worth_waiting_for_layers(const sequence_request & request, const compiled_edits * edits, const skip_choice & now) const;
    bool needs_cells(const sequence_request & request, const skip_choice & skip) const;
    bool start_above(slot & target, const sequence_request & request, const skip_choice & skip);
    bool prompt_is_wanted(const std::vector<llama_token> & tokens, bool when_unknown) const;
    std::shared_ptr<stored_prompt> plan_recording(const sequence_request & request, const compiled_edits * edits, const skip_choice & skip);
    void end_prompt(slot & s);
    void execute_group(size_t first, size_t count);
    uint64_t count_shared(const edit & e, int32_t prefix, int32_t prompt_length) const;

    std::shared_ptr<session> session_;
    run_params params_;
    std::shared_ptr<run_listener> listener_;
    std::thread thread_;
    std::mutex join_mutex_;

    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::unique_ptr<sequence_request>> queue_;  // guarded by mutex_
    bool closed_ = false;                                  // guarded by mutex_
    size_t pending_bytes_ = 0;                             // guarded by mutex_
    std::atomic<bool> cancelled_{false};

    // Engine thread only.
    bool hooked_ = false;
    llama_context * context_ = nullptr;
    std::vector<compiled_edits> compiled_;
    std::vector<size_t> block_row_bytes_;
    std::vector<int32_t> block_widths_;
    std::vector<slot> slots_;
    std::vector<int32_t> entry_layers_;     // a prompt may be computed from above these layers on; empty = never
    std::vector<int> entry_ordinals_;
    stored_prompts stored_;
    std::vector<uint8_t> copies_pending_;   // [sequence] is the source of a KV copy that the next pass makes
    std::vector<uint64_t> started_;  // [sequence] number of the request that began there last, from 1
    uint64_t starts_ = 0;
    std::vector<hook_row> rows_;
    llama_batch batch_{};
    bool batch_ready_ = false;
    std::vector<llama_token_data> scratch_;
    std::vector<run_event> events_;
    run_progress progress_;
    double last_progress_ms_ = 0.0;
};

}  // namespace rewardlens
