#include "gguf_values.h"

namespace rewardlens {

void fail_corrupt(const std::string & message) {
    throw gguf_failure(gguf_check_kind::corrupt, message);
}

int64_t read_count(const gguf_metadata & metadata, const std::string & key, int64_t fallback) {
    const gguf_value * value = metadata.find(key);
    if (value == nullptr) {
        return fallback;
    }
    if (value->type != gguf_value_type::u32) {
        fail_corrupt("key '" + key + "' must be a u32, is " + gguf_value_type_name(value->type));
    }
    return value->integer;
}

void require_range(const std::string & key, int64_t value, int64_t low, int64_t high) {
    if (value < low || value > high) {
        fail_corrupt("key '" + key + "' is " + std::to_string(value) + "; expected " + std::to_string(low) + " to " +
                     std::to_string(high));
    }
}

int64_t require_count(const gguf_metadata & metadata, const std::string & key, int64_t low, int64_t high) {
    if (metadata.find(key) == nullptr) {
        fail_corrupt("key '" + key + "' is missing");
    }
    const int64_t value = read_count(metadata, key, 0);
    require_range(key, value, low, high);
    return value;
}

std::vector<int64_t> read_layer_counts(const gguf_metadata & metadata, const std::string & key, int64_t layers) {
    const gguf_value * value = metadata.find(key);
    if (value == nullptr) {
        return {};
    }
    if (value->type != gguf_value_type::array) {
        return std::vector<int64_t>(static_cast<size_t>(layers), read_count(metadata, key, 0));
    }
    if (value->count != static_cast<uint64_t>(layers) || value->integers.size() != value->count) {
        fail_corrupt("key '" + key + "' must be one integer or " + std::to_string(layers) + " of them, has " +
                     std::to_string(value->count) + " items of type " + gguf_value_type_name(value->element_type));
    }
    return value->integers;
}

}  // namespace rewardlens
