#include "probe_sets.h"

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "error.h"
#include "ggml.h"
#include "parallel.h"
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

// What a graph of one probe gives: pre-activations [rows, hidden], or outputs [rows].
enum class net_output { pre_activations, values };

// The probe on x [rows, inputs], by ggml's matrix product. A linear probe has outputs only.
std::vector<float> run_net(const cpu_engine & engine, const probe_net & net, const std::vector<float> & x, int64_t rows, net_output output) {
    const std::unique_ptr<ggml_context, decltype(&ggml_free)> context(ggml_init({16 * ggml_tensor_overhead() + ggml_graph_overhead(), nullptr, true}), ggml_free);
    ggml_context * c = context.get();
    const auto make = [&](int64_t n0, int64_t n1) { return ggml_new_tensor_2d(c, GGML_TYPE_F32, n0, n1); };
    ggml_tensor * in = make(net.inputs, rows);
    std::vector<std::pair<ggml_tensor *, const std::vector<float> *>> uploads = {{in, &x}};
    ggml_tensor * out = in;
    if (net.hidden > 0) {
        uploads.push_back({make(net.inputs, net.hidden), &net.weights.w1});
        uploads.push_back({make(net.hidden, 1), &net.weights.b1});
        out = ggml_add(c, ggml_mul_mat(c, uploads[1].first, in), uploads[2].first);
    }
    if (output == net_output::values) {
        uploads.push_back({make(out->ne[0], 1), &net.weights.w2});
        uploads.push_back({make(1, 1), &net.weights.b2});
        const size_t n = uploads.size();
        out = ggml_add(c, ggml_mul_mat(c, uploads[n - 2].first, net.hidden > 0 ? ggml_relu(c, out) : out), uploads[n - 1].first);
    }
    ggml_cgraph * graph = ggml_new_graph(c);
    ggml_build_forward_expand(graph, out);
    const std::unique_ptr<ggml_backend_buffer, decltype(&ggml_backend_buffer_free)> buffer(ggml_backend_alloc_ctx_tensors(c, engine.backend()), ggml_backend_buffer_free);
    if (!buffer) {
        throw engine_error(error_code::memory_budget, "no memory for " + std::to_string(rows) + " rows of a probe");
    }
    for (const auto & upload : uploads) {
        ggml_backend_tensor_set(upload.first, upload.second->data(), 0, ggml_nbytes(upload.first));
    }
    if (ggml_backend_graph_compute(engine.backend(), graph) != GGML_STATUS_SUCCESS) {
        throw engine_error(error_code::backend, "computing a probe failed");
    }
    std::vector<float> values(static_cast<size_t>(ggml_nelements(out)));
    ggml_backend_tensor_get(out, values.data(), 0, values.size() * sizeof(float));
    return values;
}

// The columns of `set` out of rows of `width`.
std::vector<float> pick_columns(const std::vector<float> & from, size_t width, const std::vector<int32_t> & set) {
    std::vector<float> out;
    out.reserve(from.size() / width * set.size());
    for (size_t row = 0; row < from.size(); row += width) {
        for (int32_t i : set) {
            out.push_back(from[row + static_cast<size_t>(i)]);
        }
    }
    return out;
}

int32_t thread_count(int32_t threads) {
    if (threads < 0 || threads > 512) {
        throw engine_error(error_code::invalid_argument, "threads: expected 0 (automatic) to 512, got " + std::to_string(threads));
    }
    return threads == 0 ? static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency())) : threads;
}

}  // namespace

std::vector<float> predict_sets(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                const std::vector<std::vector<int32_t>> & sets, int32_t threads) {
    check_net(net, x, rows);
    for (size_t s = 0; s < sets.size(); ++s) {
        check_set(sets[s], net.inputs, s);
    }
    threads = thread_count(threads);
    std::vector<std::unique_ptr<cpu_engine>> engines(std::min(sets.size(), static_cast<size_t>(threads)));  // one thread each: sets do not wait for each other
    for (auto & engine : engines) {
        engine = std::make_unique<cpu_engine>(1);
    }
    std::vector<float> out(sets.size() * static_cast<size_t>(rows));
    parallel_for(threads, sets.size(), [&](size_t s, size_t worker) {
        const auto width = static_cast<size_t>(net.inputs);
        probe_net kept = {static_cast<int32_t>(sets[s].size()), net.hidden, net.head, {{}, net.weights.b1, net.weights.w2, net.weights.b2}};
        (net.hidden == 0 ? kept.weights.w2 : kept.weights.w1) = pick_columns(net.hidden == 0 ? net.weights.w2 : net.weights.w1, width, sets[s]);
        const std::vector<float> values = run_net(*engines[worker], kept, pick_columns(x, width, sets[s]), rows, net_output::values);
        std::copy(values.begin(), values.end(), out.begin() + static_cast<std::ptrdiff_t>(s * static_cast<size_t>(rows)));
    });
    probe_values(net.head, out.data(), static_cast<int64_t>(out.size()));
    return out;
}

std::vector<float> predict_permuted(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                    const std::vector<int32_t> & permutation, int32_t threads) {
    check_net(net, x, rows);
    const auto in_range = [&](int32_t from) { return from >= 0 && from < rows; };
    if (permutation.size() != static_cast<size_t>(rows) || !std::all_of(permutation.begin(), permutation.end(), in_range)) {
        throw engine_error(error_code::invalid_argument, "permutation: expected " + std::to_string(rows) + " numbers in 0.." + std::to_string(rows - 1));
    }
    threads = thread_count(threads);
    const int32_t width = net.hidden == 0 ? 1 : net.hidden;
    const std::vector<float> pre = run_net(cpu_engine(threads), net, x, rows, net.hidden == 0 ? net_output::values : net_output::pre_activations);
    std::vector<float> out(static_cast<size_t>(net.inputs) * static_cast<size_t>(rows));
    parallel_for(threads, static_cast<size_t>(net.inputs), [&](size_t i, size_t /*worker*/) {
        std::vector<float> column(static_cast<size_t>(width));  // the weights of input i, side by side
        for (size_t h = 0; h < column.size(); ++h) {
            column[h] = net.hidden == 0 ? net.weights.w2[i] : net.weights.w1[h * static_cast<size_t>(net.inputs) + i];
        }
        for (int64_t r = 0; r < rows; ++r) {
            const size_t from = static_cast<size_t>(permutation[static_cast<size_t>(r)]);
            const float change = x[from * static_cast<size_t>(net.inputs) + i] - x[static_cast<size_t>(r * net.inputs) + i];
            const float * before = pre.data() + r * width;
            float z = net.hidden == 0 ? before[0] + change * column[0] : net.weights.b2[0];
            for (size_t h = 0; h < static_cast<size_t>(net.hidden); ++h) {
                z += net.weights.w2[h] * std::max(0.0f, before[h] + change * column[h]);
            }
            out[i * static_cast<size_t>(rows) + static_cast<size_t>(r)] = z;
        }
    });
    probe_values(net.head, out.data(), static_cast<int64_t>(out.size()));
    return out;
}

}  // namespace rewardlens
