// Values of one trained probe with part of its inputs taken away: what pruning curves and permutation importance need.
#pragma once

#include <cstdint>
#include <vector>

#include "probe_trainer.h"

namespace rewardlens {

// A trained probe; inputs as it sees them (already normalised).
struct probe_net {
    int32_t inputs = 0;
    int32_t hidden = 0;  // 0 = linear
    probe_head head = probe_head::sigmoid;
    probe_weights weights;
};

// Values [sets, rows] of x [rows, inputs] when only the inputs of a set are kept and all others are 0 (the training mean
// of z-scored inputs). Cost: rows × kept × hidden per set, through ggml's matrix product. Throws INVALID_ARGUMENT.
std::vector<float> predict_sets(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                const std::vector<std::vector<int32_t>> & sets, int32_t threads);

// Values [inputs, rows] when input i alone is dealt out anew: row r gets the input of row permutation[r]. Cost:
// inputs × rows × hidden. Throws INVALID_ARGUMENT.
std::vector<float> predict_permuted(const probe_net & net, const std::vector<float> & x, int64_t rows,
                                    const std::vector<int32_t> & permutation, int32_t threads);

}  // namespace rewardlens
