#include "gguf_check.h"

#include <cstdio>
#include <new>
#include <unordered_set>

#include "gguf_metadata.h"
#include "gguf_rules.h"

namespace rewardlens {

namespace {

constexpr int64_t max_split_count = 65535;  // a u16

int64_t scalar_or(const gguf_metadata & metadata, const std::string & key, int64_t fallback) {
    const gguf_value * value = metadata.find(key);
    const bool usable = value != nullptr && value->type != gguf_value_type::array &&
                        value->type != gguf_value_type::string && value->type != gguf_value_type::f32 &&
                        value->type != gguf_value_type::f64;
    return usable ? value->integer : fallback;
}

void fill_facts(const gguf_metadata & metadata, gguf_check_result & result) {
    const gguf_value * arch = metadata.find("general.architecture");
    if (arch != nullptr && arch->type == gguf_value_type::string) {
        result.architecture = arch->text;
    }
    const gguf_value * tokenizer = metadata.find("tokenizer.ggml.model");
    if (tokenizer != nullptr && tokenizer->type == gguf_value_type::string) {
        result.tokenizer = tokenizer->text;
    }
    result.block_count = scalar_or(metadata, result.architecture + ".block_count", -1);
    result.embedding_length = scalar_or(metadata, result.architecture + ".embedding_length", -1);
    result.context_length = scalar_or(metadata, result.architecture + ".context_length", -1);
    result.file_type = scalar_or(metadata, "general.file_type", -1);
    result.vocabulary_size = gguf_vocabulary_size(metadata, result.architecture);
}

void add_part(const gguf_source & source, const gguf_metadata & metadata, gguf_check_result & result) {
    result.total_bytes += source.size();
    result.tensor_count += metadata.tensors.size();
    for (const gguf_tensor & tensor : metadata.tensors) {
        result.tensor_bytes += tensor.bytes;
    }
}

// A split key of exactly the u16 that llama.cpp reads: it aborts on another type in the later parts.
int64_t read_split_key(const gguf_metadata & metadata, const std::string & key, int64_t fallback) {
    const gguf_value * value = metadata.find(key);
    if (value == nullptr) {
        return fallback;
    }
    if (value->type != gguf_value_type::u16) {
        throw gguf_failure(gguf_check_kind::corrupt,
                           "key '" + key + "' must be a u16, is " + gguf_value_type_name(value->type));
    }
    return value->integer;
}

std::string split_suffix(int64_t part, int64_t count) {
    char text[32];
    std::snprintf(text, sizeof(text), "-%05d-of-%05d.gguf", static_cast<int>(part + 1), static_cast<int>(count));
    return text;
}

// The part of `path` before "-00001-of-00004.gguf".
std::string split_prefix(const std::string & path, int64_t count) {
    const std::string suffix = split_suffix(0, count);
    if (path.size() <= suffix.size() || path.compare(path.size() - suffix.size(), suffix.size(), suffix) != 0) {
        throw gguf_failure(gguf_check_kind::missing_split,
                           "it is the first of " + std::to_string(count) +
                               " parts, so its name must end in '" + suffix + "' for the others to be found");
    }
    return path.substr(0, path.size() - suffix.size());
}

void check_no_shared_tensors(const gguf_metadata & part, std::unordered_set<std::string> & names) {
    for (const gguf_tensor & tensor : part.tensors) {
        if (!names.insert(tensor.name).second) {
            throw gguf_failure(gguf_check_kind::corrupt, "tensor '" + tensor.name + "' is in two parts");
        }
    }
}

gguf_metadata read_part(const std::string & path, int64_t part, gguf_check_result & result) {
    std::string reason;
    const auto source = gguf_file_source::open(path, reason);
    if (source == nullptr) {
        throw gguf_failure(gguf_check_kind::missing_split, "part '" + path + "' cannot be opened: " + reason);
    }
    try {
        gguf_metadata metadata = read_gguf_metadata(*source);
        const int64_t number = read_split_key(metadata, "split.no", -1);
        if (number != part) {
            throw gguf_failure(gguf_check_kind::missing_split, "it says that it is part " + std::to_string(number + 1) +
                                                                   " (split.no " + std::to_string(number) +
                                                                   "), expected " + std::to_string(part + 1));
        }
        check_gguf_tensor_types(metadata);
        add_part(*source, metadata, result);
        return metadata;
    } catch (const gguf_failure & failure) {
        throw gguf_failure(failure.kind(), "part '" + path + "': " + failure.what());
    }
}

// Follows split.count: all parts must be there, be what they say and together have the tensors promised.
void check_parts(const std::string & path, const gguf_metadata & first, gguf_check_result & result) {
    const int64_t count = read_split_key(first, "split.count", 1);
    if (count <= 1) {
        return;
    }
    const int64_t number = read_split_key(first, "split.no", -1);
    if (number != 0) {
        throw gguf_failure(gguf_check_kind::missing_split,
                           "it is part " + std::to_string(number + 1) + " of " + std::to_string(count) +
                               "; name the first part, the one that ends in '" + split_suffix(0, count) + "'");
    }
    const std::string prefix = split_prefix(path, count);
    std::unordered_set<std::string> names;
    check_no_shared_tensors(first, names);
    for (int64_t part = 1; part < count && part < max_split_count; ++part) {
        const std::string part_path = prefix + split_suffix(part, count);
        check_no_shared_tensors(read_part(part_path, part, result), names);
        result.files.push_back(part_path);
    }
    const int64_t promised = scalar_or(first, "split.tensors.count", -1);
    if (promised != static_cast<int64_t>(result.tensor_count)) {
        throw gguf_failure(gguf_check_kind::corrupt, "the parts have " + std::to_string(result.tensor_count) +
                                                         " tensors, split.tensors.count promises " +
                                                         std::to_string(promised));
    }
}

void check_source(gguf_source & source, const std::string & path, gguf_check_result & result) {
    const gguf_metadata metadata = read_gguf_metadata(source);
    fill_facts(metadata, result);
    add_part(source, metadata, result);
    if (path.empty() && read_split_key(metadata, "split.count", 1) > 1) {
        throw gguf_failure(gguf_check_kind::missing_split, "a split model cannot be checked in memory");
    }
    // A later part has no architecture: say first that the wrong part was named.
    check_parts(path, metadata, result);
    const std::string arch = check_gguf_architecture(metadata);
    check_gguf_hyper_parameters(metadata, arch);
    check_gguf_tensor_types(metadata);
    check_gguf_vocabulary(source, metadata, arch);
    if (result.tensor_count == 0) {
        throw gguf_failure(gguf_check_kind::corrupt, "it has no tensors: a vocabulary, not a model");
    }
}

void run_check(gguf_source & source, const std::string & path, gguf_check_result & result) {
    const std::string prefix = path.empty() ? "" : "'" + path + "': ";
    try {
        check_source(source, path, result);
        result.ok = true;
        result.kind = gguf_check_kind::ok;
    } catch (const gguf_failure & failure) {
        result.kind = failure.kind();
        result.message = prefix + failure.what();
    } catch (const std::bad_alloc &) {
        result.kind = gguf_check_kind::corrupt;
        result.message = prefix + "its header needs more memory than there is";
    }
}

}  // namespace

gguf_check_result gguf_check(const std::string & path) {
    gguf_check_result result;
    std::string reason;
    const auto source = gguf_file_source::open(path, reason);
    if (source == nullptr) {
        result.message = "'" + path + "': " + reason;
        return result;
    }
    result.files.push_back(path);
    run_check(*source, path, result);
    return result;
}

gguf_check_result gguf_check_memory(const void * data, size_t size) {
    gguf_check_result result;
    gguf_memory_source source(data, size);
    run_check(source, "", result);
    return result;
}

const char * gguf_check_kind_name(gguf_check_kind kind) {
    switch (kind) {
        case gguf_check_kind::ok:                  return "OK";
        case gguf_check_kind::not_gguf:            return "NOT_GGUF";
        case gguf_check_kind::truncated:           return "TRUNCATED";
        case gguf_check_kind::corrupt:             return "CORRUPT";
        case gguf_check_kind::unsupported_version: return "UNSUPPORTED_VERSION";
        case gguf_check_kind::unsupported_arch:    return "UNSUPPORTED_ARCH";
        case gguf_check_kind::missing_split:       return "MISSING_SPLIT";
        case gguf_check_kind::io:                  return "IO";
    }
    return "CORRUPT";
}

error_code gguf_check_error_code(gguf_check_kind kind) {
    return kind == gguf_check_kind::unsupported_arch ? error_code::unsupported_arch : error_code::model_load;
}

}  // namespace rewardlens
