// Typed access to metadata values, with the failures that the rules share.
#pragma once

#include <string>
#include <vector>

#include "gguf_metadata.h"

namespace rewardlens {

/** Throws `gguf_failure` of kind `corrupt`. */
[[noreturn]] void fail_corrupt(const std::string & message);

/** The u32 scalar `key` (the type that llama.cpp wants for counts), or `fallback` when missing. Throws `corrupt`. */
int64_t read_count(const gguf_metadata & metadata, const std::string & key, int64_t fallback);

/** Throws `corrupt` unless `low <= value <= high`. */
void require_range(const std::string & key, int64_t value, int64_t low, int64_t high);

/** The u32 scalar `key`, which must be there and lie in the range. Throws `corrupt`. */
int64_t require_count(const gguf_metadata & metadata, const std::string & key, int64_t low, int64_t high);

/**
 * A count for each of `layers` layers: one scalar for all, or an array with one integer a layer. Empty when the key is
 * missing. Throws `corrupt` for another type or length.
 */
std::vector<int64_t> read_layer_counts(const gguf_metadata & metadata, const std::string & key, int64_t layers);

}  // namespace rewardlens
