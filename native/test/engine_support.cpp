#include "engine_support.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>
#include <random>

#include "ggml-backend.h"
#include "ggml.h"
#include "runtime.h"

namespace testing {

using namespace rewardlens;

std::string fixture(const std::string & name) {
    const std::string native = std::string(REWARDLENS_SOURCE_DIR) + "/test/fixtures/native/" + name + ".gguf";
    return std::ifstream(native).good() ? native : std::string(REWARDLENS_SOURCE_DIR) + "/test/fixtures/oracle/" + name + ".gguf";
}

std::shared_ptr<const model> load(const std::string & name) {
    load_backends_from(REWARDLENS_LIBRARY_DIR);
    model_params params;
    params.path = fixture(name);
    return std::make_shared<const model>(params, [](float) { return true; });
}

std::shared_ptr<session> open(const std::shared_ptr<const model> & model, const session_shape & shape) {
    session_params params;
    params.context_length = shape.context_length;
    params.parallel = shape.parallel;
    params.ubatch = shape.ubatch;
    params.threads = shape.threads;
    params.flash_attention = shape.flash_attention;
    return std::make_shared<session>(model, params);
}

std::vector<llama_token> random_tokens(uint32_t seed, int32_t length, int32_t vocab_size) {
    std::mt19937 generator(seed);
    std::vector<llama_token> out(length);
    for (llama_token & token : out) {
        token = static_cast<llama_token>(3 + generator() % static_cast<uint32_t>(vocab_size - 3));
    }
    return out;
}

sequence_request request(uint32_t id, std::vector<llama_token> prompt, int32_t max_tokens, int32_t edits) {
    sequence_request out;
    out.id = id;
    out.prompt = std::move(prompt);
    out.max_tokens = max_tokens;
    out.edits = edits;
    out.sampling.temperature = 0.0f;
    out.statistics = true;
    return out;
}

capture_plan capture_all(const std::vector<site_id> & sites, int32_t layer_count, position_kind kind) {
    capture_plan out;
    for (int32_t layer = 0; layer < layer_count; ++layer) {
        for (site_id site : sites) {
            out.sites.push_back({site, layer});
        }
    }
    out.positions.kind = kind;
    return out;
}

edit make_edit(site_ref where, edit_op op, std::vector<float> values, position_kind kind) {
    edit out;
    out.where = where;
    out.op = op;
    out.values = std::make_shared<const std::vector<float>>(std::move(values));
    out.positions.kind = kind;
    return out;
}

edit_list list_of(std::vector<edit> edits) {
    edit_list out;
    out.source_count = static_cast<uint32_t>(edits.size());
    for (uint32_t i = 0; i < edits.size(); ++i) {
        edits[i].source = i;
    }
    out.edits = std::move(edits);
    return out;
}

void recorder::keep(run_event & event) {
    switch (event.kind) {
        case run_event::kind_id::capture: {
            const capture_chunk & chunk = *event.chunk;
            recorded & r = requests[chunk.request_id];
            r.blocks.resize(chunk.blocks.size());
            for (size_t block = 0; block < chunk.blocks.size(); ++block) {
                const auto * data = static_cast<const float *>(chunk.blocks[block].get());
                r.blocks[block].insert(r.blocks[block].end(), data, data + chunk.row_bytes[block] / 4 * chunk.row_count);
            }
            r.tokens.insert(r.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
            r.positions.insert(r.positions.end(), chunk.positions.begin(), chunk.positions.end());
            captured_bytes += chunk.total_bytes();
            break;
        }
        case run_event::kind_id::result: {
            recorded & r = requests[event.result->id];
            r.finished = true;
            r.result = std::move(*event.result);
            break;
        }
        case run_event::kind_id::progress: ++progress_count; break;
        case run_event::kind_id::end:
            ++end_count_;
            end = std::move(event);
            break;
    }
}

void recorder::on_events(std::vector<run_event> && events) {
    const std::vector<run_event> mine = std::move(events);
    {
        std::lock_guard<std::mutex> lock(mutex);
        for (const run_event & event : mine) {
            keep(const_cast<run_event &>(event));
        }
        changed_.notify_all();  // under the lock: the waiter may destroy this recorder as soon as it sees the end
    }
}

void recorder::wait(const std::function<bool(const recorder &)> & done) {
    std::unique_lock<std::mutex> lock(mutex);
    changed_.wait(lock, [&] { return done(*this); });
}

outcome run(const std::shared_ptr<session> & session, run_params params, const std::vector<sequence_request> & requests) {
    auto listener = std::make_shared<recorder>();
    scheduler engine(session, std::move(params), listener);
    engine.start();
    for (const sequence_request & r : requests) {
        engine.push(std::make_unique<sequence_request>(r));
    }
    engine.finish();
    size_t acknowledged = 0;
    bool ended = false;
    while (!ended) {
        listener->wait([&](const recorder & r) { return r.ended() || r.captured_bytes > acknowledged; });
        std::unique_lock<std::mutex> lock(listener->mutex);
        const size_t fresh = listener->captured_bytes - acknowledged;
        acknowledged += fresh;
        ended = listener->ended();
        lock.unlock();
        engine.acknowledge(fresh);
    }
    engine.join();
    outcome out;
    out.requests = std::move(listener->requests);
    out.failed = listener->end.failed ? error_code_name(listener->end.code) : "";
    out.message = listener->end.message;
    out.progress = listener->end.progress;
    out.block_widths = listener->end.block_widths;
    return out;
}

reference::reference(const model & model, const session_shape & shape, std::vector<std::string> watched)
    : watched_(std::move(watched)), vocab_size_(model.info().vocab_size) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = shape.context_length;
    params.n_batch = params.n_ubatch = shape.ubatch;
    params.n_seq_max = 1;
    params.n_threads = params.n_threads_batch = shape.threads;
    params.flash_attn_type = static_cast<llama_flash_attn_type>(shape.flash_attention);
    params.swa_full = true;
    if (!watched_.empty()) {
        params.cb_eval = on_node;
        params.cb_eval_user_data = this;
    }
    context_ = llama_init_from_model(model.handle(), params);
}

reference::~reference() { llama_free(context_); }

bool reference::on_node(ggml_tensor * tensor, bool ask, void * user_data) {
    auto * self = static_cast<reference *>(user_data);
    const bool view = tensor->op == GGML_OP_VIEW || tensor->op == GGML_OP_RESHAPE;
    if (view || std::find(self->watched_.begin(), self->watched_.end(), tensor->name) == self->watched_.end()) {
        return false;
    }
    if (!ask) {
        std::vector<float> values(ggml_nelements(tensor));
        ggml_backend_tensor_get(tensor, values.data(), 0, values.size() * sizeof(float));
        auto & all = self->rows[tensor->name];
        all.insert(all.end(), values.begin(), values.end());
    }
    return true;
}

void reference::reset() {
    llama_memory_clear(llama_get_memory(context_), true);
    position_ = 0;
    rows.clear();
}

void reference::decode(const std::vector<llama_token> & tokens, bool all_outputs) {
    const auto n = static_cast<int32_t>(tokens.size());
    llama_batch batch = llama_batch_init(n, 0, 1);
    batch.n_tokens = n;
    for (int32_t i = 0; i < n; ++i) {
        batch.token[i] = tokens[i];
        batch.pos[i] = position_ + i;
        batch.n_seq_id[i] = 1;
        batch.seq_id[i][0] = 0;
        batch.logits[i] = all_outputs || i == n - 1;
    }
    if (llama_decode(context_, batch) != 0) {
        std::fprintf(stderr, "the reference decode failed\n");
        std::abort();
    }
    llama_batch_free(batch);
    position_ += n;
}

std::vector<float> reference::logits() const {
    const float * last = llama_get_logits_ith(context_, -1);
    return std::vector<float>(last, last + vocab_size_);
}

std::vector<llama_token> reference::greedy(const std::vector<llama_token> & prompt, int32_t count, std::vector<std::vector<float>> & steps,
                                           bool all_outputs) {
    std::vector<llama_token> out;
    decode(prompt, all_outputs);
    while (true) {
        steps.push_back(logits());
        const auto best = std::max_element(steps.back().begin(), steps.back().end());
        out.push_back(static_cast<llama_token>(best - steps.back().begin()));
        if (static_cast<int32_t>(out.size()) == count) {
            return out;
        }
        decode({out.back()}, true);
    }
}

double relative_l2(const std::vector<float> & a, const std::vector<float> & b) {
    double difference = 0.0, norm = 0.0;
    if (a.size() != b.size() || b.empty()) {
        return std::numeric_limits<double>::infinity();
    }
    for (size_t i = 0; i < a.size(); ++i) {
        difference += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
        norm += static_cast<double>(b[i]) * b[i];
    }
    return std::sqrt(difference / norm);
}

bool same_bits(const std::vector<float> & a, const std::vector<float> & b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0);
}

}  // namespace testing
