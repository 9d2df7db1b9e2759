#include "probe_loss.h"

#include <cmath>

#include "error.h"

namespace rewardlens {

probe_target probe_target_from_name(const std::string & name) {
    const std::pair<const char *, probe_target> names[] = {{"td0", probe_target::td0},
                                                           {"td0-residual", probe_target::td0_residual},
                                                           {"td-lambda", probe_target::td_lambda},
                                                           {"mc", probe_target::mc},
                                                           {"terminal", probe_target::terminal}};
    for (const auto & entry : names) {
        if (name == entry.first) {
            return entry.second;
        }
    }
    throw engine_error(error_code::invalid_argument, "target: expected td0, td0-residual, td-lambda, mc or terminal, got '" + name + "'");
}

probe_head probe_head_from_name(const std::string & name) {
    if (name == "sigmoid") {
        return probe_head::sigmoid;
    }
    if (name == "identity") {
        return probe_head::identity;
    }
    throw engine_error(error_code::invalid_argument, "head: expected sigmoid or identity, got '" + name + "'");
}

void probe_values(probe_head head, float * z, int64_t count) {
    if (head == probe_head::sigmoid) {
        for (int64_t i = 0; i < count; ++i) {
            z[i] = 1.0f / (1.0f + std::exp(-z[i]));
        }
    }
}

namespace {

// Targets of one trajectory that do not pass gradients on.
void fixed_targets(const probe_rule & rule, const float * values, int32_t length, double reward, double * target) {
    target[length - 1] = reward;
    for (int32_t t = length - 2; t >= 0; --t) {
        switch (rule.target) {
            case probe_target::td0:       target[t] = rule.gamma * values[t + 1]; break;
            case probe_target::td_lambda: target[t] = rule.gamma * ((1 - rule.lambda) * values[t + 1] + rule.lambda * target[t + 1]); break;
            default:                      target[t] = rule.gamma * target[t + 1]; break;
        }
    }
}

// Both terms of every TD error pass gradients on. Returns the sum of squares.
double residual_errors(const probe_rule & rule, const float * values, int32_t length, double reward, double * slope) {
    double sum = 0;
    for (int32_t t = 0; t < length; ++t) {
        const bool last = t == length - 1;
        const double error = (last ? reward : rule.gamma * values[t + 1]) - values[t];
        sum += error * error;
        slope[t] -= 2 * error;
        if (!last) {
            slope[t + 1] += 2 * rule.gamma * error;
        }
    }
    return sum;
}

}  // namespace

double probe_loss(const probe_rule & rule, const probe_batch & batch, const float * values, float * gradient) {
    int64_t states = 0;
    for (int32_t i = 0; i < batch.trajectories; ++i) {
        states += batch.lengths[i];
    }
    std::vector<double> slope(static_cast<size_t>(states), 0.0);  // d (sum of squares) / d value
    std::vector<double> target;
    double sum = 0;
    for (int64_t first = 0, i = 0; i < batch.trajectories; first += batch.lengths[i], ++i) {
        const int32_t length = batch.lengths[i];
        if (rule.target == probe_target::td0_residual) {
            sum += residual_errors(rule, values + first, length, batch.rewards[i], slope.data() + first);
            continue;
        }
        target.resize(static_cast<size_t>(length));
        fixed_targets(rule, values + first, length, batch.rewards[i], target.data());
        for (int32_t t = rule.target == probe_target::terminal ? length - 1 : 0; t < length; ++t) {
            const double error = target[t] - values[first + t];
            sum += error * error;
            slope[first + t] = -2 * error;
        }
    }
    const double count = rule.target == probe_target::terminal ? batch.trajectories : static_cast<double>(states);
    if (gradient != nullptr) {
        for (int64_t s = 0; s < states; ++s) {
            const double v = values[s];
            gradient[s] = static_cast<float>(slope[s] / count * (rule.head == probe_head::sigmoid ? v * (1 - v) : 1.0));
        }
    }
    return sum / count;
}

}  // namespace rewardlens
