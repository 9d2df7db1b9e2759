#include "weight_norms.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "error.h"
#include "ggml.h"
#include "gguf_metadata.h"
#include "gguf_source.h"

namespace rewardlens {

namespace {

constexpr uint64_t piece_bytes = 4 << 20;

std::vector<double> sum_columns(gguf_source & source, const gguf_tensor & tensor, const std::string & path) {
    const auto fail = [&](const std::string & what) { throw engine_error(error_code::model_load, "'" + path + "': tensor '" + tensor.name + "' " + what); };
    const auto type = static_cast<ggml_type>(tensor.type);
    const ggml_to_float_t to_float = ggml_get_type_traits(type)->to_float;
    if (to_float == nullptr && type != GGML_TYPE_F32) {
        fail(std::string("has type ") + ggml_type_name(type) + ", which is not one of weights");
    }
    const int64_t width = tensor.dims[0];
    const int64_t rows = tensor.dims[1] * tensor.dims[2] * tensor.dims[3];
    const uint64_t row_bytes = ggml_row_size(type, width);
    const int64_t at_a_time = std::clamp<int64_t>(static_cast<int64_t>(piece_bytes / std::max<uint64_t>(1, row_bytes)), 1, std::max<int64_t>(1, rows));
    std::vector<float> raw((static_cast<size_t>(at_a_time) * row_bytes + sizeof(float) - 1) / sizeof(float));  // floats: aligned for all types
    std::vector<float> row(static_cast<size_t>(width));
    std::vector<double> sums(static_cast<size_t>(width));
    for (int64_t first = 0; first < rows; first += at_a_time) {
        const uint64_t bytes = static_cast<uint64_t>(std::min(at_a_time, rows - first)) * row_bytes;
        if (source.read_at(tensor.offset + static_cast<uint64_t>(first) * row_bytes, raw.data(), bytes) != bytes) {
            fail("cannot be read to its end");
        }
        for (uint64_t at = 0; at < bytes; at += row_bytes) {
            const void * packed = reinterpret_cast<const uint8_t *>(raw.data()) + at;
            const float * values = static_cast<const float *>(packed);
            if (to_float != nullptr) {
                to_float(packed, row.data(), width);
                values = row.data();
            }
            for (size_t j = 0; j < sums.size(); ++j) {
                sums[j] += std::fabs(static_cast<double>(values[j]));
            }
        }
    }
    return sums;
}

}  // namespace

std::vector<double> column_norms(const std::vector<std::string> & files, const std::string & tensor) {
    for (const std::string & path : files) {
        std::string reason;
        const std::unique_ptr<gguf_file_source> source = gguf_file_source::open(path, reason);
        if (source == nullptr) {
            throw engine_error(error_code::model_load, "'" + path + "': " + reason);
        }
        try {
            const gguf_metadata metadata = read_gguf_metadata(*source);
            if (const gguf_tensor * found = metadata.find_tensor(tensor)) {
                return sum_columns(*source, *found, path);
            }
        } catch (const gguf_failure & failure) {
            throw engine_error(error_code::model_load, "'" + path + "': " + failure.what());
        }
    }
    return {};
}

}  // namespace rewardlens
