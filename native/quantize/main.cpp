// rewardlens-quantize: llama.cpp's own quantizer, in a process that may die or be killed.
//
//     rewardlens-quantize INPUT OUTPUT TYPE THREADS REQUANTIZE(0|1)
//
// llama_model_quantize cannot be interrupted and aborts on some files, so it runs here: whoever started it kills it and
// removes OUTPUT. Stdout carries JSON lines: {"done":3,"total":30} for every tensor, then one result with "ok".
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#ifndef _WIN32
#include <sys/resource.h>
#endif

#include "ggml.h"
#include "gguf.h"
#include "llama.h"

namespace {

// Types that need no importance matrix.
const std::map<std::string, llama_ftype> TYPES = {
    {"F32", LLAMA_FTYPE_ALL_F32},           {"F16", LLAMA_FTYPE_MOSTLY_F16},       {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
    {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},      {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},     {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S},  {"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},     {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},  {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S}, {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},      {"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL}, {"IQ4_XS", LLAMA_FTYPE_MOSTLY_IQ4_XS},
    {"Q3_K_L", LLAMA_FTYPE_MOSTLY_Q3_K_L},  {"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M}, {"Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S},
    {"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K},
};

std::string g_problem;  // of the last error that llama.cpp logged
std::string g_line;     // what of a log line has come so far
int g_fallbacks = 0;

std::string quoted(const std::string & text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') {
            out += '\\';
        }
        out += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return out + "\"";
}

void say(const std::string & json) {
    std::fputs((json + "\n").c_str(), stdout);
    std::fflush(stdout);
}

// llama.cpp tells of its progress only in its log: "[   3/  30] blk.0.attn_q.weight - …".
void listen(ggml_log_level level, const char * text, void * /*user_data*/) {
    if (level == GGML_LOG_LEVEL_ERROR) {
        g_problem = text;
    }
    g_line += text;
    int done = 0;
    int total = 0;
    if (std::sscanf(g_line.c_str(), "[%d/%d]", &done, &total) == 2) {
        say("{\"done\":" + std::to_string(done) + ",\"total\":" + std::to_string(total) + "}");
        g_line.clear();
    }
    if (std::strstr(text, "falling back to") != nullptr) {
        ++g_fallbacks;
    }
    if (std::strchr(text, '\n') != nullptr) {
        g_line.clear();
    }
}

int refuse(const std::string & message) {
    say("{\"ok\":false,\"message\":" + quoted(message) + "}");
    return 1;
}

std::string describe_tensors(const char * path) {
    struct Share {
        size_t count = 0;
        size_t bytes = 0;
    };
    std::map<std::string, Share> shares;
    gguf_init_params params = {/* no_alloc */ true, /* ctx */ nullptr};
    gguf_context * file = gguf_init_from_file(path, params);
    for (int64_t i = 0; file != nullptr && i < gguf_get_n_tensors(file); ++i) {
        Share & share = shares[ggml_type_name(gguf_get_tensor_type(file, i))];
        ++share.count;
        share.bytes += gguf_get_tensor_size(file, i);
    }
    gguf_free(file);
    std::string out;
    for (const auto & entry : shares) {
        out += (out.empty() ? "" : ",") + ("{\"type\":" + quoted(entry.first)) + ",\"count\":" + std::to_string(entry.second.count) +
               ",\"bytes\":" + std::to_string(entry.second.bytes) + "}";
    }
    return "[" + out + "]";
}

}  // namespace

int main(int argc, char ** argv) {
    const auto type = argc == 6 ? TYPES.find(argv[3]) : TYPES.end();
    if (type == TYPES.end()) {
        return refuse("usage: rewardlens-quantize INPUT OUTPUT TYPE THREADS REQUANTIZE(0|1)");
    }
#ifndef _WIN32
    const rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
#endif
    llama_log_set(listen, nullptr);
    llama_backend_init();
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = type->second;
    params.nthread = std::atoi(argv[4]);
    params.allow_requantize = std::strcmp(argv[5], "1") == 0;
    if (llama_model_quantize(argv[1], argv[2], &params) != 0) {
        return refuse(g_problem.empty() ? "llama.cpp gave no reason" : g_problem);
    }
    say("{\"ok\":true,\"fallbacks\":" + std::to_string(g_fallbacks) + ",\"tensors\":" + describe_tensors(argv[2]) + "}");
    return 0;
}
