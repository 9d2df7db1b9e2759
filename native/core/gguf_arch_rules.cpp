#include "gguf_arch_rules.h"

#include <algorithm>
#include <set>
#include <vector>

#include "gguf_values.h"

namespace rewardlens {

namespace {

// Graph builders that assert one head size for keys, values and rotation (src/models/<name>.cpp, v0.5.0).
const std::set<std::string> uniform_head_architectures = {
    "arcee", "baichuan", "exaone", "granite", "internlm2", "llama", "mistral3", "olmo", "olmo2", "olmoe", "qwen2",
    "qwen2moe", "qwen3", "qwen3moe", "seed_oss", "smollm3", "starcoder2", "xverse",
};

// Architectures whose rotation always takes sections (llama_model_rope_type); the operator asserts that one is positive.
const std::set<std::string> sectioned_rope_architectures = {
    "paddleocr", "qwen2vl", "qwen35", "qwen35moe", "qwen3vl", "qwen3vlmoe",
};

void check_rotation_sections(const gguf_metadata & metadata, const std::string & arch) {
    if (sectioned_rope_architectures.count(arch) == 0) {
        return;
    }
    const gguf_value * sections = metadata.find(arch + ".rope.dimension_sections");
    const bool scalar = sections != nullptr && sections->type != gguf_value_type::array && sections->integer > 0;
    const bool array = sections != nullptr && sections->integers.size() == 4 &&
                       std::any_of(sections->integers.begin(), sections->integers.begin() + 3,
                                   [](int64_t section) { return section > 0; });
    if (!scalar && !array) {
        fail_corrupt("key '" + arch + ".rope.dimension_sections' must be 4 integers, one of the first 3 positive");
    }
}

void check_head_sizes(const gguf_metadata & metadata, const std::string & arch, int64_t layers, int64_t width) {
    const auto heads = read_layer_counts(metadata, arch + ".attention.head_count", layers);
    const bool divides = uniform_head_architectures.count(arch) > 0 || arch == "phimoe";  // n_embd / n_head
    if (divides) {
        require_range(arch + ".attention.head_count", heads.empty() ? 0 : heads[0], 1, width);
    }
    if (uniform_head_architectures.count(arch) == 0) {
        return;
    }
    const int64_t key_size = read_count(metadata, arch + ".attention.key_length", width / heads[0]);
    const int64_t value_size = read_count(metadata, arch + ".attention.value_length", width / heads[0]);
    const int64_t rotated = read_count(metadata, arch + ".rope.dimension_count", key_size);
    if (key_size != value_size || key_size != rotated || key_size % 2 != 0) {
        fail_corrupt("attention heads have key size " + std::to_string(key_size) + ", value size " +
                     std::to_string(value_size) + " and rotate " + std::to_string(rotated) + " dimensions; " + arch +
                     " needs one even size");
    }
}

// Counts that must be positive; where `architectures` is empty, for every architecture that has the key.
struct positive_rule {
    const char * key;
    std::set<std::string> architectures;  // for these the key must also be there
};

const std::vector<positive_rule> & positive_rules() {
    static const std::vector<positive_rule> rules = {
        {".full_attention_interval", {}},       // il % interval
        {".wkv.head_size", {}},                 // n_embd / head_size
        {".attention.output_group_count", {}},  // n_head * n_embd_head / groups
        {".ssm.group_count", {"falcon-h1", "granitehybrid", "mamba2", "nemotron_h", "nemotron_h_moe"}},
        {".expert_count", {"bailingmoe2", "glm4moe", "grovemoe", "llada-moe", "qwen2moe", "qwen35moe", "qwen3moe",
                           "qwen3next", "qwen3vlmoe", "qwen4exp", "rnd1", "smallthinker"}},
        {".experts_per_group", {"grovemoe"}},
        {".attention.indexer.block_size", {"minimax-m3"}},
    };
    return rules;
}

void check_positive(const gguf_metadata & metadata, const std::string & arch) {
    constexpr int64_t no_limit = 0xffffffff;
    for (const positive_rule & rule : positive_rules()) {
        const std::string key = arch + rule.key;
        if (rule.architectures.count(arch) > 0) {
            require_count(metadata, key, 1, no_limit);
        } else if (rule.architectures.empty()) {
            require_range(key, read_count(metadata, key, 1), 1, no_limit);
        }
    }
}

// phi3 takes attention weights fused or apart and requires neither; without both the graph builder reads a null pointer.
void check_phi3_attention(const gguf_metadata & metadata, const std::string & arch, int64_t layers) {
    if (arch != "phi3" || metadata.find("split.count") != nullptr) {
        return;  // of a split model, only the first part is at hand here
    }
    for (int64_t layer = 0; layer < layers; ++layer) {
        const std::string prefix = "blk." + std::to_string(layer) + ".attn_";
        const auto has = [&](const char * name) { return metadata.find_tensor(prefix + name) != nullptr; };
        if (!has("qkv.weight") && !(has("q.weight") && has("k.weight") && has("v.weight"))) {
            fail_corrupt("layer " + std::to_string(layer) + " has neither '" + prefix + "qkv.weight' nor q, k and v");
        }
    }
}

}  // namespace

void check_gguf_architecture_rules(const gguf_metadata & metadata, const std::string & arch, int64_t layers,
                                   int64_t width) {
    check_positive(metadata, arch);
    check_rotation_sections(metadata, arch);
    check_head_sizes(metadata, arch, layers, width);
    check_phi3_attention(metadata, arch, layers);
}

}  // namespace rewardlens
