// What the engine tests share: fixture models, a recording listener, and llama.cpp used without rewardlens as reference.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model.h"
#include "scheduler.h"
#include "session.h"

namespace testing {

// Path of test/fixtures/oracle/<name>.gguf, or of test/fixtures/native/<name>.gguf where that exists.
std::string fixture(const std::string & name);
std::shared_ptr<const rewardlens::model> load(const std::string & name);

// A session of small size.
struct session_shape {
    int32_t parallel = 1;
    int32_t ubatch = 512;
    int32_t flash_attention = 0;
    int32_t context_length = 256;
    int32_t threads = 1;  // ggml's threads spin: more than one crawls on a busy machine
};
std::shared_ptr<rewardlens::session> open(const std::shared_ptr<const rewardlens::model> & model, const session_shape & shape = {});

// `length` token ids in 3..vocab-1, different for every seed.
std::vector<llama_token> random_tokens(uint32_t seed, int32_t length, int32_t vocab_size = 96);

// A greedy request.
rewardlens::sequence_request request(uint32_t id, std::vector<llama_token> prompt, int32_t max_tokens = 0, int32_t edits = -1);

// Captures every site in `sites` of every layer.
rewardlens::capture_plan capture_all(const std::vector<rewardlens::site_id> & sites, int32_t layer_count,
                                     rewardlens::position_kind kind = rewardlens::position_kind::all);

// Edit of one site at positions `kind`.
rewardlens::edit make_edit(rewardlens::site_ref where, rewardlens::edit_op op, std::vector<float> values,
                           rewardlens::position_kind kind = rewardlens::position_kind::all);
rewardlens::edit_list list_of(std::vector<rewardlens::edit> edits);

// Everything that one request gave.
struct recorded {
    bool finished = false;
    rewardlens::sequence_result result;
    std::vector<std::vector<float>> blocks;  // captured rows, chunks joined
    std::vector<int32_t> tokens, positions;
};

// Keeps all events. `wait` blocks until the predicate holds (checked after every delivery).
class recorder : public rewardlens::run_listener {
  public:
    void on_events(std::vector<rewardlens::run_event> && events) override;
    void wait(const std::function<bool(const recorder &)> & done);
    bool ended() const { return end_count_ > 0; }

    std::map<uint32_t, recorded> requests;
    rewardlens::run_event end;
    size_t captured_bytes = 0;
    int progress_count = 0;
    int end_count() const { return end_count_; }
    mutable std::mutex mutex;

  private:
    void keep(rewardlens::run_event & event);
    int end_count_ = 0;
    std::condition_variable changed_;
};

// A finished run. `failed` carries the code of the end event, e.g. "ABORTED", or "" when it succeeded.
struct outcome {
    std::map<uint32_t, recorded> requests;
    std::string failed;
    std::string message;
    rewardlens::run_progress progress;
    std::vector<int32_t> block_widths;
    const recorded & operator[](uint32_t id) const { return requests.at(id); }
};

// Pushes the requests in order, finishes, acknowledges what is captured and waits for the end.
outcome run(const std::shared_ptr<rewardlens::session> & session, rewardlens::run_params params,
            const std::vector<rewardlens::sequence_request> & requests);

// One sequence through llama.cpp alone: an own context without anything of rewardlens in it.
class reference {
  public:
    // `watched`: names of graph nodes to read in every decode (with the op, since views repeat names).
    reference(const rewardlens::model & model, const session_shape & shape, std::vector<std::string> watched = {});
    ~reference();
    reference(const reference &) = delete;
    reference & operator=(const reference &) = delete;

    void reset();  // forgets all tokens and rows
    // Decodes tokens behind what was decoded before, all of them outputs (or the last one only).
    void decode(const std::vector<llama_token> & tokens, bool all_outputs);
    std::vector<float> logits() const;  // of the last token
    // Greedy text: prompt in one batch, then token by token. Appends each step's logits.
    std::vector<llama_token> greedy(const std::vector<llama_token> & prompt, int32_t count, std::vector<std::vector<float>> & steps,
                                    bool all_outputs = false);

    std::map<std::string, std::vector<float>> rows;  // node name → rows, decodes joined

  private:
    static bool on_node(ggml_tensor * tensor, bool ask, void * user_data);
    std::vector<std::string> watched_;
    llama_context * context_ = nullptr;
    int32_t position_ = 0;
    int32_t vocab_size_ = 0;
};

// ‖a − b‖ / ‖b‖; infinity when the lengths differ or b is empty.
double relative_l2(const std::vector<float> & a, const std::vector<float> & b);
// Equal bit for bit (NaN equals the same NaN).
bool same_bits(const std::vector<float> & a, const std::vector<float> & b);

}  // namespace testing
