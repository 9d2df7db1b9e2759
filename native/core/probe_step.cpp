// A step of the probe trainer: inputs, the two graphs, losses.
#include "probe_trainer.h"

#include <algorithm>
#include <cmath>

#include "error.h"
#include "ggml.h"
#include "parallel.h"
#include "probe_common.h"

namespace rewardlens {

namespace {

constexpr float BETA1 = 0.9f;
constexpr float BETA2 = 0.999f;
constexpr float EPSILON = 1e-8f;
constexpr int32_t NODES_PER_PROBE = 32;
constexpr int64_t ROWS_AT_A_TIME = 4096;  // of predict
constexpr int64_t ROWS_OF_A_BLOCK = 32;   // inputs are prepared in blocks that stay in the cache until they are transposed

// What ggml_opt_step_adamw takes, for update number `step` counted from 1.
std::vector<float> adamw_values(const probe_spec & spec, int64_t step) {
    const auto correction = [&](float beta) { return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), static_cast<double>(step)))); };
    return {spec.learning_rate, BETA1, BETA2, EPSILON, spec.weight_decay, correction(BETA1), correction(BETA2)};
}

// rows [first, last) of x [rows, cols] → the same columns of [cols, rows].
void transpose(const float * x, float * to, int64_t first, int64_t last, int64_t rows, int64_t cols) {
    constexpr int64_t BLOCK = 16;
    for (int64_t c0 = 0; c0 < cols; c0 += BLOCK) {
        for (int64_t c = c0; c < std::min(cols, c0 + BLOCK); ++c) {
            for (int64_t r = first; r < last; ++r) {
                to[c * rows + r] = x[r * cols + c];
            }
        }
    }
}

}  // namespace

// Makes the tensors of a step of `padded_rows` rows in the step buffer, which grows when needed.
probe_trainer::step_state probe_trainer::begin(int64_t padded_rows, bool backward) {
    context_memory_.resize(ggml_tensor_overhead() * (views_.size() * 2 + states_.size() * 3));
    step_state step;
    step.context = ggml_init({context_memory_.size(), context_memory_.data(), true});
    std::vector<ggml_tensor *> all;
    const auto make = [&](int64_t rows, int64_t cols) {
        all.push_back(ggml_new_tensor_2d(step.context, GGML_TYPE_F32, rows, cols));
        return all.back();
    };
    for (const input_view & view : views_) {
        step.x.push_back(make(view.padded, padded_rows));
        step.xt.push_back(backward ? make(padded_rows, view.padded) : nullptr);
    }
    for (size_t p = 0; p < states_.size(); ++p) {
        step.hidden.push_back(params_.probes[p].hidden > 0 ? make(padded_rows, params_.probes[p].hidden) : nullptr);
        step.z.push_back(make(padded_rows, 1));
        step.dz.push_back(backward ? make(padded_rows, 1) : nullptr);
    }
    ggml_backend_buffer_type_t type = buffer_type_;
    const size_t alignment = ggml_backend_buft_get_alignment(type);
    const auto aligned = [&](const ggml_tensor * tensor) { return (ggml_backend_buft_get_alloc_size(type, tensor) + alignment - 1) / alignment * alignment; };
    size_t needed = 0;
    for (const ggml_tensor * tensor : all) {
        needed += aligned(tensor);
    }
    if (step_buffer_ == nullptr || ggml_backend_buffer_get_size(step_buffer_) < needed) {
        ggml_backend_buffer_free(step_buffer_);
        step_buffer_ = ggml_backend_buft_alloc_buffer(type, needed);
        if (step_buffer_ == nullptr) {
            ggml_free(step.context);
            throw engine_error(error_code::memory_budget, "no memory for " + std::to_string(needed) + " bytes of a training step");
        }
    }
    auto * at = static_cast<uint8_t *>(ggml_backend_buffer_get_base(step_buffer_));
    for (ggml_tensor * tensor : all) {
        ggml_backend_tensor_alloc(step_buffer_, tensor, at);
        at += aligned(tensor);
    }
    return step;
}

// One row as a view sees it; `wide` is scratch for a row of floats.
void probe_trainer::fill_row(const input_view & view, const probe_rows & rows, int64_t r, std::vector<float> & wide, float * out) const {
    const probe_spec & spec = *view.spec;
    const int64_t from = (r * params_.layers + view.layer) * params_.width;
    const float * row = static_cast<const float *>(rows.data) + from;
    if (rows.half) {
        wide.resize(static_cast<size_t>(params_.width));
        ggml_fp16_to_fp32_row(static_cast<const ggml_fp16_t *>(rows.data) + from, wide.data(), params_.width);
        row = wide.data();
    }
    const auto inputs = static_cast<size_t>(view.inputs);
    if (spec.neurons.empty()) {
        for (size_t i = 0; i < inputs; ++i) {
            out[i] = (row[i] - spec.mean[i]) * spec.scale[i];
        }
    } else {
        for (size_t i = 0; i < inputs; ++i) {
            out[i] = (row[spec.neurons[i]] - spec.mean[i]) * spec.scale[i];
        }
    }
    out[inputs] = 1.0f;
    std::fill(out + inputs + 1, out + view.padded, 0.0f);
}

// Writes x and its transposition where the graphs read them; rows of padding are 0.
void probe_trainer::fill_inputs(const step_state & step, const probe_rows & rows, int64_t padded_rows) const {
    const auto blocks = static_cast<size_t>((padded_rows + ROWS_OF_A_BLOCK - 1) / ROWS_OF_A_BLOCK);
    std::vector<std::vector<float>> wide(static_cast<size_t>(params_.threads));
    parallel_for(params_.threads, views_.size() * blocks, [&](size_t i, size_t worker) {
        const input_view & view = views_[i / blocks];
        const auto first = static_cast<int64_t>(i % blocks) * ROWS_OF_A_BLOCK;
        const int64_t last = std::min(padded_rows, first + ROWS_OF_A_BLOCK);
        auto * x = static_cast<float *>(step.x[i / blocks]->data);  // a CPU buffer
        for (int64_t r = first; r < last; ++r) {
            float * out = x + r * view.padded;
            if (r < rows.count) {
                fill_row(view, rows, r, wide[worker], out);
            } else {
                std::fill(out, out + view.padded, 0.0f);
            }
        }
        if (step.xt[i / blocks] != nullptr) {
            transpose(x, static_cast<float *>(step.xt[i / blocks]->data), first, last, padded_rows, view.padded);
        }
    });
}

namespace {

// A graph and the memory of its nodes, which lasts as long as the object.
class graph_builder {
  public:
    graph_builder(std::vector<uint8_t> & memory, size_t nodes) {
        memory.resize(ggml_tensor_overhead() * nodes + ggml_graph_overhead_custom(nodes, false));
        context = ggml_init({memory.size(), memory.data(), true});
        graph_ = ggml_new_graph_custom(context, nodes, false);
    }
    ~graph_builder() { ggml_free(context); }
    graph_builder(const graph_builder &) = delete;
    graph_builder & operator=(const graph_builder &) = delete;

    void add(ggml_tensor * result) { ggml_build_forward_expand(graph_, result); }

    void compute(ggml_gallocr_t allocator, const cpu_engine & engine) {
        if (!ggml_gallocr_alloc_graph(allocator, graph_)) {
            throw engine_error(error_code::memory_budget, "no memory for the intermediate results of a training step");
        }
        const ggml_status status = ggml_backend_graph_compute(engine.backend(), graph_);
        if (status != GGML_STATUS_SUCCESS) {
            throw engine_error(error_code::backend, "a training step failed with status " + std::to_string(status));
        }
    }

    ggml_context * context = nullptr;

  private:
    ggml_cgraph * graph_ = nullptr;
};

}  // namespace

// hidden = relu(xᵀ w1) [n, hidden], z = hidden w2 + b2 [n].
void probe_trainer::forward(worker & w, const step_state & step) {
    graph_builder graph(w.graph_memory, w.probes.size() * NODES_PER_PROBE);
    ggml_context * c = graph.context;
    for (size_t p : w.probes) {
        const probe_state & s = states_[p];
        ggml_tensor * x = step.x[s.view];
        ggml_tensor * z = nullptr;
        if (s.w1 == nullptr) {
            z = ggml_mul_mat(c, x, s.w2);
        } else {
            ggml_tensor * hidden = ggml_cpy(c, ggml_relu(c, ggml_mul_mat(c, x, s.w1)), step.hidden[p]);
            z = ggml_add(c, ggml_out_prod(c, hidden, ggml_reshape_2d(c, s.w2, 1, s.w2->ne[0])), s.b2);
        }
        graph.add(ggml_cpy(c, z, step.z[p]));
    }
    graph.compute(w.forward, *w.engine);
}

// Gradients from dz [n], then AdamW on every parameter.
void probe_trainer::backward(worker & w, const step_state & step) {
    graph_builder graph(w.graph_memory, w.probes.size() * NODES_PER_PROBE);
    ggml_context * c = graph.context;
    for (size_t p : w.probes) {
        const probe_state & s = states_[p];
        ggml_tensor * dz = step.dz[p];
        ggml_tensor * xt = step.xt[s.view];
        if (s.w1 == nullptr) {
            graph.add(ggml_opt_step_adamw(c, s.w2, ggml_mul_mat(c, xt, dz), s.m2, s.v2, s.adamw));
            continue;
        }
        ggml_tensor * hidden = step.hidden[p];
        ggml_tensor * d_hidden = ggml_mul(c, ggml_out_prod(c, dz, s.w2), ggml_step(c, hidden));
        graph.add(ggml_opt_step_adamw(c, s.w1, ggml_mul_mat(c, xt, d_hidden), s.m1, s.v1, s.adamw));
        graph.add(ggml_opt_step_adamw(c, s.b2, ggml_sum_rows(c, dz), s.mb, s.vb, s.adamw));
        // w2 last: the gradient of the hidden units needs it as it was
        graph.add(ggml_opt_step_adamw(c, s.w2, ggml_mul_mat(c, hidden, dz), s.m2, s.v2, s.adamw));
    }
    graph.compute(w.backward, *w.engine);
}

void probe_trainer::read_values(size_t probe, const step_state & step, int64_t rows, std::vector<float> & values) const {
    values.resize(static_cast<size_t>(rows));
    ggml_backend_tensor_get(step.z[probe], values.data(), 0, values.size() * sizeof(float));
    probe_values(params_.probes[probe].rule.head, values.data(), rows);
}

std::vector<float> probe_trainer::step(const probe_rows & rows, const std::vector<int32_t> & lengths, const std::vector<float> & rewards, bool update) {
    int64_t total = 0;
    for (int32_t length : lengths) {
        if (length < 1) {
            wrong_argument("lengths", "at least one state per trajectory", std::to_string(length));
        }
        total += length;
    }
    if (lengths.empty() || total != rows.count) {
        wrong_argument("lengths", "numbers that add up to the " + std::to_string(rows.count) + " rows", std::to_string(total));
    }
    int32_t columns = 0;
    for (const probe_spec & spec : params_.probes) {
        columns = std::max(columns, spec.reward_column + 1);
    }
    if (rewards.size() % lengths.size() != 0 || rewards.size() < static_cast<size_t>(columns) * lengths.size()) {
        wrong_argument("rewards", std::to_string(columns) + " columns of " + std::to_string(lengths.size()) + " values", std::to_string(rewards.size()));
    }
    const int64_t padded_rows = probe_pad(total);
    step_state step = begin(padded_rows, update);
    const auto release = std::shared_ptr<void>(nullptr, [&](void *) { ggml_free(step.context); });
    fill_inputs(step, rows, padded_rows);
    steps_ += update ? 1 : 0;
    std::vector<float> losses(states_.size());
    parallel_for(params_.threads, workers_.size(), [&](size_t i, size_t /*worker*/) {
        worker & w = workers_[i];
        forward(w, step);
        std::vector<float> values;
        std::vector<float> dz(static_cast<size_t>(padded_rows), 0.0f);
        for (size_t p : w.probes) {
            const probe_spec & spec = params_.probes[p];
            read_values(p, step, total, values);
            const probe_batch batch = {lengths.data(), rewards.data() + static_cast<size_t>(spec.reward_column) * lengths.size(), static_cast<int32_t>(lengths.size())};
            losses[p] = static_cast<float>(probe_loss(spec.rule, batch, values.data(), update ? dz.data() : nullptr));
            if (update) {
                set_tensor(step.dz[p], dz);
                set_tensor(states_[p].adamw, adamw_values(spec, steps_));
            }
        }
        if (update) {
            backward(w, step);
        }
    });
    for (size_t p = 0; p < losses.size(); ++p) {
        if (!std::isfinite(losses[p])) {
            throw engine_error(error_code::non_finite, "probes[" + std::to_string(p) + "]: the loss is not finite; a smaller learning rate or z-scored inputs may help");
        }
    }
    return losses;
}

std::vector<float> probe_trainer::predict(const probe_rows & rows) {
    const int64_t stride = static_cast<int64_t>(params_.width) * params_.layers * (rows.half ? 2 : 4);
    std::vector<float> out(states_.size() * static_cast<size_t>(rows.count));
    for (int64_t first = 0; first < rows.count; first += ROWS_AT_A_TIME) {
        const probe_rows part = {static_cast<const uint8_t *>(rows.data) + first * stride, rows.half, std::min(ROWS_AT_A_TIME, rows.count - first)};
        const int64_t padded_rows = probe_pad(part.count);
        step_state step = begin(padded_rows, false);
        const auto release = std::shared_ptr<void>(nullptr, [&](void *) { ggml_free(step.context); });
        fill_inputs(step, part, padded_rows);
        parallel_for(params_.threads, workers_.size(), [&](size_t i, size_t /*worker*/) {
            forward(workers_[i], step);
            std::vector<float> values;
            for (size_t p : workers_[i].probes) {
                read_values(p, step, part.count, values);
                std::copy(values.begin(), values.end(), out.begin() + static_cast<std::ptrdiff_t>(p * static_cast<size_t>(rows.count) + static_cast<size_t>(first)));
            }
        });
    }
    return out;
}

}  // namespace rewardlens
