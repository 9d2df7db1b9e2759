#include "gguf_rules.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <unordered_set>

#include "ggml.h"
#include "gguf_arch.h"
#include "gguf_arch_rules.h"
#include "gguf_values.h"

namespace rewardlens {

namespace {

constexpr int64_t max_layers = 512;    // LLAMA_MAX_LAYERS, src/llama-hparams.h
constexpr int64_t max_experts = 1024;  // LLAMA_MAX_EXPERTS
constexpr int64_t max_width = 1 << 20;
constexpr int64_t max_vocabulary = 1 << 22;  // the largest published vocabularies have about 2^18 entries

// src/llama-model.cpp, load_hparams: the GGML_ASSERTs about layers and experts.
void check_experts(const gguf_metadata & metadata, const std::string & arch, int64_t layers) {
    const std::string key = arch + ".expert_used_count";
    const int64_t experts = read_count(metadata, arch + ".expert_count", 0);
    require_range(arch + ".expert_count", experts, 0, max_experts);
    const auto used = read_layer_counts(metadata, key, layers);
    const int64_t used_max = used.empty() ? 0 : *std::max_element(used.begin(), used.end());
    const int64_t groups = read_count(metadata, arch + ".expert_group_count", 0);
    const int64_t groups_used = read_count(metadata, arch + ".expert_group_used_count", 0);
    for (const int64_t count : used) {
        require_range(key, count, 0, experts);
    }
    if (experts == 0) {
        require_range(arch + ".expert_group_count", groups, 0, 0);
        return;
    }
    if (experts > 1 || metadata.find(key) != nullptr) {
        require_range(key, used_max, 1, experts);
    }
    require_range(arch + ".expert_group_count", groups, 0, experts - 1);
    if (groups > 1) {
        if (experts % groups != 0) {
            fail_corrupt("key '" + arch + ".expert_group_count' is " + std::to_string(groups) +
                         ", which does not divide the " + std::to_string(experts) + " experts");
        }
        require_range(arch + ".expert_group_used_count", groups_used, 1, groups - 1);
    }
}

void check_heads(const gguf_metadata & metadata, const std::string & arch, int64_t layers, int64_t width) {
    const std::string key = arch + ".attention.head_count";
    const auto heads = read_layer_counts(metadata, key, layers);
    auto kv_heads = read_layer_counts(metadata, key + "_kv", layers);
    if (kv_heads.empty()) {
        kv_heads = heads;
    }
    for (size_t layer = 0; layer < heads.size() && layer < kv_heads.size(); ++layer) {
        require_range(key, heads[layer], 0, width);
        require_range(key + "_kv", kv_heads[layer], 0, width);
        // Layers without attention have 0; elsewhere the kv heads are broadcast over the heads.
        if (heads[layer] > 0 && kv_heads[layer] > 0 && heads[layer] % kv_heads[layer] != 0) {
            fail_corrupt("layer " + std::to_string(layer) + ": " + std::to_string(heads[layer]) +
                         " attention heads are not a multiple of " + std::to_string(kv_heads[layer]) + " kv heads");
        }
    }
    for (const char * name : {".attention.key_length", ".attention.value_length", ".attention.key_length_swa",
                              ".attention.value_length_swa"}) {
        require_range(arch + name, read_count(metadata, arch + name, 1), 1, max_width);
    }
    for (const char * name : {".rope.dimension_count", ".rope.dimension_count_swa"}) {
        const int64_t count = read_count(metadata, arch + name, 2);
        require_range(arch + name, count, 0, max_width);
        if (count % 2 != 0) {
            fail_corrupt("key '" + arch + name + "' is " + std::to_string(count) + "; rotary dimensions come in pairs");
        }
    }
}

void require_real(const gguf_metadata & metadata, const std::string & key, bool positive) {
    const gguf_value * value = metadata.find(key);
    if (value == nullptr) {
        return;
    }
    if (value->type != gguf_value_type::f32) {
        fail_corrupt("key '" + key + "' must be an f32, is " + gguf_value_type_name(value->type));
    }
    if (!std::isfinite(value->real) || value->real < 0 || (positive && value->real == 0)) {
        fail_corrupt("key '" + key + "' is " + std::to_string(value->real) + "; expected a finite number " +
                     (positive ? "> 0" : ">= 0"));
    }
}

// The norm operators assert eps >= 0 while they compute (ggml/src/ggml-cpu/ops.cpp); the rest makes only NaNs.
void check_reals(const gguf_metadata & metadata, const std::string & arch) {
    for (const char * name : {".attention.layer_norm_epsilon", ".attention.layer_norm_rms_epsilon",
                              ".attention.group_norm_epsilon", ".rope.scaling.factor", ".rope.scale_linear"}) {
        require_real(metadata, arch + name, false);
    }
    for (const char * name : {".rope.freq_base", ".rope.freq_base_swa"}) {
        require_real(metadata, arch + name, true);
    }
    const gguf_value * scaling = metadata.find(arch + ".rope.scaling.type");
    static const std::set<std::string> scaling_types = {"none", "linear", "yarn", "longrope"};
    if (scaling != nullptr && (scaling->type != gguf_value_type::string || scaling_types.count(scaling->text) == 0)) {
        fail_corrupt("key '" + arch + ".rope.scaling.type' must be none, linear, yarn or longrope");
    }
}

bool ends_with(const std::string & text, const std::string & end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

bool has_type(const gguf_tensor & tensor, std::initializer_list<ggml_type> types) {
    return std::find(types.begin(), types.end(), static_cast<ggml_type>(tensor.type)) != types.end();
}

// "blk.12.attn_q.weight" → "attn_q.weight"; other names unchanged.
std::string without_layer(const std::string & name) {
    if (name.compare(0, 4, "blk.") != 0) {
        return name;
    }
    const size_t dot = name.find('.', 4);
    return dot == std::string::npos ? name : name.substr(dot + 1);
}

}  // namespace

std::string check_gguf_architecture(const gguf_metadata & metadata) {
    const gguf_value * value = metadata.find("general.architecture");
    if (value == nullptr || value->type != gguf_value_type::string || value->text.empty()) {
        fail_corrupt("key 'general.architecture' is missing or not a string: no model, or not a language model");
    }
    if (gguf_is_supported_architecture(value->text)) {
        return value->text;
    }
    std::string name;
    for (const char byte : value->text.substr(0, 64)) {
        name += byte >= 32 && byte < 127 ? byte : '?';
    }
    std::string message = "architecture '" + name + "' is not supported by this llama.cpp";
    const auto similar = gguf_similar_architectures(value->text);
    for (size_t i = 0; i < similar.size(); ++i) {
        message += (i == 0 ? "; similar: " : ", ") + similar[i];
    }
    throw gguf_failure(gguf_check_kind::unsupported_arch, message);
}

void check_gguf_hyper_parameters(const gguf_metadata & metadata, const std::string & arch) {
    const int64_t layers = require_count(metadata, arch + ".block_count", 1, max_layers);
    const int64_t width = require_count(metadata, arch + ".embedding_length", 1, max_width);
    require_count(metadata, arch + ".context_length", 1, 1ll << 31);
    require_range(arch + ".nextn_predict_layers", read_count(metadata, arch + ".nextn_predict_layers", 0), 0,
                  layers - 1);
    for (const int64_t count : read_layer_counts(metadata, arch + ".feed_forward_length", layers)) {
        require_range(arch + ".feed_forward_length", count, 0, 1ll << 28);
    }
    check_heads(metadata, arch, layers, width);
    check_gguf_architecture_rules(metadata, arch, layers, width);
    check_experts(metadata, arch, layers);
    check_reals(metadata, arch);
}

void check_gguf_tensor_types(const gguf_metadata & metadata) {
    static const std::set<std::string> matrices = {
        "token_embd.weight", "output.weight",   "attn_q.weight",   "attn_k.weight",   "attn_v.weight",
        "attn_qkv.weight",   "attn_output.weight", "ffn_up.weight", "ffn_gate.weight", "ffn_down.weight",
        "ffn_up_exps.weight", "ffn_gate_exps.weight", "ffn_down_exps.weight",
    };
    for (const gguf_tensor & tensor : metadata.tensors) {
        const std::string name = without_layer(tensor.name);
        const auto type = static_cast<ggml_type>(tensor.type);
        // Multiplied with or added to f32 activations: binary_op aborts on every other type.
        const bool vector = ends_with(name, ".bias") || ends_with(name, "norm.weight") || name == "rope_freqs.weight";
        if (vector && type != GGML_TYPE_F32) {
            fail_corrupt("tensor '" + tensor.name + "' must be f32, is " + ggml_type_name(type));
        }
        // Types without a dot product or row conversion: the CPU backend calls a null function.
        const bool integers = has_type(
            tensor, {GGML_TYPE_I8, GGML_TYPE_I16, GGML_TYPE_I32, GGML_TYPE_I64, GGML_TYPE_F64});
        const bool intermediate = has_type(tensor, {GGML_TYPE_Q8_1, GGML_TYPE_Q8_K});  // of activations only
        if (intermediate || (integers && matrices.count(name) > 0)) {
            fail_corrupt("tensor '" + tensor.name + "' has type " + ggml_type_name(type) +
                         ", which cannot hold weights");
        }
    }
}

namespace {

// The text of a byte token is looked up while loading; for these tokenizers token_to_byte aborts
// (src/llama-vocab.cpp).
void check_byte_tokens(gguf_source & source, const gguf_metadata & metadata) {
    static const std::set<std::string> without_bytes = {"bert", "rwkv", "test"};
    constexpr int32_t byte_token = 6;  // LLAMA_TOKEN_TYPE_BYTE
    const gguf_value * tokenizer = metadata.find("tokenizer.ggml.model");
    const gguf_value * types = metadata.find("tokenizer.ggml.token_type");
    if (tokenizer == nullptr || types == nullptr || without_bytes.count(tokenizer->text) == 0 ||
        types->type != gguf_value_type::array || types->element_type != gguf_value_type::i32) {
        return;
    }
    gguf_reader reader(source);
    reader.seek(types->data_offset, "the token types");
    for (uint64_t i = 0; i < types->count; ++i) {
        if (reader.read<int32_t>("a token type") == byte_token) {
            fail_corrupt("token " + std::to_string(i) + " is a byte token, which tokenizer '" + tokenizer->text +
                         "' does not have");
        }
    }
}

}  // namespace

uint64_t gguf_vocabulary_size(const gguf_metadata & metadata, const std::string & arch) {
    const gguf_value * tokens = metadata.find("tokenizer.ggml.tokens");
    if (tokens != nullptr && tokens->type == gguf_value_type::array) {
        return tokens->count;
    }
    const gguf_value * size = metadata.find(arch + ".vocab_size");
    if (size != nullptr && size->type == gguf_value_type::u32) {
        return static_cast<uint64_t>(size->integer);
    }
    const gguf_tensor * embeddings = metadata.find_tensor("token_embd.weight");
    return embeddings == nullptr ? 0 : static_cast<uint64_t>(embeddings->dims[1]);
}

void check_gguf_vocabulary(gguf_source & source, const gguf_metadata & metadata, const std::string & arch) {
    require_range(arch + ".vocab_size", read_count(metadata, arch + ".vocab_size", 1), 1, max_vocabulary);
    const gguf_value * tokens = metadata.find("tokenizer.ggml.tokens");
    if (tokens == nullptr) {
        return;  // "no_vocab", or llama.cpp reports it
    }
    if (tokens->type != gguf_value_type::array || tokens->element_type != gguf_value_type::string) {
        fail_corrupt("key 'tokenizer.ggml.tokens' must be an array of strings");
    }
    require_range("tokenizer.ggml.tokens", static_cast<int64_t>(tokens->count), 1, max_vocabulary);
    check_byte_tokens(source, metadata);
    gguf_reader reader(source);
    reader.seek(tokens->data_offset, "the token list");
    std::unordered_set<std::string> seen;
    seen.reserve(static_cast<size_t>(tokens->count));
    for (uint64_t i = 0; i < tokens->count; ++i) {
        std::string token = reader.read_string(1 << 20, "a token");
        token.resize(std::min(token.size(), token.find('\0')));  // llama.cpp takes it as a C string
        if (token.empty()) {
            token = "[EMPTY_" + std::to_string(i) + "]";  // its name for it
        }
        if (!seen.insert(std::move(token)).second) {
            fail_corrupt("token " + std::to_string(i) + " of the vocabulary repeats an earlier token");
        }
    }
}

}  // namespace rewardlens
