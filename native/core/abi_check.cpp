#include "abi_check.h"

#include <cstddef>
#include <cstring>
#include <new>

#include "build_info.h"
#include "ggml.h"
#include "llama.h"

namespace rewardlens {

namespace {

// "0.5.0-dev" and "v0.5.0" → "0.5.0"
std::string base_version(const char * text) {
    std::string version = text == nullptr ? "" : text;
    if (!version.empty() && version[0] == 'v') {
        version.erase(0, 1);
    }
    return version.substr(0, version.find('-'));
}

std::string version_mismatch(const char * what, const char * loaded, const char * compiled) {
    if (base_version(loaded) == base_version(compiled)) {
        return "";
    }
    return std::string("the loaded ") + what + " is " + (loaded == nullptr ? "of unknown version" : loaded) +
           ", this build needs " + compiled + " (llama.cpp release " REWARDLENS_LLAMA_RELEASE ")";
}

// Size measurement works where a large struct is returned through a pointer to the caller's memory and calling
// through a pointer to a function with a larger result is harmless: the System V, AArch64 and Arm conventions.
#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__GNUC__) && !defined(_WIN32)
#define REWARDLENS_MEASURE_STRUCTS 1

constexpr size_t SLACK_BYTES = 1024;

template <typename T>
struct oversized {
    T value;
    unsigned char slack[SLACK_BYTES];
};

// One past the last byte that `function` writes into its result, found by filling the buffer with `pattern` before.
template <typename T, typename... Args>
size_t written_bytes(T (*function)(Args...), unsigned char pattern, Args... args) {
    alignas(oversized<T>) static thread_local unsigned char buffer[sizeof(oversized<T>)];
    std::memset(buffer, pattern, sizeof(buffer));
    unsigned char * address = buffer;
    asm volatile("" : "+r"(address) : : "memory");  // the fill must not be optimized away
    auto wide = reinterpret_cast<oversized<T> (*)(Args...)>(reinterpret_cast<void *>(function));
    new (address) oversized<T>(wide(args...));  // C++17 constructs the result in place
    asm volatile("" : "+r"(address) : : "memory");
    size_t end = sizeof(buffer);
    while (end > 0 && address[end - 1] == pattern) {
        --end;
    }
    return end;
}

template <typename T, typename... Args>
std::string size_mismatch(const char * what, T (*function)(Args...), Args... args) {
    // Two patterns, because a written byte can equal one of them.
    const size_t first = written_bytes(function, 0xA5, args...);
    const size_t second = written_bytes(function, 0x5A, args...);
    const size_t written = first > second ? first : second;
    const size_t size = (written + alignof(T) - 1) / alignof(T) * alignof(T);  // trailing padding is not written
    if (size == sizeof(T)) {
        return "";
    }
    return std::string("struct ") + what + " has " + std::to_string(size) + " bytes in the loaded llama.cpp and " +
           std::to_string(sizeof(T)) + " in the headers of release " REWARDLENS_LLAMA_RELEASE;
}
#endif

std::string struct_mismatch() {
    std::string problem;
#ifdef REWARDLENS_MEASURE_STRUCTS
    problem = size_mismatch("llama_model_params", llama_model_default_params);
    if (problem.empty()) {
        problem = size_mismatch("llama_context_params", llama_context_default_params);
    }
    if (problem.empty()) {
        problem = size_mismatch<llama_batch, llama_token *, int32_t>("llama_batch", llama_batch_get_one, nullptr, 0);
    }
#endif
    // ggml adds its private ggml_object to this: two sizes, a pointer, an enum and its padding.
    const size_t object = 2 * sizeof(size_t) + sizeof(void *) + 8;
    if (problem.empty() && ggml_tensor_overhead() != sizeof(ggml_tensor) + object) {
        problem = "struct ggml_tensor has " + std::to_string(ggml_tensor_overhead() - object) +
                  " bytes in the loaded ggml and " + std::to_string(sizeof(ggml_tensor)) + " in the headers of release " +
                  REWARDLENS_LLAMA_RELEASE;
    }
    return problem;
}

std::string name_mismatch(const char * what, const char * loaded, const char * expected) {
    if (loaded != nullptr && std::strcmp(loaded, expected) == 0) {
        return "";
    }
    return std::string(what) + " " + expected + " of the headers is " + (loaded == nullptr ? "unknown" : loaded) +
           " in the loaded ggml";
}

// Enumerators that sites and captures rely on; an insertion in the middle of the enum shifts the later ones.
std::string enum_mismatch() {
    std::string problem = name_mismatch("operation", ggml_op_name(GGML_OP_MUL_MAT), "MUL_MAT");
    if (problem.empty()) {
        problem = name_mismatch("operation", ggml_op_name(GGML_OP_GLU), "GLU");
    }
    if (problem.empty()) {
        problem = name_mismatch("type", ggml_type_name(GGML_TYPE_BF16), "bf16");
    }
    return problem;
}

}  // namespace

std::string abi_mismatch() {
    std::string problem = version_mismatch("llama.cpp", llama_version(), REWARDLENS_LLAMA_VERSION);
    if (problem.empty()) {
        problem = version_mismatch("ggml", ggml_version(), REWARDLENS_GGML_VERSION);
    }
    if (problem.empty()) {
        problem = struct_mismatch();
    }
    if (problem.empty()) {
        problem = enum_mismatch();
    }
    return problem;
}

}  // namespace rewardlens
