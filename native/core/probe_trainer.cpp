#include "probe_trainer.h"

#include <algorithm>
#include <limits>
#include <sstream>
#include <thread>

#include "error.h"
#include "ggml.h"
#include "probe_common.h"

namespace rewardlens {

namespace {

void check_size(const std::string & name, size_t got, size_t expected) {
    if (got != expected) {
        wrong_argument(name, std::to_string(expected) + " values", std::to_string(got));
    }
}

constexpr double LARGEST_FLOAT = std::numeric_limits<float>::max();

void check_number(const std::string & name, double value, double most) {
    if (!(value >= 0 && value <= most)) {
        std::ostringstream expected, got;
        expected << "a number in 0.." << most;
        got << value;
        wrong_argument(name, most == LARGEST_FLOAT ? "a number from 0 on" : expected.str(), got.str());
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
        wrong_argument("width, layers", "at least 1", std::to_string(params_.width) + " and " + std::to_string(params_.layers));
    }
    if (params_.probes.empty()) {
        wrong_argument("probes", "at least one", "none");
    }
    if (params_.threads < 0 || params_.threads > 512) {
        wrong_argument("threads", "0 (automatic) to 512", std::to_string(params_.threads));
    }
    for (size_t i = 0; i < params_.probes.size(); ++i) {
        const probe_spec & spec = params_.probes[i];
        const std::string name = "probes[" + std::to_string(i) + "]";
        if (spec.layer < 0 || spec.layer >= params_.layers) {
            wrong_argument(name + ".layer", "0.." + std::to_string(params_.layers - 1), std::to_string(spec.layer));
        }
        if (spec.hidden < 0 || spec.reward_column < 0) {
            wrong_argument(name, "hidden and rewardColumn of at least 0", std::to_string(spec.hidden) + " and " + std::to_string(spec.reward_column));
        }
        check_number(name + ".lambda", spec.rule.lambda, 1);
        check_number("gamma", spec.rule.gamma, 1);
        check_number(name + ".learningRate", spec.learning_rate, LARGEST_FLOAT);
        check_number(name + ".weightDecay", spec.weight_decay, LARGEST_FLOAT);
        for (int32_t neuron : spec.neurons) {
            if (neuron < 0 || neuron >= params_.width) {
                wrong_argument(name + ".neurons", "numbers in 0.." + std::to_string(params_.width - 1), std::to_string(neuron));
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
            views_.push_back({spec.layer, &spec, inputs, static_cast<int32_t>(probe_pad(inputs + 1))});
        }
    }
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
        wrong_argument("probe", "0.." + std::to_string(states_.size() - 1), std::to_string(probe));
    }
    const probe_spec & spec = params_.probes[static_cast<size_t>(probe)];
    check_weights("weights", w, inputs_of(params_, spec), static_cast<size_t>(spec.hidden));
    upload(probe, w);
}

probe_weights probe_trainer::weights(int32_t probe) const {
    if (probe < 0 || static_cast<size_t>(probe) >= states_.size()) {
        wrong_argument("probe", "0.." + std::to_string(states_.size() - 1), std::to_string(probe));
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

}  // namespace rewardlens
