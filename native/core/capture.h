// Rows read from the residual stream, on their way from the forward pass to the listener.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace rewardlens {

struct free_deleter {
    void operator()(void * p) const { std::free(p); }
};
using raw_block = std::unique_ptr<void, free_deleter>;

// Consecutive captured rows of one request. `blocks[k]` is [row_count, row_width[k]] row-major, f32 or f16.
struct capture_chunk {
    uint32_t request_id = 0;
    int32_t first_row = 0;  // index of the first row among all captured rows of the request
    int32_t capacity = 0;
    int32_t row_count = 0;
    std::vector<int32_t> tokens;
    std::vector<int32_t> positions;
    std::vector<raw_block> blocks;
    std::vector<size_t> row_bytes;  // per block
    size_t total_bytes() const {
        size_t sum = 0;
        for (size_t bytes : row_bytes) {
            sum += bytes * static_cast<size_t>(row_count);
        }
        return sum;
    }
};

}  // namespace rewardlens
