// The header of one GGUF file (key-value pairs and tensor descriptions), read with strict bounds and without ggml.
// Format: ggml/docs/gguf.md; the limits are those of ggml/src/gguf.cpp or tighter.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "gguf_reader.h"

namespace rewardlens {

/** GGUF value types (ggml/include/gguf.h, `enum gguf_type`); own names, so that this file needs no ggml header. */
enum class gguf_value_type : int32_t {
    u8 = 0, i8 = 1, u16 = 2, i16 = 3, u32 = 4, i32 = 5, f32 = 6, boolean = 7, string = 8, array = 9, u64 = 10,
    i64 = 11, f64 = 12,
};

/** "u32", "str", …; "?" for an unknown id. */
const char * gguf_value_type_name(gguf_value_type type);

/** One value. Arrays keep their place in the file; integer arrays of up to 4096 items also keep their items. */
struct gguf_value {
    gguf_value_type type = gguf_value_type::u8;
    gguf_value_type element_type = gguf_value_type::u8;  // arrays only
    uint64_t count = 1;                                  // array length
    uint64_t data_offset = 0;                            // arrays: absolute byte offset of the first item
    int64_t integer = 0;                                 // scalars of integer or boolean type (u64 as its bits)
    double real = 0;                                     // scalars of any numeric type
    std::string text;                                    // scalars of string type
    std::vector<int64_t> integers;                       // small integer arrays
};

/** One tensor description. */
struct gguf_tensor {
    std::string name;
    uint32_t dim_count = 0;
    int64_t dims[4] = {1, 1, 1, 1};  // dims[0] is the row length, as in ggml
    int32_t type = 0;                // enum ggml_type, known to be a readable type
    uint64_t offset = 0;             // absolute byte offset in the file
    uint64_t bytes = 0;
};

/** A parsed header. */
struct gguf_metadata {
    uint32_t version = 0;
    uint64_t alignment = 32;
    uint64_t data_offset = 0;  // absolute byte offset of the tensor data
    std::unordered_map<std::string, gguf_value> values;
    std::vector<gguf_tensor> tensors;

    /** The value of `key`, or null. */
    const gguf_value * find(const std::string & key) const;
    /** The tensor `name`, or null. Linear. */
    const gguf_tensor * find_tensor(const std::string & name) const;
};

/**
 * Reads and checks the header of one file: magic, version, byte order, every count and length against the file size,
 * duplicate keys and tensors, dimensions, tensor types, and that each tensor's data lies where ggml expects it and
 * within the file. Throws `gguf_failure`. Cost: reads the header only; memory below 4 times the header's size.
 */
gguf_metadata read_gguf_metadata(gguf_source & source);

}  // namespace rewardlens
