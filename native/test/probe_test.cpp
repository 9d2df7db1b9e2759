// Value probes: the trainer against naive loops, batches of changing size, and functions on trained probes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.h"
#include "error.h"
#include "ggml.h"
#include "parallel.h"
#include "probe_sets.h"
#include "probe_trainer.h"
#include "runtime.h"

using namespace rewardlens;

namespace {

constexpr int32_t WIDTH = 21;  // no multiple of a register
constexpr int32_t LAYERS = 2;

std::vector<float> uniform(size_t count, uint32_t seed, float scale = 1) {
    std::mt19937 random(seed);
    std::vector<float> out(count);
    for (float & value : out) {
        value = scale * (static_cast<float>(random() >> 8) / 8388608.0f - 1);
    }
    return out;
}

probe_weights make_weights(size_t inputs, size_t hidden, uint32_t seed) {
    if (hidden == 0) {
        return {{}, {}, uniform(inputs, seed, 0.2f), uniform(1, seed + 1, 0.2f)};
    }
    return {uniform(inputs * hidden, seed, 0.2f), uniform(hidden, seed + 1, 0.2f), uniform(hidden, seed + 2, 0.2f), uniform(1, seed + 3, 0.2f)};
}

probe_spec make_spec(probe_target target, int32_t hidden, std::vector<int32_t> neurons = {}) {
    probe_spec spec;
    spec.hidden = hidden;
    spec.rule = {target, probe_head::sigmoid, 0.99, 0.9};
    spec.learning_rate = 1e-2f;
    const size_t inputs = neurons.empty() ? WIDTH : neurons.size();
    spec.mean = uniform(inputs, 11, 0.5f);
    spec.scale.assign(inputs, 1.25f);
    spec.neurons = std::move(neurons);
    spec.weights = make_weights(inputs, static_cast<size_t>(hidden), 3);
    return spec;
}

// One probe of every kind, on both layers.
std::vector<probe_spec> all_kinds() {
    std::vector<probe_spec> out = {make_spec(probe_target::td0, 16), make_spec(probe_target::td0_residual, 33), make_spec(probe_target::td_lambda, 0),
                                   make_spec(probe_target::mc, 8, {20, 0, 7}), make_spec(probe_target::terminal, 5)};
    out[1].layer = 1;
    out[2].rule.head = probe_head::identity;
    out[4].reward_column = 1;
    return out;
}

trainer_params make_params(std::vector<probe_spec> probes, int32_t threads) {
    trainer_params params;
    params.width = WIDTH;
    params.layers = LAYERS;
    params.threads = threads;
    params.probes = std::move(probes);
    return params;
}

// Trajectories of the given lengths whose first coordinate tells the reward.
struct sample {
    std::vector<float> rows;
    std::vector<int32_t> lengths;
    std::vector<float> rewards;  // two equal columns
    probe_rows view() const { return {rows.data(), false, static_cast<int64_t>(rows.size()) / (WIDTH * LAYERS)}; }
};

sample make_sample(std::vector<int32_t> lengths, uint32_t seed) {
    sample out;
    out.lengths = std::move(lengths);
    size_t states = 0;
    for (size_t i = 0; i < out.lengths.size(); ++i) {
        out.rewards.push_back(static_cast<float>((seed + i) % 2));
        states += static_cast<size_t>(out.lengths[i]);
    }
    out.rows = uniform(states * WIDTH * LAYERS, seed);
    size_t at = 0;
    for (size_t i = 0; i < out.lengths.size(); ++i) {
        for (int32_t layers = 0; layers < out.lengths[i] * LAYERS; ++layers, at += WIDTH) {
            out.rows[at] = out.rewards[i] * 2 - 1;
        }
    }
    out.rewards.insert(out.rewards.end(), out.rewards.begin(), out.rewards.end());
    return out;
}

// The value of one row of inputs, in double precision.
double naive_value(int32_t hidden, probe_head head, const probe_weights & w, const std::vector<double> & x) {
    double z = w.b2[0];
    for (size_t h = 0; h < static_cast<size_t>(hidden); ++h) {
        double unit = w.b1[h];
        for (size_t i = 0; i < x.size(); ++i) {
            unit += w.w1[h * x.size() + i] * x[i];
        }
        z += w.w2[h] * std::max(0.0, unit);
    }
    for (size_t i = 0; hidden == 0 && i < x.size(); ++i) {
        z += w.w2[i] * x[i];
    }
    return head == probe_head::sigmoid ? 1 / (1 + std::exp(-z)) : z;
}

std::vector<double> inputs_of_row(const probe_spec & spec, const std::vector<float> & rows, size_t row) {
    std::vector<double> out;
    for (size_t i = 0; i < spec.mean.size(); ++i) {
        const size_t from = spec.neurons.empty() ? i : static_cast<size_t>(spec.neurons[i]);
        const double value = rows[(row * LAYERS + static_cast<size_t>(spec.layer)) * WIDTH + from];
        out.push_back((value - spec.mean[i]) * spec.scale[i]);
    }
    return out;
}

std::string message_of(const std::function<void()> & body) {
    try {
        body();
    } catch (const engine_error & error) {
        return std::string(error_code_name(error.code())) + " " + error.what();
    }
    return "";
}

// Largest difference between two lists, infinite when their sizes differ.
double apart(const std::vector<float> & a, const std::vector<float> & b) {
    double most = a.size() == b.size() ? 0 : HUGE_VAL;
    for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
        most = std::max(most, static_cast<double>(std::fabs(a[i] - b[i])));
    }
    return most;
}

void test_predict_is_a_naive_loop() {
    const sample data = make_sample({3, 1, 40}, 5);
    for (int32_t threads : {1, 3}) {
        probe_trainer trainer(make_params(all_kinds(), threads));
        trainer.step(data.view(), data.lengths, data.rewards, true);
        const std::vector<float> values = trainer.predict(data.view());
        const auto rows = static_cast<size_t>(data.view().count);
        CHECK_EQ(values.size(), all_kinds().size() * rows);
        for (size_t p = 0; p < all_kinds().size(); ++p) {
            const probe_spec spec = all_kinds()[p];
            const probe_weights w = trainer.weights(static_cast<int32_t>(p));
            for (size_t r = 0; r < rows; ++r) {
                CHECK_NEAR(values[p * rows + r], naive_value(spec.hidden, spec.rule.head, w, inputs_of_row(spec, data.rows, r)), 2e-5);
            }
        }
    }
}

void test_half_rows_are_rows() {
    const sample data = make_sample({9, 8}, 6);
    std::vector<ggml_fp16_t> half(data.rows.size());
    std::vector<float> rounded(data.rows.size());
    ggml_fp32_to_fp16_row(data.rows.data(), half.data(), static_cast<int64_t>(half.size()));
    ggml_fp16_to_fp32_row(half.data(), rounded.data(), static_cast<int64_t>(half.size()));
    probe_trainer trainer(make_params(all_kinds(), 2));
    CHECK(trainer.predict({half.data(), true, 17}) == trainer.predict({rounded.data(), false, 17}));
}

// The gradient of a loss of values, by differences.
void test_gradients() {
    const std::vector<int32_t> lengths = {3, 1, 5};
    const std::vector<float> rewards = {1, 0, 1};
    const probe_batch batch = {lengths.data(), rewards.data(), 3};
    for (probe_target target : {probe_target::td0_residual, probe_target::mc, probe_target::terminal}) {
        const probe_rule rule = {target, probe_head::sigmoid, 0.9, 0.8};
        const std::vector<float> z = uniform(9, 17);
        const auto loss_at = [&](std::vector<float> at, float * gradient) {
            probe_values(rule.head, at.data(), 9);
            return probe_loss(rule, batch, at.data(), gradient);
        };
        std::vector<float> gradient(9);
        loss_at(z, gradient.data());
        for (size_t i = 0; i < z.size(); ++i) {
            std::vector<float> up = z, down = z;
            up[i] += 0.01f;
            down[i] -= 0.01f;
            CHECK_NEAR(gradient[i], (loss_at(up, nullptr) - loss_at(down, nullptr)) / 0.02, 1e-4);
        }
    }
}

void test_targets_by_hand() {
    const std::vector<int32_t> lengths = {3};
    const std::vector<float> rewards = {1};
    const probe_batch batch = {lengths.data(), rewards.data(), 1};
    const std::vector<float> values = {0.2f, 0.5f, 0.6f};
    const auto loss = [&](probe_target target) { return probe_loss({target, probe_head::identity, 0.9, 0.5}, batch, values.data(), nullptr); };
    const auto mean = [](double a, double b, double c) { return (a * a + b * b + c * c) / 3; };
    CHECK_NEAR(loss(probe_target::td0), mean(0.45 - 0.2, 0.54 - 0.5, 0.4), 1e-7);
    CHECK_NEAR(loss(probe_target::td0_residual), mean(0.45 - 0.2, 0.54 - 0.5, 0.4), 1e-7);
    CHECK_NEAR(loss(probe_target::mc), mean(0.81 - 0.2, 0.9 - 0.5, 0.4), 1e-7);
    CHECK_NEAR(loss(probe_target::terminal), 0.16, 1e-7);
    const double g1 = 0.9 * (0.5 * 0.6 + 0.5);  // λ-return of the last but one
    CHECK_NEAR(loss(probe_target::td_lambda), mean(0.9 * (0.5 * 0.5 + 0.5 * g1) - 0.2, g1 - 0.5, 0.4), 1e-7);
}

void test_training_lowers_the_loss_while_batches_grow_and_shrink() {
    for (int32_t threads : {1, 2, 7}) {
        probe_trainer trainer(make_params(all_kinds(), threads));
        const sample probe = make_sample({6, 5, 1, 9}, 100);
        const auto before = trainer.step(probe.view(), probe.lengths, probe.rewards, false);
        const std::vector<std::vector<int32_t>> shapes = {{1}, {3, 4}, {60, 1, 80, 33}, {2}, {16, 16}, {1, 1, 1}};
        for (uint32_t i = 0; i < 120; ++i) {
            const sample data = make_sample(shapes[i % shapes.size()], 200 + i);
            trainer.step(data.view(), data.lengths, data.rewards, true);
        }
        const auto after = trainer.step(probe.view(), probe.lengths, probe.rewards, false);
        for (size_t p = 0; p < before.size(); ++p) {
            CHECK(after[p] < 0.5f * before[p]);
        }
        CHECK(after == trainer.step(probe.view(), probe.lengths, probe.rewards, false));
    }
}

void test_weights_go_in_and_out() {
    probe_trainer trainer(make_params(all_kinds(), 2));
    const probe_weights other = make_weights(WIDTH, 33, 77);
    trainer.set_weights(1, other);
    const probe_weights back = trainer.weights(1);
    CHECK(back.w1 == other.w1 && back.b1 == other.b1 && back.w2 == other.w2 && back.b2 == other.b2);
    CHECK_CONTAINS(message_of([&] { trainer.set_weights(0, other); }), "INVALID_ARGUMENT weights.w1");
    CHECK_CONTAINS(message_of([&] { trainer.weights(5); }), "INVALID_ARGUMENT probe: expected 0..4, got 5");
}

void test_wrong_arguments() {
    probe_trainer trainer(make_params(all_kinds(), 1));
    const sample data = make_sample({3, 4}, 1);
    CHECK_CONTAINS(message_of([&] { trainer.step(data.view(), {3, 5}, data.rewards, true); }), "INVALID_ARGUMENT lengths");
    CHECK_CONTAINS(message_of([&] { trainer.step(data.view(), {3, 4}, {1, 0}, true); }), "INVALID_ARGUMENT rewards: expected 2 columns of 2 values");
    auto probes = all_kinds();
    probes[2].mean.pop_back();
    CHECK_CONTAINS(message_of([&] { probe_trainer broken(make_params(probes, 1)); }), "INVALID_ARGUMENT probes[2].mean: expected 21 values, got 20");
}

// Also from a worker thread: the loss that is not finite belongs to the last probe.
void test_divergence_is_an_error_and_no_end() {
    auto probes = all_kinds();
    probes[4].rule.head = probe_head::identity;
    probes[4].learning_rate = 1e30f;
    probe_trainer trainer(make_params(probes, 3));
    const sample data = make_sample({3, 4}, 1);
    const auto train = [&] {
        for (int i = 0; i < 20; ++i) {
            trainer.step(data.view(), data.lengths, data.rewards, true);
        }
    };
    CHECK_CONTAINS(message_of(train), "NON_FINITE probes[4]");
    trainer.set_weights(4, make_weights(WIDTH, 5, 1));
    CHECK_EQ(trainer.step(data.view(), data.lengths, data.rewards, false).size(), size_t{5});
}

void test_parallel_for() {
    std::vector<std::atomic<int>> seen(50);
    parallel_for(4, seen.size(), [&](size_t i, size_t worker) { seen[i] += worker < 4 ? 1 : 100; });
    for (const auto & count : seen) {
        CHECK_EQ(count.load(), 1);
    }
    std::atomic<int> done{0};
    CHECK_THROWS(parallel_for(3, 9, [&](size_t i, size_t) {
        if (i % 3 != 0) {
            throw std::runtime_error("from a worker");
        }
        ++done;
    }), std::runtime_error);
    CHECK_EQ(done.load(), 3);  // worker 0 went on to its end
    parallel_for(3, 0, [&](size_t, size_t) { ++done; });
    CHECK_EQ(done.load(), 3);
}

void test_sets_and_permutation() {
    constexpr size_t ROWS = 13;
    const std::vector<float> x = uniform(ROWS * WIDTH, 9);
    const std::vector<std::vector<int32_t>> sets = {{4}, {20, 0, 7}, {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17}};
    std::vector<int32_t> permutation(ROWS);
    for (size_t r = 0; r < ROWS; ++r) {
        permutation[r] = static_cast<int32_t>(r * 5 % ROWS);
    }
    for (int32_t hidden : {0, 18}) {
        const probe_net net = {WIDTH, hidden, probe_head::sigmoid, make_weights(WIDTH, static_cast<size_t>(hidden), 21)};
        const auto value = [&](const std::function<double(size_t)> & input) {
            std::vector<double> in(WIDTH);
            for (size_t i = 0; i < in.size(); ++i) {
                in[i] = input(i);
            }
            return naive_value(hidden, net.head, net.weights, in);
        };
        for (int32_t threads : {1, 2, 30}) {
            const auto kept = predict_sets(net, x, ROWS, sets, threads);
            for (size_t s = 0; s < sets.size(); ++s) {
                for (size_t r = 0; r < ROWS; ++r) {
                    const auto in_set = [&](size_t i) { return std::count(sets[s].begin(), sets[s].end(), static_cast<int32_t>(i)) > 0; };
                    CHECK_NEAR(kept[s * ROWS + r], value([&](size_t i) { return in_set(i) ? x[r * WIDTH + i] : 0.0f; }), 1e-5);
                }
            }
            const auto dealt = predict_permuted(net, x, ROWS, permutation, threads);
            for (size_t j = 0; j < WIDTH; ++j) {
                for (size_t r = 0; r < ROWS; ++r) {
                    const auto from = [&](size_t i) { return x[(i == j ? static_cast<size_t>(permutation[r]) : r) * WIDTH + i]; };
                    CHECK_NEAR(dealt[j * ROWS + r], value(from), 1e-5);
                }
            }
            CHECK(apart(kept, predict_sets(net, x, ROWS, sets, 1)) == 0);
        }
        CHECK_CONTAINS(message_of([&] { predict_permuted(net, x, ROWS, {}, 1); }), "INVALID_ARGUMENT permutation");
        CHECK_CONTAINS(message_of([&] { predict_sets(net, x, ROWS, {{1}, {}}, 2); }), "INVALID_ARGUMENT sets[1]");
    }
}

}  // namespace

// Five steps of a linear probe with identity head against AdamW as its authors write it, in double precision.
static void test_steps_are_adamw() {
    const double rate = 0.1, decay = 0.5, beta1 = 0.9, beta2 = 0.999;
    trainer_params params;
    params.width = 2;
    params.layers = 1;
    params.threads = 1;
    probe_spec spec;
    spec.rule = {probe_target::terminal, probe_head::identity, 1.0, 1.0};
    spec.learning_rate = static_cast<float>(rate);
    spec.weight_decay = static_cast<float>(decay);
    spec.mean = {0, 0};
    spec.scale = {1, 1};
    spec.weights = {{}, {}, {2.0f, -1.0f}, {0.5f}};
    params.probes = {spec};
    probe_trainer trainer(params);
    double w[3] = {2.0, -1.0, 0.5}, m[3] = {0, 0, 0}, v[3] = {0, 0, 0};
    for (int n = 1; n <= 5; ++n) {
        const float rows[] = {static_cast<float>(n), static_cast<float>(2 - n)};  // gradients change in size and sign
        const double x[] = {rows[0], rows[1], 1.0};
        const double error = w[0] * x[0] + w[1] * x[1] + w[2] - 1;
        CHECK_NEAR(trainer.step({rows, false, 1}, {1}, {1.0f}, true)[0], error * error, 1e-4);
        for (int i = 0; i < 3; ++i) {
            const double gradient = 2 * error * x[i];
            m[i] = beta1 * m[i] + (1 - beta1) * gradient;
            v[i] = beta2 * v[i] + (1 - beta2) * gradient * gradient;
            w[i] -= rate * decay * w[i] + rate * m[i] / (1 - std::pow(beta1, n)) / (std::sqrt(v[i] / (1 - std::pow(beta2, n))) + 1e-8);
        }
        const probe_weights after = trainer.weights(0);
        const double got[] = {after.w2[0], after.w2[1], after.b2[0]};
        for (int i = 0; i < 3; ++i) {
            CHECK_NEAR(got[i], w[i], 1e-5);
        }
    }
}

int main() {
    load_backends_from(REWARDLENS_LIBRARY_DIR);
    RUN(test_predict_is_a_naive_loop);
    RUN(test_half_rows_are_rows);
    RUN(test_gradients);
    RUN(test_targets_by_hand);
    RUN(test_steps_are_adamw);
    RUN(test_training_lowers_the_loss_while_batches_grow_and_shrink);
    RUN(test_weights_go_in_and_out);
    RUN(test_wrong_arguments);
    RUN(test_divergence_is_an_error_and_no_end);
    RUN(test_parallel_for);
    RUN(test_sets_and_permutation);
    return check_report();
}
