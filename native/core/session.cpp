#include "session.h"

#include <algorithm>
#include <thread>

#include "error.h"

namespace rewardlens {

namespace {

constexpr int32_t CONTEXT_GRANULE = 256;                   // llama.cpp pads n_ctx_seq to this
constexpr int64_t LOGITS_BUDGET_BYTES = 64 * 1024 * 1024;  // bounds rows × vocabulary when every token is an output
constexpr int32_t TRACE_TOKENS = 4;
constexpr int32_t MAX_UBATCH = 65536;
constexpr int64_t MAX_CONTEXT_TOKENS = 1LL << 31;          // of all sequences; llama.cpp counts in 32 bits

[[noreturn]] void out_of_range(const std::string & name, const std::string & expected, int64_t got) {
    throw engine_error(error_code::invalid_argument, name + ": expected " + expected + ", got " + std::to_string(got));
}

ggml_type cache_type(const std::string & parameter, const std::string & name) {
    const ggml_type types[] = {GGML_TYPE_F32, GGML_TYPE_F16, GGML_TYPE_BF16, GGML_TYPE_Q8_0, GGML_TYPE_Q4_0,
                               GGML_TYPE_Q4_1, GGML_TYPE_IQ4_NL, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1};
    for (ggml_type type : types) {
        if (name == ggml_type_name(type)) {
            return type;
        }
    }
    throw engine_error(error_code::invalid_argument,
                       parameter + ": expected f32, f16, bf16, q8_0, q4_0, q4_1, iq4_nl, q5_0 or q5_1, got '" + name + "'");
}

bool abort_requested(void * user_data) { return static_cast<session *>(user_data)->cancelled(); }

}  // namespace

session::session(std::shared_ptr<const model> owner, const session_params & params) : owner_(std::move(owner)), params_(params) {
    const auto max_sequences = static_cast<int32_t>(llama_max_parallel_sequences());
    if (params_.parallel < 1 || params_.parallel > max_sequences) {
        out_of_range("parallel", "1.." + std::to_string(max_sequences) + " sequences", params_.parallel);
    }
    if (params_.context_length < 1) {
        out_of_range("contextLength", "at least 1 token per sequence", params_.context_length);
    }
    if (params_.ubatch < TRACE_TOKENS || params_.ubatch > MAX_UBATCH) {
        out_of_range("ubatch", std::to_string(TRACE_TOKENS) + ".." + std::to_string(MAX_UBATCH) + " rows", params_.ubatch);
    }
    if (params_.threads < 0 || params_.threads > 512) {
        out_of_range("threads", "0 (automatic) to 512", params_.threads);
    }
    if (owner_->info().has_encoder) {
        throw engine_error(error_code::unsupported_arch, "architecture '" + owner_->info().architecture + "' has an encoder; only decoder models are supported");
    }
    cache_type("cacheTypeK", params_.cache_type_k);
    const ggml_type type_v = cache_type("cacheTypeV", params_.cache_type_v);
    if (params_.flash_attention < -1 || params_.flash_attention > 1) {
        out_of_range("flashAttention", "-1 (automatic), 0 or 1", params_.flash_attention);
    }
    // ggml's CPU flash attention takes another kernel from 64 rows of a sequence on, and for a lone one: results would depend
    // on the neighbours. A quantized V cache needs it all the same.
    if (params_.flash_attention == -1 && !owner_->info().offloaded && !ggml_is_quantized(type_v)) {
        params_.flash_attention = 0;
    }
    if (params_.threads == 0) {
        params_.threads = std::max(1u, std::thread::hardware_concurrency());
    }
    const int64_t all_tokens = (static_cast<int64_t>(params_.context_length) + CONTEXT_GRANULE) * params_.parallel;
    if (all_tokens > MAX_CONTEXT_TOKENS) {
        out_of_range("contextLength", "at most " + std::to_string(MAX_CONTEXT_TOKENS / params_.parallel - CONTEXT_GRANULE) + " tokens for " +
                                          std::to_string(params_.parallel) + " sequences", params_.context_length);
    }
    context_length_ = (params_.context_length + CONTEXT_GRANULE - 1) / CONTEXT_GRANULE * CONTEXT_GRANULE;
    const int64_t affordable = LOGITS_BUDGET_BYTES / (static_cast<int64_t>(sizeof(float)) * std::max(1, owner_->info().vocab_size));
    max_outputs_ = static_cast<int32_t>(std::min<int64_t>(std::max<int64_t>(affordable, 32), params_.ubatch));
    max_outputs_ = std::max(max_outputs_, params_.parallel);
}

session::~session() {
    if (context_ != nullptr) {
        llama_free(context_);
    }
}

llama_context * session::context(bool hooked) {
    if (context_ == nullptr || context_hooked_ != hooked) {
        if (context_ != nullptr) {
            llama_free(context_);
            context_ = nullptr;
        }
        create_context(hooked);
    }
    return context_;
}

void session::create_context(bool hooked) {
    log_capture log;
    if (!threads_) {
        threads_ = std::make_unique<cpu_threadpool>(params_.threads);
    }
    llama_context_params native = llama_context_default_params();
    native.n_ctx = static_cast<uint32_t>(context_length_) * params_.parallel;
    native.n_seq_max = params_.parallel;
    native.n_ubatch = params_.ubatch;
    native.n_batch = std::max(params_.ubatch, params_.parallel);
    native.n_outputs_max = max_outputs_;
    native.n_threads = params_.threads;
    native.n_threads_batch = params_.threads;
    native.flash_attn_type = static_cast<llama_flash_attn_type>(params_.flash_attention);
    native.type_k = cache_type("cacheTypeK", params_.cache_type_k);
    native.type_v = cache_type("cacheTypeV", params_.cache_type_v);
    native.offload_kqv = params_.offload_kqv;
    native.kv_unified = false;  // per-sequence streams: faster, and results do not depend on the neighbours
    native.swa_full = true;     // cut and copied prefixes need the whole window
    native.no_perf = true;
    native.abort_callback = abort_requested;
    native.abort_callback_data = this;
    if (hooked) {
        native.cb_eval = hook::callback;
        native.cb_eval_user_data = &hook_;
    }
    context_ = llama_init_from_model(owner_->handle(), native);
    if (context_ == nullptr) {
        throw engine_error(error_code::memory_budget,
                           "llama.cpp could not create a context of " + std::to_string(params_.parallel) + " × " +
                               std::to_string(context_length_) + " tokens: " + log.problems());
    }
    llama_attach_threadpool(context_, threads_->get(), threads_->get());
    context_hooked_ = hooked;
    context_length_ = static_cast<int32_t>(llama_n_ctx_seq(context_));
    hook_.set_kv_size(context_length_);
}

const site_catalog & session::catalog() {
    context(true);
    if (!catalog_ready_) {
        trace_sites();
        catalog_ready_ = true;
    }
    return catalog_;
}

// One decode of a few tokens of which one is an output, with the callback only looking: it shows every node, and by the
// number of rows which nodes keep only output rows.
void session::trace_sites() {
    graph_trace trace;
    llama_batch batch = llama_batch_init(TRACE_TOKENS, 0, 1);
    batch.n_tokens = TRACE_TOKENS;
    for (int32_t i = 0; i < TRACE_TOKENS; ++i) {
        batch.token[i] = 0;
        batch.pos[i] = i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = i == TRACE_TOKENS - 1;
    }
    hook_.start_trace(&trace);
    const int32_t status = llama_decode(context_, batch);
    hook_.stop_trace();
    llama_batch_free(batch);
    llama_memory_clear(llama_get_memory(context_), false);
    if (status != 0) {
        throw engine_error(status == 2 ? error_code::aborted : error_code::decode_failed,
                           "the first decode, which looks at the graph, failed with status " + std::to_string(status));
    }
    catalog_ = site_catalog(trace, owner_->info().layer_count, TRACE_TOKENS);
    trace_ = trace.nodes();
}

const std::vector<node_record> & session::trace() {
    catalog();
    return trace_;
}

}  // namespace rewardlens
