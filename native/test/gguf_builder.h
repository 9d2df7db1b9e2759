// Builds GGUF bytes in memory, valid or broken on purpose, for the native tests.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ggml.h"

// Writes a small but complete header; tests change one thing at a time. Strings are raw bytes of a value.
struct gguf_builder {
    uint32_t version = 3;
    std::string magic = "GGUF";
    std::vector<std::pair<std::string, std::string>> values;  // key → type id and value bytes
    struct tensor {
        std::string name;
        std::vector<int64_t> dims;
        int32_t type = GGML_TYPE_F32;
        int64_t offset = -1;  // -1 = where it belongs
        int64_t bytes = -1;   // -1 = f32 contents
    };
    std::vector<tensor> tensors;
    uint64_t alignment = 32;
    static constexpr int64_t real_count = INT64_MIN;
    int64_t claimed_tensors = real_count;
    int64_t claimed_keys = real_count;

    template <typename T>
    static std::string raw(T value) {
        return std::string(reinterpret_cast<const char *>(&value), sizeof(T));
    }
    static std::string text(const std::string & value) { return raw<uint64_t>(value.size()) + value; }
    static std::string u32(uint32_t value) { return raw<int32_t>(4) + raw(value); }
    static std::string u16(uint16_t value) { return raw<int32_t>(2) + raw(value); }
    static std::string i32(int32_t value) { return raw<int32_t>(5) + raw(value); }
    static std::string f32(float value) { return raw<int32_t>(6) + raw(value); }
    static std::string string(const std::string & value) { return raw<int32_t>(8) + text(value); }
    static std::string strings(const std::vector<std::string> & items) {
        std::string out = raw<int32_t>(9) + raw<int32_t>(8) + raw<uint64_t>(items.size());
        for (const auto & item : items) {
            out += text(item);
        }
        return out;
    }
    static std::string u32s(const std::vector<uint32_t> & items) {
        std::string out = raw<int32_t>(9) + raw<int32_t>(4) + raw<uint64_t>(items.size());
        for (const auto item : items) {
            out += raw(item);
        }
        return out;
    }

    void set(const std::string & key, const std::string & value) {
        for (auto & entry : values) {
            if (entry.first == key) {
                entry.second = value;
                return;
            }
        }
        values.emplace_back(key, value);
    }
    void remove(const std::string & key) {
        for (size_t i = 0; i < values.size(); ++i) {
            if (values[i].first == key) {
                values.erase(values.begin() + static_cast<long>(i));
                return;
            }
        }
    }

    std::string bytes() const {
        std::string out = magic + raw(version) +
                          raw<int64_t>(claimed_tensors == real_count ? static_cast<int64_t>(tensors.size()) : claimed_tensors) +
                          raw<int64_t>(claimed_keys == real_count ? static_cast<int64_t>(values.size()) : claimed_keys);
        for (const auto & entry : values) {
            out += text(entry.first) + entry.second;
        }
        std::string data;
        for (const auto & item : tensors) {
            uint64_t count = 1;  // wraps for absurd dimensions, which come with their own byte count
            out += text(item.name) + raw<uint32_t>(static_cast<uint32_t>(item.dims.size()));
            for (const int64_t dim : item.dims) {
                out += raw(dim);
                count *= static_cast<uint64_t>(dim);
            }
            out += raw(item.type) + raw<uint64_t>(item.offset < 0 ? data.size() : static_cast<uint64_t>(item.offset));
            data += std::string(static_cast<size_t>(item.bytes < 0 ? count * 4 : static_cast<uint64_t>(item.bytes)), '\1');
            data.resize((data.size() + alignment - 1) / alignment * alignment);
        }
        out.resize((out.size() + alignment - 1) / alignment * alignment);
        return out + data;
    }
};

/** A llama header with three tensors that `gguf_check` accepts; llama.cpp itself would miss tensors. */
inline gguf_builder valid_model() {
    gguf_builder b;
    b.values = {
        {"general.architecture", b.string("llama")},
        {"general.file_type", b.u32(0)},
        {"llama.context_length", b.u32(128)},
        {"llama.embedding_length", b.u32(8)},
        {"llama.block_count", b.u32(2)},
        {"llama.feed_forward_length", b.u32(16)},
        {"llama.attention.head_count", b.u32(4)},
        {"llama.attention.head_count_kv", b.u32(2)},
        {"llama.attention.layer_norm_rms_epsilon", b.f32(1e-5f)},
        {"tokenizer.ggml.model", b.string("llama")},
        {"tokenizer.ggml.tokens", b.strings({"<unk>", "<s>", "</s>", "a"})},
    };
    b.tensors = {{"token_embd.weight", {8, 4}}, {"output_norm.weight", {8}}, {"blk.0.attn_q.weight", {8, 8}}};
    return b;
}
