// Many small value probes trained side by side on ggml's CPU backend. Inputs are shared; probes are dealt out to workers that do
// not wait for each other within a step, each with graphs of its own: no barriers between threads, which cost more than
// the work of small probes and collapse when cores are shared with other programs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "probe_loss.h"
#include "runtime.h"

namespace rewardlens {

// w1 [hidden, inputs] row-major as in torch.nn.Linear, b1 [hidden], w2 [hidden], b2 [1]; linear (hidden 0): w2 [inputs], b2 [1].
struct probe_weights {
    std::vector<float> w1, b1, w2, b2;
};

struct probe_spec {
    int32_t layer = 0;   // index into the layers of a row
    int32_t hidden = 0;  // 0 = linear
    probe_rule rule;
    int32_t reward_column = 0;
    float learning_rate = 1e-4f;
    float weight_decay = 0.01f;
    std::vector<float> mean, scale;  // x' = (x - mean) * scale, one per input
    std::vector<int32_t> neurons;    // coordinates that are inputs; empty = all
    probe_weights weights;
};

struct trainer_params {
    int32_t width = 0;   // floats per layer of a row
    int32_t layers = 0;  // layers of a row
    int32_t threads = 0;
    std::vector<probe_spec> probes;
};

// Rows [count, layers, width] row-major, f16 or f32.
struct probe_rows {
    const void * data = nullptr;
    bool half = false;
    int64_t count = 0;
};

// Not thread-safe: one call at a time.
class probe_trainer {
  public:
    // Throws INVALID_ARGUMENT when a shape does not fit, BACKEND, MEMORY_BUDGET.
    explicit probe_trainer(trainer_params params);
    ~probe_trainer();
    probe_trainer(const probe_trainer &) = delete;
    probe_trainer & operator=(const probe_trainer &) = delete;

    // Loss per probe on the batch; with `update` followed by one AdamW step. `rewards` is [columns, trajectories].
    // Throws INVALID_ARGUMENT when lengths do not add up to the rows, NON_FINITE naming the probe.
    std::vector<float> step(const probe_rows & rows, const std::vector<int32_t> & lengths, const std::vector<float> & rewards, bool update);
    // Values [probes, rows].
    std::vector<float> predict(const probe_rows & rows);
    probe_weights weights(int32_t probe) const;
    void set_weights(int32_t probe, const probe_weights & weights);
    const trainer_params & params() const { return params_; }

  private:
    // Inputs that several probes read: one layer, one normalisation, one choice of neurons.
    struct input_view {
        int32_t layer = 0;
        const probe_spec * spec = nullptr;  // the first probe that reads it
        int32_t inputs = 0;
        int32_t padded = 0;  // inputs + 1 for the bias, rounded up
    };
    // Parameters, moments and hyperparameters of one probe. The bias of the first layer is its last input's weight.
    struct probe_state {
        size_t view = 0;
        ggml_tensor *w1 = nullptr, *m1 = nullptr, *v1 = nullptr;  // [padded, hidden]
        ggml_tensor *w2 = nullptr, *m2 = nullptr, *v2 = nullptr;  // [hidden] or, linear, [padded]
        ggml_tensor *b2 = nullptr, *mb = nullptr, *vb = nullptr;  // [1]; a linear probe has it inside w2
        ggml_tensor * adamw = nullptr;
    };
    // Some of the probes, and what computes them.
    struct worker {
        std::vector<size_t> probes;
        std::unique_ptr<cpu_engine> engine;
        // One each: an allocator that meets the same graph again has nothing to plan.
        ggml_gallocr_t forward = nullptr;
        ggml_gallocr_t backward = nullptr;
        std::vector<uint8_t> graph_memory;
    };
    // Tensors of one step that outlive a graph.
    struct step_state {
        ggml_context * context = nullptr;
        std::vector<ggml_tensor *> x, xt;          // per view: [padded, n], [n, padded]
        std::vector<ggml_tensor *> hidden, z, dz;  // per probe: [n, hidden] after ReLU, [n], [n]
    };

    void check() const;
    void make_views();
    void make_workers();
    void make_parameters();
    step_state begin(int64_t padded_rows, bool backward);
    void fill_row(const input_view & view, const probe_rows & rows, int64_t r, std::vector<float> & wide, float * out) const;
    void fill_inputs(const step_state & step, const probe_rows & rows, int64_t padded_rows) const;
    void forward(worker & w, const step_state & step);
    void backward(worker & w, const step_state & step);
    // Values of one probe after `forward`, from the step's tensors.
    void read_values(size_t probe, const step_state & step, int64_t rows, std::vector<float> & values) const;
    void upload(int32_t probe, const probe_weights & weights);

    trainer_params params_;
    std::vector<input_view> views_;
    std::vector<probe_state> states_;
    std::vector<worker> workers_;
    ggml_backend_buffer_type_t buffer_type_ = nullptr;
    ggml_context * parameters_ = nullptr;
    ggml_backend_buffer_t parameter_buffer_ = nullptr;
    ggml_backend_buffer_t step_buffer_ = nullptr;
    std::vector<uint8_t> context_memory_;
    int64_t steps_ = 0;
};

}  // namespace rewardlens
