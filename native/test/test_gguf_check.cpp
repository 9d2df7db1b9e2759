// gguf_check: every kind of malformed file is refused with a message that says what is wrong, and valid ones pass.
#include "gguf_check.h"

#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "check.h"
#include "ggml.h"
#include "gguf_arch.h"
#include "gguf_builder.h"
#include "gguf_metadata.h"
#include "llama.h"

#ifndef _WIN32
#include <dlfcn.h>
#endif

using namespace rewardlens;

namespace {

gguf_check_result check_bytes(const std::string & bytes) { return gguf_check_memory(bytes.data(), bytes.size()); }

// The verdict on the valid model after `change`.
gguf_check_result check_changed(const std::function<void(gguf_builder &)> & change) {
    gguf_builder b = valid_model();
    change(b);
    return check_bytes(b.bytes());
}

void expect(const std::function<void(gguf_builder &)> & change, gguf_check_kind kind, const std::string & part) {
    const gguf_check_result result = check_changed(change);
    CHECK_EQ(std::string(gguf_check_kind_name(result.kind)), std::string(gguf_check_kind_name(kind)));
    CHECK_EQ(result.ok, kind == gguf_check_kind::ok);
    CHECK_CONTAINS(result.message, part);
}

void expect_key(const std::string & key, const std::string & value, const std::string & part) {
    expect([&](gguf_builder & b) { b.set(key, value); }, gguf_check_kind::corrupt, part);
}

using B = gguf_builder;

void test_valid_model_passes_with_its_facts() {
    const gguf_check_result result = check_bytes(valid_model().bytes());
    CHECK_EQ(result.message, std::string());
    CHECK(result.ok && result.kind == gguf_check_kind::ok);
    CHECK_EQ(result.architecture, std::string("llama"));
    CHECK_EQ(result.tensor_count, uint64_t(3));
    CHECK_EQ(result.tensor_bytes, uint64_t(4 * (32 + 8 + 64)));
    CHECK_EQ(result.vocabulary_size, uint64_t(4));
    CHECK_EQ(result.block_count, int64_t(2));
    CHECK_EQ(result.embedding_length, int64_t(8));
    CHECK_EQ(result.context_length, int64_t(128));
    CHECK_EQ(result.file_type, int64_t(0));
    CHECK_EQ(result.tokenizer, std::string("llama"));
}

void test_other_files_are_not_gguf() {
    CHECK_EQ(check_bytes("").kind == gguf_check_kind::not_gguf, true);
    CHECK_EQ(check_bytes("GG").kind == gguf_check_kind::not_gguf, true);
    CHECK_CONTAINS(check_bytes(std::string("PK\3\4") + std::string(64, 'x')).message, "instead of 'GGUF'");
    expect([](B & b) { b.version = 1; }, gguf_check_kind::unsupported_version, "version 1");
    expect([](B & b) { b.version = 4; }, gguf_check_kind::unsupported_version, "version 4");
    expect([](B & b) { b.version = 0; }, gguf_check_kind::unsupported_version, "version 0");
    expect([](B & b) { b.version = 0x03000000; }, gguf_check_kind::unsupported_version, "big endian");
    expect([](B & b) { b.version = 2; }, gguf_check_kind::ok, "");
}

// Every prefix is refused: as no GGUF within the magic, as truncated behind it.
void test_every_truncation_is_noticed() {
    const std::string bytes = valid_model().bytes();
    for (size_t length = 0; length < bytes.size(); ++length) {
        const gguf_check_result result = gguf_check_memory(bytes.data(), length);
        const auto expected = length < 4 ? gguf_check_kind::not_gguf : gguf_check_kind::truncated;
        if (!CHECK(result.kind == expected) || !CHECK(!result.ok)) {
            std::fprintf(stderr, "length %zu: %s\n", length, result.message.c_str());
            return;
        }
    }
}

void test_counts_and_lengths_are_bounded() {
    expect([](B & b) { b.claimed_tensors = -2; }, gguf_check_kind::corrupt, "claims -2 tensors");
    expect([](B & b) { b.claimed_keys = -1; }, gguf_check_kind::corrupt, "claims -1 keys");
    expect([](B & b) { b.claimed_tensors = 1ll << 40; }, gguf_check_kind::corrupt, "claims 1099511627776 tensors");
    expect([](B & b) { b.claimed_keys = 1 << 20; }, gguf_check_kind::corrupt, "keys");
    expect([](B & b) { b.claimed_keys = 12; }, gguf_check_kind::corrupt, "");
    expect_key("x", B::raw<int32_t>(8) + B::raw<uint64_t>(1ull << 62), "claims 4611686018427387904 bytes");
    expect([](B & b) { b.set("x", B::raw<int32_t>(8) + B::raw<uint64_t>(1 << 20)); }, gguf_check_kind::truncated,
           "too early");
    expect_key("x", B::raw<int32_t>(9) + B::raw<int32_t>(4) + B::raw<uint64_t>(~0ull), "items");
    expect_key("x", B::raw<int32_t>(9) + B::raw<int32_t>(9) + B::raw<uint64_t>(1), "arrays of type 9");
    expect_key("x", B::raw<int32_t>(13), "unknown value type 13");
    expect_key("x", B::raw<int32_t>(-1), "unknown value type -1");
    expect_key("", B::u32(1), "is empty");
    expect_key(std::string("a\0b", 3), B::u32(1), "zero byte");
    expect([](B & b) { b.values.push_back(b.values[3]); }, gguf_check_kind::corrupt, "appears twice");
}

void test_tensors_must_be_described_soundly() {
    const auto corrupt = gguf_check_kind::corrupt;
    expect([](B & b) { b.tensors.push_back(b.tensors[1]); }, corrupt, "appears twice");
    expect([](B & b) { b.tensors[0].name = ""; }, corrupt, "no proper name");
    expect([](B & b) { b.tensors[0].name = std::string(64, 'n'); }, corrupt, "the limit is 63");
    expect([](B & b) { b.tensors[0].dims = {}; }, corrupt, "0 dimensions");
    expect([](B & b) { b.tensors[0].dims = {1, 1, 1, 1, 1}; }, corrupt, "5 dimensions");
    expect([](B & b) { b.tensors[0].dims = {8, 0}; }, corrupt, "dimension 1 is 0");
    expect([](B & b) { b.tensors[0] = {"t", {8, -4}, GGML_TYPE_F32, -1, 0}; }, corrupt, "dimension 1 is -4");
    expect([](B & b) { b.tensors[0] = {"t", {1ll << 40, 1ll << 40}, GGML_TYPE_F32, -1, 0}; }, corrupt, "64 bits");
    expect([](B & b) { b.tensors[0] = {"t", {1ll << 31, 1ll << 31}, GGML_TYPE_F32, -1, 0}; }, corrupt, "64 bits");
    expect([](B & b) { b.tensors[0].type = GGML_TYPE_Q8_0; }, corrupt, "block size 32");
    expect([](B & b) { b.tensors[0].type = GGML_TYPE_COUNT; }, gguf_check_kind::unsupported_version, "unknown type");
    expect([](B & b) { b.tensors[0].type = -1; }, gguf_check_kind::unsupported_version, "unknown type");
    expect([](B & b) { b.tensors[0].type = 4; }, gguf_check_kind::unsupported_version, "no longer supports");
    expect([](B & b) { b.tensors[1].offset = 0; }, corrupt, "expected 128");
    expect([](B & b) { b.tensors[2].offset = 1 << 20; }, corrupt, "expected 160");
    expect([](B & b) { b.tensors = {}; }, corrupt, "no tensors");
    expect([](B & b) { b.tensors[1].type = GGML_TYPE_F16, b.tensors[1].bytes = 16; }, corrupt, "must be f32");
    expect([](B & b) { b.tensors[2].type = GGML_TYPE_I32; }, corrupt, "cannot hold weights");
}

void test_alignment_must_be_usable() {
    expect_key("general.alignment", B::u32(0), "not a power of two");
    expect_key("general.alignment", B::u32(48), "not a power of two");
    expect_key("general.alignment", B::raw<int32_t>(10) + B::raw<uint64_t>(32), "must be a u32");
    const auto aligned = [](uint32_t alignment) {
        return [alignment](B & b) { b.alignment = alignment, b.set("general.alignment", B::u32(alignment)); };
    };
    expect(aligned(64), gguf_check_kind::ok, "");
    expect(aligned(4096), gguf_check_kind::ok, "");
    // With 1, data starts right behind the header: make sure that this is not by chance a multiple of 32.
    gguf_builder b = valid_model();
    aligned(1)(b);
    b.set("general.name", B::string("x"));
    const gguf_check_result result = check_bytes(b.bytes());
    CHECK_CONTAINS(result.message, "aligned to 32 bytes");
}

void test_architecture_is_named() {
    expect([](B & b) { b.remove("general.architecture"); }, gguf_check_kind::corrupt, "'general.architecture'");
    expect([](B & b) { b.set("general.architecture", B::u32(1)); }, gguf_check_kind::corrupt, "not a string");
    expect([](B & b) { b.set("general.architecture", B::string("qwen99")); }, gguf_check_kind::unsupported_arch,
           "architecture 'qwen99' is not supported by this llama.cpp; similar: qwen, qwen2");
    expect([](B & b) { b.set("general.architecture", B::string("clip")); }, gguf_check_kind::unsupported_arch, "clip");
    CHECK(gguf_check_error_code(gguf_check_kind::unsupported_arch) == error_code::unsupported_arch);
    CHECK(gguf_check_error_code(gguf_check_kind::truncated) == error_code::model_load);
}

void test_hyper_parameters_that_abort_are_refused() {
    expect_key("llama.block_count", B::u32(0), "expected 1 to 512");
    expect_key("llama.block_count", B::u32(513), "expected 1 to 512");
    expect_key("llama.block_count", B::i32(2), "must be a u32");
    expect_key("llama.embedding_length", B::u32(0), "embedding_length");
    expect_key("llama.context_length", B::u32(0), "context_length");
    expect_key("llama.nextn_predict_layers", B::u32(2), "expected 0 to 1");
    expect_key("llama.attention.head_count_kv", B::u32(3), "not a multiple of 3 kv heads");
    expect_key("llama.attention.head_count", B::u32s({4}), "must be one integer or 2 of them");
    expect_key("llama.attention.key_length", B::u32(0), "key_length");
    expect_key("llama.rope.dimension_count", B::u32(3), "come in pairs");
    expect_key("llama.attention.key_length", B::u32(4), "needs one even size");
    expect_key("llama.attention.value_length", B::u32(4), "needs one even size");
    expect_key("llama.rope.dimension_count", B::u32(4), "needs one even size");
    expect_key("llama.embedding_length", B::u32(12), "needs one even size");
    expect_key("llama.rope.scaling.type", B::string("unknown"), "none, linear, yarn or longrope");
    expect_key("llama.attention.layer_norm_rms_epsilon", B::f32(-1), "layer_norm_rms_epsilon");
    expect_key("llama.attention.layer_norm_rms_epsilon", B::f32(NAN), "finite");
    expect_key("llama.rope.freq_base", B::f32(0), "> 0");
    expect_key("llama.attention.head_count", B::u32(0), "expected 1 to 8");
    expect_key("llama.full_attention_interval", B::u32(0), "full_attention_interval");
    expect_key("llama.wkv.head_size", B::u32(0), "wkv.head_size");
    expect_key("llama.expert_count", B::u32(1025), "expert_count");
    expect_key("llama.expert_count", B::u32(8), "expert_used_count");
    expect_key("llama.expert_used_count", B::u32(2), "expert_used_count");
    expect_key("llama.expert_group_count", B::u32(2), "expert_group_count");
    expect([](B & b) { b.remove("llama.block_count"); }, gguf_check_kind::corrupt, "is missing");
    expect([](B & b) { b.set("llama.attention.head_count_kv", B::u32s({4, 0})); }, gguf_check_kind::ok, "");
}

// The valid model under another architecture's name.
void rename_architecture(gguf_builder & b, const std::string & name) {
    for (auto & entry : b.values) {
        if (entry.first.compare(0, 6, "llama.") == 0) {
            entry.first = name + entry.first.substr(5);
        }
    }
    b.set("general.architecture", B::string(name));
}

void test_rules_of_single_architectures() {
    const auto corrupt = gguf_check_kind::corrupt;
    expect([](B & b) { rename_architecture(b, "gpt2"); }, gguf_check_kind::ok, "");
    expect([](B & b) { rename_architecture(b, "mamba2"); }, corrupt, "'mamba2.ssm.group_count' is missing");
    expect([](B & b) { rename_architecture(b, "smallthinker"); }, corrupt, "'smallthinker.expert_count' is missing");
    expect([](B & b) { rename_architecture(b, "qwen2vl"); }, corrupt, "rope.dimension_sections");
    expect([](B & b) { rename_architecture(b, "phi3"); }, corrupt, "has neither 'blk.0.attn_qkv.weight' nor q, k and v");
    const auto sections = [](std::vector<uint32_t> items) {
        return [items](B & b) {
            rename_architecture(b, "qwen2vl");
            b.set("qwen2vl.rope.dimension_sections", B::u32s(items));
        };
    };
    expect(sections({0, 0, 0, 1}), corrupt, "one of the first 3 positive");
    expect(sections({1, 1, 0}), corrupt, "4 integers");
    expect(sections({1, 0, 0, 0}), gguf_check_kind::ok, "");
}

void test_vocabulary_that_aborts_is_refused() {
    const auto byte_token = [](const char * tokenizer) {
        return [tokenizer](B & b) {
            b.set("tokenizer.ggml.model", B::string(tokenizer));
            b.set("tokenizer.ggml.token_type",
                  B::raw<int32_t>(9) + B::raw<int32_t>(5) + B::raw<uint64_t>(2) + B::raw<int32_t>(1) + B::raw<int32_t>(6));
        };
    };
    expect(byte_token("bert"), gguf_check_kind::corrupt, "token 1 is a byte token");
    expect(byte_token("llama"), gguf_check_kind::ok, "");
    expect_key("tokenizer.ggml.tokens", B::strings({"a", "b", "a"}), "token 2 of the vocabulary repeats");
    expect_key("tokenizer.ggml.tokens", B::strings({std::string("a\0x", 3), std::string("a\0y", 3)}), "repeats");
    expect_key("tokenizer.ggml.tokens", B::strings({"[EMPTY_1]", ""}), "token 1 of the vocabulary repeats");
    expect_key("tokenizer.ggml.tokens", B::u32s({1, 2}), "array of strings");
    expect_key("tokenizer.ggml.tokens", B::strings({}), "expected 1 to");
    expect_key("llama.vocab_size", B::u32(0xffffffff), "vocab_size");
    expect([](B & b) { b.set("tokenizer.ggml.tokens", B::strings({"", "a", "b", "c"})); }, gguf_check_kind::ok, "");
}

void write_file(const std::string & path, const std::string & bytes) {
    std::FILE * file = std::fopen(path.c_str(), "wb");
    if (CHECK(file != nullptr)) {
        std::fwrite(bytes.data(), 1, bytes.size(), file);
        std::fclose(file);
    }
}

// Part `part` (from 0) of a model in two parts.
gguf_builder split_part(int part) {
    gguf_builder b = valid_model();
    if (part == 1) {
        b.values.clear();
        b.tensors = {{"output.weight", {8, 4}}};
    }
    b.set("split.no", B::u16(static_cast<uint16_t>(part)));
    b.set("split.count", B::u16(2));
    b.set("split.tensors.count", B::i32(4));
    return b;
}

void test_split_models() {
    const std::string prefix = "test_gguf_check_split";
    const std::string first = prefix + "-00001-of-00002.gguf";
    const std::string second = prefix + "-00002-of-00002.gguf";
    write_file(first, split_part(0).bytes());
    std::remove(second.c_str());
    gguf_check_result result = gguf_check(first);
    CHECK(result.kind == gguf_check_kind::missing_split);
    CHECK_CONTAINS(result.message, "part '" + second + "' cannot be opened");

    write_file(second, split_part(1).bytes());
    result = gguf_check(first);
    CHECK_EQ(result.message, std::string());
    CHECK_EQ(result.files.size(), size_t(2));
    CHECK_EQ(result.tensor_count, uint64_t(4));

    CHECK_CONTAINS(gguf_check(second).message, "name the first part");
    write_file(second, split_part(0).bytes());
    CHECK_CONTAINS(gguf_check(first).message, "it says that it is part 1");
    gguf_builder wrong = split_part(1);
    wrong.set("split.no", B::u32(1));  // llama.cpp aborts on this one
    write_file(second, wrong.bytes());
    CHECK_CONTAINS(gguf_check(first).message, "must be a u16");
    wrong = split_part(1);
    wrong.tensors[0].name = "output_norm.weight";
    write_file(second, wrong.bytes());
    CHECK_CONTAINS(gguf_check(first).message, "is in two parts");
    const std::string whole = split_part(1).bytes();
    write_file(second, whole.substr(0, whole.size() - 1));
    CHECK(gguf_check(first).kind == gguf_check_kind::truncated);
    write_file(prefix + ".gguf", split_part(0).bytes());
    CHECK_CONTAINS(gguf_check(prefix + ".gguf").message, "must end in '-00001-of-00002.gguf'");
    for (const std::string & path : {first, second, prefix + ".gguf"}) {
        std::remove(path.c_str());
    }
}

void test_unreadable_paths() {
    CHECK(gguf_check("no/such/file.gguf").kind == gguf_check_kind::io);
    CHECK_CONTAINS(gguf_check("no/such/file.gguf").message, "'no/such/file.gguf'");
    CHECK_CONTAINS(gguf_check(".").message, "not a regular file");
    CHECK(gguf_check("").kind == gguf_check_kind::io);
}

// The list must fit the library that is linked: a renamed or dropped architecture no longer occurs in its strings.
void test_architectures_occur_in_the_library() {
#ifndef _WIN32
    Dl_info info;
    if (!CHECK(dladdr(reinterpret_cast<const void *>(&llama_model_default_params), &info) != 0)) {
        return;
    }
    std::FILE * file = std::fopen(info.dli_fname, "rb");
    if (!CHECK(file != nullptr)) {
        return;
    }
    std::string library;
    std::vector<char> chunk(1 << 20);
    for (size_t got; (got = std::fread(chunk.data(), 1, chunk.size(), file)) > 0;) {
        library.append(chunk.data(), got);
    }
    std::fclose(file);
    for (const std::string & name : gguf_architectures()) {
        // Linkers merge strings with a common end, so only the end is certain to be marked.
        check_record(library.find(name + '\0') != std::string::npos, __FILE__, __LINE__, name + " is in the library");
    }
    CHECK(library.find(std::string("qwen99") + '\0') == std::string::npos);
#endif
}

}  // namespace

int main() {
    RUN(test_valid_model_passes_with_its_facts);
    RUN(test_other_files_are_not_gguf);
    RUN(test_every_truncation_is_noticed);
    RUN(test_counts_and_lengths_are_bounded);
    RUN(test_tensors_must_be_described_soundly);
    RUN(test_alignment_must_be_usable);
    RUN(test_architecture_is_named);
    RUN(test_hyper_parameters_that_abort_are_refused);
    RUN(test_rules_of_single_architectures);
    RUN(test_vocabulary_that_aborts_is_refused);
    RUN(test_split_models);
    RUN(test_unreadable_paths);
    RUN(test_architectures_occur_in_the_library);
    return check_report();
}
