#include "probe_trainer.h"

#include <algorithm>
#include <cmath>
#include <thread>

#include "error.h"
#include "ggml.h"
#include "parallel.h"

namespace rewardlens {

namespace {

constexpr int32_t PAD = 16;          // inputs and rows: ggml's fast f32 kernels want multiples of a SIMD register
constexpr float BETA1 = 0.9f;
constexpr float BETA2 = 0.999f;
constexpr float EPSILON = 1e-8f;
constexpr int32_t ADAMW_VALUES = 7;
constexpr int32_t NODES_PER_PROBE = 32;
constexpr int64_t ROWS_AT_A_TIME = 4096;  // of predict

int64_t pad(int64_t n) { return (n + PAD - 1) / PAD * PAD; }

[[noreturn]] void wrong(const std::string & name, const std::string & expected, const std::string & got) {
    throw engine_error(error_code::invalid_argument, name + ": expected " + expected + ", got " + got);
}

void check_size(const std::string & name, size_t got, size_t expected) {
    if (got != expected) {
        wrong(name, std::to_string(expected) + " values", std::to_string(got));
    }
}

size_t inputs_of(const trainer_params & params, const probe_spec & spec) {
    return spec.neurons.empty() ? static_cast<size_t>(params.width) : spec.neurons.size();
}

void check_weights(const std::string & name, const probe_weights & w, size_t inputs, size_t hidden) {
    check_size(name + ".w1", w.w1.size(), inputs * hidden);
    check_size(name + ".b1", w.b1.size(), hidden);
    check_size(name + ".w2", w.w2.size(), hidden == 0 ? inputs : hidden);
    check_size(name + ".b2", w.b2.size(), 1);
}

// [rows, cols] → [cols, rows], in blocks that stay in the cache.
void transpose(const float * from, float * to, int64_t rows, int64_t cols) {
    constexpr int64_t BLOCK = 32;
    for (int64_t r0 = 0; r0 < rows; r0 += BLOCK) {
        for (int64_t c0 = 0; c0 < cols; c0 += BLOCK) {
            const int64_t r1 = std::min(rows, r0 + BLOCK);
            const int64_t c1 = std::min(cols, c0 + BLOCK);
            for (int64_t c = c0; c < c1; ++c) {
                for (int64_t r = r0; r < r1; ++r) {
                    to[c * rows + r] = from[r * cols + c];
                }
            }
        }
    }
}

// What ggml_opt_step_adamw takes, for update number `step` counted from 1.
std::vector<float> adamw_values(const probe_spec & spec, int64_t step) {
    const auto correction = [&](float beta) { return static_cast<float>(1 / (1 - std::pow(static_cast<double>(beta), static_cast<double>(step)))); };
    return {spec.learning_rate, BETA1, BETA2, EPSILON, spec.weight_decay, correction(BETA1), correction(BETA2)};
}

void set_tensor(ggml_tensor * tensor, const std::vector<float> & values) {
    ggml_backend_tensor_set(tensor, values.data(), 0, values.size() * sizeof(float));
}

std::vector<float> get_tensor(const ggml_tensor * tensor) {
    std::vector<float> out(static_cast<size_t>(ggml_nelements(tensor)));
    ggml_backend_tensor_get(tensor, out.data(), 0, out.size() * sizeof(float));
    return out;
}

}  // namespace

probe_trainer::probe_trainer(trainer_params params) : params_(std::move(params)) {
    check();
    if (params_.threads == 0) {
        params_.threads = static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()));
    }
    make_views();
    make_workers();
    make_parameters();
}

probe_trainer::~probe_trainer() {
    for (const worker & w : workers_) {
        ggml_gallocr_free(w.forward);
        ggml_gallocr_free(w.backward);
    }
    ggml_backend_buffer_free(step_buffer_);
    ggml_backend_buffer_free(parameter_buffer_);
    ggml_free(parameters_);
}

void probe_trainer::check() const {
    if (params_.width < 1 || params_.layers < 1) {
        wrong("width, layers", "at least 1", std::to_string(params_.width) + " and " + std::to_string(params_.layers));
    }
    if (params_.probes.empty()) {
        wrong("probes", "at least one", "none");
    }
    if (params_.threads < 0 || params_.threads > 512) {
        wrong("threads", "0 (automatic) to 512", std::to_string(params_.threads));
    }
    for (size_t i = 0; i < params_.probes.size(); ++i) {
        const probe_spec & spec = params_.probes[i];
        const std::string name = "probes[" + std::to_string(i) + "]";
        if (spec.layer < 0 || spec.layer >= params_.layers) {
            wrong(name + ".layer", "0.." + std::to_string(params_.layers - 1), std::to_string(spec.layer));
        }
        if (spec.hidden < 0 || spec.reward_column < 0) {
            wrong(name, "hidden and rewardColumn of at least 0", std::to_string(spec.hidden) + " and " + std::to_string(spec.reward_column));
        }
        for (int32_t neuron : spec.neurons) {
            if (neuron < 0 || neuron >= params_.width) {
                wrong(name + ".neurons", "numbers in 0.." + std::to_string(params_.width - 1), std::to_string(neuron));
            }
        }
        const size_t inputs = inputs_of(params_, spec);
        check_size(name + ".mean", spec.mean.size(), inputs);
        check_size(name + ".scale", spec.scale.size(), inputs);
        check_weights(name + ".weights", spec.weights, inputs, static_cast<size_t>(spec.hidden));
    }
}

void probe_trainer::make_views() {
    for (const probe_spec & spec : params_.probes) {
        const auto same = [&](const input_view & view) {
            return view.layer == spec.layer && view.spec->neurons == spec.neurons && view.spec->mean == spec.mean && view.spec->scale == spec.scale;
        };
        const auto found = std::find_if(views_.begin(), views_.end(), same);
        probe_state state;
        state.view = static_cast<size_t>(found - views_.begin());
        states_.push_back(state);
        if (found == views_.end()) {
            const auto inputs = static_cast<int32_t>(inputs_of(params_, spec));
            views_.push_back({spec.layer, &spec, inputs, static_cast<int32_t>(pad(inputs + 1))});
        }
    }
    host_x_.resize(views_.size());
    host_xt_.resize(views_.size());
}

// Deals the probes out, the most expensive first, each to the worker with the least to do.
void probe_trainer::make_workers() {
    const size_t count = std::min(states_.size(), static_cast<size_t>(params_.threads));
    const auto cost = [&](size_t p) { return static_cast<int64_t>(views_[states_[p].view].padded) * std::max(1, params_.probes[p].hidden); };
    std::vector<size_t> order(states_.size());
    for (size_t p = 0; p < order.size(); ++p) {
        order[p] = p;
    }
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return cost(a) > cost(b); });
    workers_.resize(count);
    std::vector<int64_t> load(count, 0);
    for (size_t p : order) {
        const auto least = static_cast<size_t>(std::min_element(load.begin(), load.end()) - load.begin());
        workers_[least].probes.push_back(p);
        load[least] += cost(p);
    }
    for (worker & w : workers_) {
        w.engine = std::make_unique<cpu_engine>(params_.threads / static_cast<int32_t>(count));
        buffer_type_ = ggml_backend_get_default_buffer_type(w.engine->backend());
        w.forward = ggml_gallocr_new(buffer_type_);
        w.backward = ggml_gallocr_new(buffer_type_);
    }
}

void probe_trainer::make_parameters() {
    const size_t count = params_.probes.size();
    ggml_init_params init = {ggml_tensor_overhead() * (10 * count + 8), nullptr, true};
    parameters_ = ggml_init(init);
    for (size_t p = 0; p < count; ++p) {
        const int64_t padded = views_[states_[p].view].padded;
        const int64_t hidden = params_.probes[p].hidden;
        probe_state & s = states_[p];
        const auto three = [&](ggml_tensor *& w, ggml_tensor *& m, ggml_tensor *& v, int64_t rows, int64_t cols) {
            for (ggml_tensor ** tensor : {&w, &m, &v}) {
                *tensor = ggml_new_tensor_2d(parameters_, GGML_TYPE_F32, rows, cols);
            }
        };
        if (hidden > 0) {
            three(s.w1, s.m1, s.v1, padded, hidden);
            three(s.b2, s.mb, s.vb, 1, 1);
        }
        three(s.w2, s.m2, s.v2, hidden > 0 ? hidden : padded, 1);
        for (ggml_tensor * parameter : {s.w1, s.w2, s.b2}) {
            if (parameter != nullptr) {
                ggml_set_param(parameter);
            }
        }
        s.adamw = ggml_new_tensor_1d(parameters_, GGML_TYPE_F32, ADAMW_VALUES);
    }
    parameter_buffer_ = ggml_backend_alloc_ctx_tensors_from_buft(parameters_, buffer_type_);
    if (parameter_buffer_ == nullptr) {
        throw engine_error(error_code::memory_budget, "no memory for the weights and moments of " + std::to_string(count) + " probes");
    }
    ggml_backend_buffer_clear(parameter_buffer_, 0);
    for (size_t p = 0; p < count; ++p) {
        upload(static_cast<int32_t>(p), params_.probes[p].weights);
        params_.probes[p].weights = {};
    }
}

void probe_trainer::upload(int32_t probe, const probe_weights & w) {
    const probe_spec & spec = params_.probes[static_cast<size_t>(probe)];
    const probe_state & s = states_[static_cast<size_t>(probe)];
    const input_view & view = views_[s.view];
    const auto inputs = static_cast<size_t>(view.inputs);
    const auto padded = static_cast<size_t>(view.padded);
    if (spec.hidden == 0) {
        std::vector<float> all(padded, 0.0f);
        std::copy(w.w2.begin(), w.w2.end(), all.begin());
        all[inputs] = w.b2[0];
        set_tensor(s.w2, all);
        return;
    }
    std::vector<float> all(padded * static_cast<size_t>(spec.hidden), 0.0f);
    for (size_t h = 0; h < static_cast<size_t>(spec.hidden); ++h) {
        std::copy_n(w.w1.begin() + static_cast<std::ptrdiff_t>(h * inputs), inputs, all.begin() + static_cast<std::ptrdiff_t>(h * padded));
        all[h * padded + inputs] = w.b1[h];
    }
    set_tensor(s.w1, all);
    set_tensor(s.w2, w.w2);
    set_tensor(s.b2, w.b2);
}

void probe_trainer::set_weights(int32_t probe, const probe_weights & w) {
    if (probe < 0 || static_cast<size_t>(probe) >= states_.size()) {
        wrong("probe", "0.." + std::to_string(states_.size() - 1), std::to_string(probe));
    }
    const probe_spec & spec = params_.probes[static_cast<size_t>(probe)];
    check_weights("weights", w, inputs_of(params_, spec), static_cast<size_t>(spec.hidden));
    upload(probe, w);
}

probe_weights probe_trainer::weights(int32_t probe) const {
    if (probe < 0 || static_cast<size_t>(probe) >= states_.size()) {
        wrong("probe", "0.." + std::to_string(states_.size() - 1), std::to_string(probe));
    }
    const probe_spec & spec = params_.probes[static_cast<size_t>(probe)];
    const probe_state & s = states_[static_cast<size_t>(probe)];
    const input_view & view = views_[s.view];
    probe_weights out;
    out.w2 = get_tensor(s.w2);
    if (spec.hidden == 0) {
        out.b2 = {out.w2[static_cast<size_t>(view.inputs)]};
        out.w2.resize(static_cast<size_t>(view.inputs));
        return out;
    }
    out.b2 = get_tensor(s.b2);
    const std::vector<float> all = get_tensor(s.w1);
    for (int32_t h = 0; h < spec.hidden; ++h) {
        const float * row = all.data() + static_cast<size_t>(h) * static_cast<size_t>(view.padded);
        out.w1.insert(out.w1.end(), row, row + view.inputs);
        out.b1.push_back(row[view.inputs]);
    }
    return out;
}

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

void probe_trainer::fill_inputs(const step_state & step, const probe_rows & rows, int64_t padded_rows) {
    const int64_t stride = static_cast<int64_t>(params_.width) * params_.layers;
    parallel_for(params_.threads, views_.size(), [&](size_t v, size_t /*worker*/) {
        const input_view & view = views_[v];
        const probe_spec & spec = *view.spec;
        std::vector<float> & x = host_x_[v];
        x.assign(static_cast<size_t>(view.padded * padded_rows), 0.0f);
        std::vector<float> wide(static_cast<size_t>(params_.width));
        for (int64_t r = 0; r < rows.count; ++r) {
            const int64_t from = r * stride + static_cast<int64_t>(view.layer) * params_.width;
            const float * row = static_cast<const float *>(rows.data) + from;
            if (rows.half) {
                ggml_fp16_to_fp32_row(static_cast<const ggml_fp16_t *>(rows.data) + from, wide.data(), params_.width);
                row = wide.data();
            }
            float * out = x.data() + r * view.padded;
            for (int32_t i = 0; i < view.inputs; ++i) {
                const auto at = static_cast<size_t>(i);
                out[i] = (row[spec.neurons.empty() ? at : static_cast<size_t>(spec.neurons[at])] - spec.mean[at]) * spec.scale[at];
            }
            out[view.inputs] = 1.0f;
        }
        if (step.xt[v] != nullptr) {
            host_xt_[v].resize(x.size());
            transpose(x.data(), host_xt_[v].data(), padded_rows, view.padded);
        }
    });
    for (size_t v = 0; v < views_.size(); ++v) {
        set_tensor(step.x[v], host_x_[v]);
        if (step.xt[v] != nullptr) {
            set_tensor(step.xt[v], host_xt_[v]);
        }
    }
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
            wrong("lengths", "at least one state per trajectory", std::to_string(length));
        }
        total += length;
    }
    if (lengths.empty() || total != rows.count) {
        wrong("lengths", "numbers that add up to the " + std::to_string(rows.count) + " rows", std::to_string(total));
    }
    int32_t columns = 0;
    for (const probe_spec & spec : params_.probes) {
        columns = std::max(columns, spec.reward_column + 1);
    }
    if (rewards.size() % lengths.size() != 0 || rewards.size() < static_cast<size_t>(columns) * lengths.size()) {
        wrong("rewards", std::to_string(columns) + " columns of " + std::to_string(lengths.size()) + " values", std::to_string(rewards.size()));
    }
    const int64_t padded_rows = pad(total);
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
        const int64_t padded_rows = pad(part.count);
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
