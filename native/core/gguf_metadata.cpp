#include "gguf_metadata.h"

#include <cstring>
#include <limits>
#include <unordered_set>

#include "ggml.h"

namespace rewardlens {

namespace {

// ggml looks for duplicates by comparing every pair, so counts far above what models have are refused: quadratic time.
constexpr int64_t max_key_count = 4096;
constexpr int64_t max_tensor_count = 32768;
constexpr uint64_t max_key_bytes = 65535;                       // ggml/docs/gguf.md
constexpr uint64_t max_string_bytes = 64ull * 1024 * 1024;      // the longest real ones are chat templates, < 100 KB
constexpr uint64_t max_array_count = 1ull << 30;                // GGUF_MAX_ARRAY_ELEMENTS
constexpr uint64_t max_string_array_count = 1ull << 24;         // the largest vocabularies have < 2^19 entries
constexpr uint64_t max_kept_items = 4096;
constexpr uint64_t tensor_alignment = 32;                       // TENSOR_ALIGNMENT, ggml/src/ggml-impl.h

[[noreturn]] void fail(gguf_check_kind kind, const std::string & message) { throw gguf_failure(kind, message); }

[[noreturn]] void fail_corrupt(const std::string & message) { fail(gguf_check_kind::corrupt, message); }

// Printable form of text from the file: bounded, control and non-ASCII bytes shown as '?'.
std::string quoted(const std::string & text) {
    std::string out = "'";
    for (size_t i = 0; i < text.size() && i < 80; ++i) {
        out += text[i] >= 32 && text[i] < 127 ? text[i] : '?';
    }
    return out + (text.size() > 80 ? "…'" : "'");
}

// Bytes of one scalar; 0 for strings, arrays and unknown ids.
uint64_t scalar_bytes(gguf_value_type type) {
    switch (type) {
        case gguf_value_type::u8:
        case gguf_value_type::i8:
        case gguf_value_type::boolean: return 1;
        case gguf_value_type::u16:
        case gguf_value_type::i16:     return 2;
        case gguf_value_type::u32:
        case gguf_value_type::i32:
        case gguf_value_type::f32:     return 4;
        case gguf_value_type::u64:
        case gguf_value_type::i64:
        case gguf_value_type::f64:     return 8;
        default:                       return 0;
    }
}

void read_number(gguf_reader & reader, gguf_value_type type, gguf_value & out, const char * what) {
    switch (type) {
        case gguf_value_type::u8:      out.integer = reader.read<uint8_t>(what); break;
        case gguf_value_type::i8:      out.integer = reader.read<int8_t>(what); break;
        case gguf_value_type::boolean: out.integer = reader.read<int8_t>(what) != 0; break;
        case gguf_value_type::u16:     out.integer = reader.read<uint16_t>(what); break;
        case gguf_value_type::i16:     out.integer = reader.read<int16_t>(what); break;
        case gguf_value_type::u32:     out.integer = reader.read<uint32_t>(what); break;
        case gguf_value_type::i32:     out.integer = reader.read<int32_t>(what); break;
        case gguf_value_type::u64:
        case gguf_value_type::i64:     out.integer = reader.read<int64_t>(what); break;
        case gguf_value_type::f32:     out.real = reader.read<float>(what); return;
        case gguf_value_type::f64:     out.real = reader.read<double>(what); return;
        default: break;
    }
    out.real = static_cast<double>(out.integer);
}

bool is_integer(gguf_value_type type) {
    return scalar_bytes(type) > 0 && type != gguf_value_type::f32 && type != gguf_value_type::f64;
}

void read_array(gguf_reader & reader, const std::string & key, gguf_value & out) {
    const std::string what = "array " + quoted(key);
    out.element_type = static_cast<gguf_value_type>(reader.read<int32_t>(what.c_str()));
    out.count = reader.read<uint64_t>(what.c_str());
    out.data_offset = reader.position();
    const uint64_t item_bytes = scalar_bytes(out.element_type);
    if (item_bytes == 0 && out.element_type != gguf_value_type::string) {
        fail_corrupt("key " + quoted(key) + ": arrays of type " + std::to_string(static_cast<int32_t>(out.element_type)) +
                     " do not exist or are not supported");
    }
    const uint64_t limit = item_bytes == 0 ? max_string_array_count : max_array_count;
    if (out.count > limit) {
        fail_corrupt("key " + quoted(key) + " claims " + std::to_string(out.count) + " items; the limit is " +
                     std::to_string(limit));
    }
    if (item_bytes == 0) {
        reader.require(out.count * sizeof(uint64_t), what.c_str());
        for (uint64_t i = 0; i < out.count; ++i) {
            const auto length = reader.read<uint64_t>(what.c_str());
            if (length > max_string_bytes) {
                fail_corrupt("key " + quoted(key) + ": string " + std::to_string(i) + " claims " +
                             std::to_string(length) + " bytes");
            }
            reader.skip(length, what.c_str());
        }
        return;
    }
    reader.require(out.count * item_bytes, what.c_str());
    if (is_integer(out.element_type) && out.count <= max_kept_items) {
        for (uint64_t i = 0; i < out.count; ++i) {
            gguf_value item;
            read_number(reader, out.element_type, item, what.c_str());
            out.integers.push_back(item.integer);
        }
    } else {
        reader.skip(out.count * item_bytes, what.c_str());
    }
}

void read_key_value(gguf_reader & reader, int64_t index, gguf_metadata & out) {
    const std::string key = reader.read_string(max_key_bytes, "a key");
    if (key.empty() || key.find('\0') != std::string::npos) {
        fail_corrupt("key " + std::to_string(index) + (key.empty() ? " is empty" : " contains a zero byte"));
    }
    gguf_value value;
    const std::string what = "value of " + quoted(key);
    value.type = static_cast<gguf_value_type>(reader.read<int32_t>(what.c_str()));
    if (value.type == gguf_value_type::array) {
        read_array(reader, key, value);
    } else if (value.type == gguf_value_type::string) {
        value.text = reader.read_string(max_string_bytes, what.c_str());
    } else if (scalar_bytes(value.type) > 0) {
        read_number(reader, value.type, value, what.c_str());
    } else {
        fail_corrupt("key " + quoted(key) + " has the unknown value type " +
                     std::to_string(static_cast<int32_t>(value.type)));
    }
    if (!out.values.emplace(key, std::move(value)).second) {
        fail_corrupt("key " + quoted(key) + " appears twice");
    }
}

void read_header(gguf_reader & reader, gguf_metadata & out, int64_t & tensor_count, int64_t & key_count) {
    char magic[4] = {};
    for (char & byte : magic) {
        if (reader.remaining() == 0) {
            fail(gguf_check_kind::not_gguf, "not a GGUF file: it has " + std::to_string(reader.position()) + " bytes");
        }
        byte = reader.read<char>("the magic");
    }
    if (std::memcmp(magic, "GGUF", 4) != 0) {
        fail(gguf_check_kind::not_gguf,
             "not a GGUF file: it starts with " + quoted(std::string(magic, 4)) + " instead of 'GGUF'");
    }
    out.version = reader.read<uint32_t>("the version");
    if ((out.version & 0xffff) == 0 && out.version != 0) {
        fail(gguf_check_kind::unsupported_version, "the file is big endian (version reads as " +
                                                       std::to_string(out.version) + "); convert it to little endian");
    }
    if (out.version < 2 || out.version > 3) {
        fail(gguf_check_kind::unsupported_version,
             "GGUF version " + std::to_string(out.version) + " is not supported; expected 2 or 3");
    }
    tensor_count = reader.read<int64_t>("the tensor count");
    key_count = reader.read<int64_t>("the key count");
    if (tensor_count < 0 || tensor_count > max_tensor_count) {
        fail_corrupt("the file claims " + std::to_string(tensor_count) + " tensors; expected 0 to " +
                     std::to_string(max_tensor_count));
    }
    if (key_count < 0 || key_count > max_key_count) {
        fail_corrupt("the file claims " + std::to_string(key_count) + " keys; expected 0 to " +
                     std::to_string(max_key_count));
    }
}

void read_alignment(gguf_metadata & out) {
    const gguf_value * value = out.find("general.alignment");
    if (value == nullptr) {
        return;
    }
    if (value->type != gguf_value_type::u32) {
        fail_corrupt(std::string("general.alignment must be a u32, is ") + gguf_value_type_name(value->type));
    }
    out.alignment = static_cast<uint64_t>(value->integer);
    if (out.alignment == 0 || (out.alignment & (out.alignment - 1)) != 0) {
        fail_corrupt("general.alignment " + std::to_string(out.alignment) + " is not a power of two");
    }
}

// product = a * b, or false when it does not fit int64.
bool multiply(int64_t a, int64_t b, int64_t & product) {
    if (a != 0 && b > std::numeric_limits<int64_t>::max() / a) {
        return false;
    }
    product = a * b;
    return true;
}

// Type id to bytes: also refuses ids that ggml does not know any more. Fills tensor.bytes.
void measure_tensor(gguf_tensor & tensor) {
    if (tensor.type < 0 || tensor.type >= GGML_TYPE_COUNT) {
        fail(gguf_check_kind::unsupported_version,
             "tensor " + quoted(tensor.name) + " has the unknown type " + std::to_string(tensor.type));
    }
    const auto type = static_cast<ggml_type>(tensor.type);
    const int64_t block = ggml_blck_size(type);
    const auto block_bytes = static_cast<int64_t>(ggml_type_size(type));
    if (block <= 0 || block_bytes <= 0) {
        fail(gguf_check_kind::unsupported_version, "tensor " + quoted(tensor.name) + " has type " +
                                                       std::to_string(tensor.type) +
                                                       ", which llama.cpp no longer supports");
    }
    if (tensor.dims[0] % block != 0) {
        fail_corrupt("tensor " + quoted(tensor.name) + ": rows of " + std::to_string(tensor.dims[0]) +
                     " are not a multiple of the block size " + std::to_string(block) + " of " + ggml_type_name(type));
    }
    int64_t elements = 1;
    int64_t bytes = 0;
    for (const int64_t dim : tensor.dims) {
        if (!multiply(elements, dim, elements)) {
            fail_corrupt("tensor " + quoted(tensor.name) + " has more elements than fit 64 bits");
        }
    }
    if (!multiply(elements / block, block_bytes, bytes)) {
        fail_corrupt("tensor " + quoted(tensor.name) + " has more bytes than fit 64 bits");
    }
    tensor.bytes = static_cast<uint64_t>(bytes);
}

gguf_tensor read_tensor(gguf_reader & reader, int64_t index) {
    gguf_tensor tensor;
    tensor.name = reader.read_string(GGML_MAX_NAME - 1, "a tensor name");
    if (tensor.name.empty() || tensor.name.find('\0') != std::string::npos) {
        fail_corrupt("tensor " + std::to_string(index) + " has no proper name");
    }
    tensor.dim_count = reader.read<uint32_t>("a tensor's dimension count");
    if (tensor.dim_count < 1 || tensor.dim_count > 4) {
        fail_corrupt("tensor " + quoted(tensor.name) + " has " + std::to_string(tensor.dim_count) +
                     " dimensions; expected 1 to 4");
    }
    for (uint32_t i = 0; i < tensor.dim_count; ++i) {
        tensor.dims[i] = reader.read<int64_t>("a tensor's dimension");
        if (tensor.dims[i] < 1) {
            fail_corrupt("tensor " + quoted(tensor.name) + ": dimension " + std::to_string(i) + " is " +
                         std::to_string(tensor.dims[i]));
        }
    }
    tensor.type = reader.read<int32_t>("a tensor's type");
    tensor.offset = reader.read<uint64_t>("a tensor's offset");
    measure_tensor(tensor);
    return tensor;
}

// Data offsets as ggml wants them: in order, without gaps but for padding. Turns them absolute.
void place_tensors(gguf_metadata & out, uint64_t header_end, uint64_t file_size) {
    const auto pad = [&](uint64_t offset) { return (offset + out.alignment - 1) & ~(out.alignment - 1); };
    out.data_offset = pad(header_end);
    uint64_t expected = 0;
    for (gguf_tensor & tensor : out.tensors) {
        if (tensor.offset != expected) {
            fail_corrupt("tensor " + quoted(tensor.name) + " has data offset " + std::to_string(tensor.offset) +
                         ", expected " + std::to_string(expected));
        }
        const uint64_t start = out.data_offset + tensor.offset;
        if (start > file_size || tensor.bytes > file_size - start) {
            fail(gguf_check_kind::truncated, "the file ends too early: the data of tensor " + quoted(tensor.name) +
                                                 " needs bytes " + std::to_string(start) + " to " +
                                                 std::to_string(start + tensor.bytes) + ", the file has " +
                                                 std::to_string(file_size));
        }
        if (start % tensor_alignment != 0) {
            fail_corrupt("tensor " + quoted(tensor.name) + " starts at byte " + std::to_string(start) +
                         "; llama.cpp maps only tensors aligned to " + std::to_string(tensor_alignment) + " bytes");
        }
        expected += pad(tensor.bytes);
        tensor.offset = start;
    }
}

}  // namespace

const char * gguf_value_type_name(gguf_value_type type) {
    static const char * const names[] = {"u8",  "i8",  "u16", "i16", "u32", "i32", "f32",
                                         "bool", "str", "arr", "u64", "i64", "f64"};
    const auto id = static_cast<int32_t>(type);
    return id >= 0 && id < static_cast<int32_t>(sizeof(names) / sizeof(names[0])) ? names[id] : "?";
}

const gguf_value * gguf_metadata::find(const std::string & key) const {
    const auto found = values.find(key);
    return found == values.end() ? nullptr : &found->second;
}

const gguf_tensor * gguf_metadata::find_tensor(const std::string & name) const {
    for (const gguf_tensor & tensor : tensors) {
        if (tensor.name == name) {
            return &tensor;
        }
    }
    return nullptr;
}

gguf_metadata read_gguf_metadata(gguf_source & source) {
    gguf_reader reader(source);
    gguf_metadata out;
    int64_t tensor_count = 0;
    int64_t key_count = 0;
    read_header(reader, out, tensor_count, key_count);
    for (int64_t i = 0; i < key_count; ++i) {
        read_key_value(reader, i, out);
    }
    read_alignment(out);
    std::unordered_set<std::string> names;
    for (int64_t i = 0; i < tensor_count; ++i) {
        out.tensors.push_back(read_tensor(reader, i));
        if (!names.insert(out.tensors.back().name).second) {
            fail_corrupt("tensor " + quoted(out.tensors.back().name) + " appears twice");
        }
    }
    place_tensors(out, reader.position(), source.size());
    return out;
}

}  // namespace rewardlens
