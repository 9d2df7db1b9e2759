// What value probes are trained on: targets of the states of whole trajectories, the loss and its gradient.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace rewardlens {

enum class probe_target : uint8_t { td0, td0_residual, td_lambda, mc, terminal };
enum class probe_head : uint8_t { sigmoid, identity };

// "td0", "td0-residual", "td-lambda", "mc", "terminal"; throws INVALID_ARGUMENT for another name. Likewise the head.
probe_target probe_target_from_name(const std::string & name);
probe_head probe_head_from_name(const std::string & name);

// States of a mini-batch: trajectory i has `lengths[i]` of them, one after the other, and ends with `rewards[i]`.
struct probe_batch {
    const int32_t * lengths = nullptr;
    const float * rewards = nullptr;
    int32_t trajectories = 0;
};

struct probe_rule {
    probe_target target = probe_target::mc;
    probe_head head = probe_head::sigmoid;
    double gamma = 1.0;
    double lambda = 1.0;
};

// `z` (pre-head outputs, one per state) becomes values in place.
void probe_values(probe_head head, float * z, int64_t count);

// Mean squared error of the values against their targets over all states (terminal: over last states). `gradient`, when not
// null, receives d loss / d z for every state. Targets made of values are constants, except for td0_residual.
double probe_loss(const probe_rule & rule, const probe_batch & batch, const float * values, float * gradient);

}  // namespace rewardlens
