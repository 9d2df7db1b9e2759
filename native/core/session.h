// A session: one llama.cpp context over a model, with its compute threads and site catalogue. One run at a time.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "hook.h"
#include "model.h"
#include "runtime.h"
#include "sites.h"

namespace rewardlens {

struct session_params {
    int32_t context_length = 2048;  // tokens per sequence; rounded up to a multiple of 256 by llama.cpp
    int32_t parallel = 1;           // sequences side by side
    int32_t ubatch = 512;           // most rows of one forward pass
    int32_t threads = 0;            // 0 = one per hardware thread
    int32_t flash_attention = -1;   // -1 auto (off on the CPU, see session.cpp), 0 off, 1 on
    std::string cache_type_k = "f16";
    std::string cache_type_v = "f16";
    bool offload_kqv = true;
};

class session {
  public:
    // Checks parameters; the context itself is made when first needed. Throws INVALID_ARGUMENT, CONTEXT_FULL.
    session(std::shared_ptr<const model> owner, const session_params & params);
    ~session();
    session(const session &) = delete;
    session & operator=(const session &) = delete;

    const model & owner() const { return *owner_; }
    const session_params & params() const { return params_; }

    // The context, with or without the evaluation callback (it is fixed when a context is made: with no plan at all none
    // is installed). Switching makes a new context; cost: KV allocation, a few ms. Engine thread only.
    llama_context * context(bool hooked);
    hook & hooks() { return hook_; }
    // Sites of this model; traced once by a tiny decode in a hooked context. Engine thread only.
    const site_catalog & catalog();
    // The nodes that the catalogue was made from. Engine thread only.
    const std::vector<node_record> & trace();

    int32_t context_length() const { return context_length_; }
    int32_t max_outputs() const { return max_outputs_; }
    // Partial sequences can be cut and copied: false for recurrent and hybrid memories.
    bool can_share_prefix() const { return !owner_->info().recurrent && !owner_->info().hybrid; }

    // Layers below an edit may be left out: where equal bits are certain. On the CPU without flash attention (with it, numbers
    // depend on the company), and until a graph did not let itself be cut.
    bool can_skip_layers() const {
        return can_share_prefix() && !owner_->info().offloaded && params_.flash_attention == 0 && !skip_refused_;
    }
    void refuse_skip() { skip_refused_ = true; }

    // Taken by a run for its duration. Returns false when another run holds it.
    bool try_acquire() { return !busy_.exchange(true); }
    void release() { busy_ = false; }

    // Asks a decode in flight to stop (CPU backends react within one graph node, others after the decode).
    void set_cancelled(bool value) { cancelled_ = value; }
    bool cancelled() const { return cancelled_; }

  private:
    void create_context(bool hooked);
    void trace_sites();

    std::shared_ptr<const model> owner_;
    session_params params_;
    std::atomic<int32_t> context_length_{0};  // the engine thread confirms it while others push requests
    int32_t max_outputs_ = 0;
    std::unique_ptr<cpu_threadpool> threads_;
    llama_context * context_ = nullptr;
    bool context_hooked_ = false;
    hook hook_;
    site_catalog catalog_;
    std::vector<node_record> trace_;
    bool skip_refused_ = false;
    bool catalog_ready_ = false;
    std::atomic<bool> busy_{false};
    std::atomic<bool> cancelled_{false};
};

}  // namespace rewardlens
