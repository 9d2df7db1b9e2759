// Sums over a weight matrix in a model file, read and dequantized piece by piece, without loading the model.
#pragma once

#include <string>
#include <vector>

namespace rewardlens {

/**
 * For every input j of the matrix `tensor` (ggml's dims[0]): the sum over all its rows, experts included, of |W_ij|. Of a vector
 * that is |w_j|. `files` are the parts of the model; the first that holds the tensor counts. Empty when none does. Values are those
 * that ggml's `to_float` gives for the tensor's type. Throws model_load for a file that is not whole or a type without weights in
 * it. Cost: reads the tensor once; memory: 4 MiB and one row.
 */
std::vector<double> column_norms(const std::vector<std::string> & files, const std::string & tensor);

}  // namespace rewardlens
