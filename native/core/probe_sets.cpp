#include "probe_sets.h"

#include <algorithm>
#include <memory>
#include <string>
#include <thread>

#include "error.h"
#include "ggml.h"
#include "runtime.h"

namespace rewardlens {

namespace {

void check_net(const probe_net & net, const std::vector<float> & x, int64_t rows) {
    const auto inputs = static_cast<size_t>(net.inputs);
    const auto hidden = static_cast<size_t>(net.hidden);
    const bool fits = net.inputs > 0 && net.weights.w1.size() == inputs * hidden && net.weights.b1.size() == hidden &&
                      net.weights.w2.size() == (hidden == 0 ? inputs : hidden) && net.weights.b2.size() == 1;
    if (!fits) {
        throw engine_error(error_code::invalid_argument, "weights: expected the sizes of " + std::to_string(net.inputs) + " inputs and " +
                                                             std::to_string(net.hidden) + " hidden units");
    }
    if (rows < 1 || x.size() != inputs * static_cast<size_t>(rows)) {
        throw engine_error(error_code::invalid_argument,
                           "x: expected " + std::to_string(rows) + " rows of " + std::to_string(net.inputs) + ", got " + std::to_string(x.size()) + " values");
    }
}

// The probe with the inputs of `set` only, as the trainer takes it: a row is the set's values.
trainer_params reduced(const probe_net & net, const std::vector<int32_t> & set, int32_t threads) {
    const size_t kept = set.size();
    probe_spec spec;
    spec.hidden = net.hidden;
    spec.rule.head = net.head;
    spec.mean.assign(kept, 0.0f);
    spec.scale.assign(kept, 1.0f);
    spec.weights.b1 = net.weights.b1;
    spec.weights.b2 = net.weights.b2;
    const auto pick = [&](const float * row, std::vector<float> & out) {
        for (int32_t i : set) {
            out.push_back(row[i]);
        }
    };
    if (net.hidden == 0) {
        pick(net.weights.w2.data(), spec.weights.w2);
    } else {
        spec.weights.w2 = net.weights.w2;
        spec.weights.w1.reserve(kept * static_cast<size_t>(net.hidden));
        for (int32_t h = 0; h < net.hidden; ++h) {
            pick(net.weights.w1.data() + static_cast<size_t>(h) * static_cast<size_t>(net.inputs), spec.weights.w1);
        }
    }
    trainer_params params;
    params.width = static_cast<int32_t>(kept);
    params.layers = 1;
    params.threads = threads;
    params.probes.push_back(std::move(spec));
    return params;
}

void check_set(const std::vector<int32_t> & set, int32_t inputs, size_t number) {
    for (int32_t i : set) {
        if (i < 0 || i >= inputs) {
            throw engine_error(error_code::invalid_argument, "sets[" + std::to_string(number) + "]: expected inputs in 0.." + std::to_string(inputs - 1) + ", got " + std::to_string(i));
        }
    }
    if (set.empty()) {
        throw engine_error(error_code::invalid_argument, "sets[" + std::to_string(number) + "]: expected at least one input");
    }
}

// Pre-activations [rows, hidden], or the output of a linear probe [rows, 1], by ggml's matrix product.
std::vector<float> pre_activations(const probe_net & net, const std::vector<float> & x, int64_t rows, int32_t width, int32_t threads) {
    const std::vector<float> & weights = net.hidden == 0 ? net.weights.w2 : net.weights.w1;
    const std::vector<float> & bias = net.hidden == 0 ? net.weights.b2 : net.weights.b1;
    const cpu_engine engine(threads);
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(
        ggml_init({8 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true}), ggml_free);
    ggml_context * c = context.get();
    ggml_tensor * w = ggml_new_tensor_2d(c, GGML_TYPE_F32, net.inputs, width);
    ggml_tensor * b = ggml_new_tensor_2d(c, GGML_TYPE_F32, width, 1);
    ggml_tensor * rows_in = ggml_new_tensor_2d(c, GGML_TYPE_F32, net.inputs, rows);
    ggml_tensor * out = ggml_add(c, ggml_mul_mat(c, w, rows_in), b);
    ggml_cgraph * graph = ggml_new_graph(c);
    ggml_build_forward_expand(graph, out);
    const std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)> buffer(ggml_backend_alloc_ctx_tensors(c, engine.backend()), ggml_backend_buffer_free);
    if (!buffer) {
        throw engine_error(error_code::memory_budget, "no memory for " + std::to_string(rows) + " rows of pre-activations");
    }
    ggml_backend_tensor_set(w, weights.data(), 0, ggml_nbytes(w));
    ggml_backend_tensor_set(b, bias.data(), 0, ggml_nbytes(b));
    ggml_backend_tensor_set(rows_in, x.data(), 0, ggml_nbytes(rows_in));
    if (ggml_backend_graph_compute(engine.backend(), graph) != GGML_STATUS_SUCCESS) {
        throw engine_error(error_code::backend, "computing pre-activations failed");
    }
    std::vector<float> values(static_cast<size_t>(rows * width));
    ggml_backend_tensor_get(out, values.data(), 0, values.size() * sizeof(float));
    return values;
}

}  // namespace

std::vector<float> predict_sets(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                const std::vector<std::vector<int32_t>> & sets, int32_t threads) {
    check_net(net, x, rows);
    std::vector<float> out;
    out.reserve(sets.size() * static_cast<size_t>(rows));
    std::vector<float> part;
    for (size_t s = 0; s < sets.size(); ++s) {
        check_set(sets[s], net.inputs, s);
        part.clear();
        for (int64_t r = 0; r < rows; ++r) {
            for (int32_t i : sets[s]) {
                part.push_back(x[static_cast<size_t>(r * net.inputs + i)]);
            }
        }
        probe_trainer trainer(reduced(net, sets[s], threads));
        const std::vector<float> values = trainer.predict({part.data(), false, rows});
        out.insert(out.end(), values.begin(), values.end());
    }
    return out;
}

std::vector<float> predict_permuted(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                    const std::vector<int32_t> & permutation, int32_t threads) {
    check_net(net, x, rows);
    for (int32_t from : permutation) {
        if (from < 0 || from >= rows || permutation.size() != static_cast<size_t>(rows)) {
            throw engine_error(error_code::invalid_argument, "permutation: expected " + std::to_string(rows) + " numbers in 0.." + std::to_string(rows - 1));
        }
    }
    threads = std::max(1, threads == 0 ? static_cast<int32_t>(std::thread::hardware_concurrency()) : threads);
    const int32_t width = net.hidden == 0 ? 1 : net.hidden;
    const std::vector<float> pre = pre_activations(net, x, rows, width, threads);
    std::vector<float> out(static_cast<size_t>(net.inputs) * static_cast<size_t>(rows));
    const auto run = [&](int32_t first, int32_t last) {
        std::vector<float> column(static_cast<size_t>(width));
        for (int32_t i = first; i < last; ++i) {
            for (int32_t h = 0; h < width; ++h) {  // the weights of input i, side by side
                column[static_cast<size_t>(h)] = net.hidden == 0 ? net.weights.w2[static_cast<size_t>(i)]
                                                                 : net.weights.w1[static_cast<size_t>(h) * static_cast<size_t>(net.inputs) + static_cast<size_t>(i)];
            }
            for (int64_t r = 0; r < rows; ++r) {
                const float change = x[static_cast<size_t>(permutation[static_cast<size_t>(r)]) * static_cast<size_t>(net.inputs) + static_cast<size_t>(i)] -
                                     x[static_cast<size_t>(r * net.inputs + i)];
                const float * before = pre.data() + r * width;
                float z = net.hidden == 0 ? before[0] + change * column[0] : net.weights.b2[0];
                for (int32_t h = 0; h < net.hidden; ++h) {
                    z += net.weights.w2[static_cast<size_t>(h)] * std::max(0.0f, before[h] + change * column[static_cast<size_t>(h)]);
                }
                out[static_cast<size_t>(i) * static_cast<size_t>(rows) + static_cast<size_t>(r)] = z;
            }
        }
    };
    std::vector<std::thread> pool;
    for (int32_t t = 1; t < threads; ++t) {
        pool.emplace_back(run, net.inputs * t / threads, net.inputs * (t + 1) / threads);
    }
    run(0, net.inputs / threads);
    for (std::thread & thread : pool) {
        thread.join();
    }
    probe_values(net.head, out.data(), static_cast<int64_t>(out.size()));
    return out;
}

}  // namespace rewardlens
