// abi_check accepts the libraries of this build and names both sides when one of its facts differs. The differing
// library is played by functions put in front of llama.cpp's before abi_check.cpp is compiled into this program.
#include "abi_check.h"

#include <cstring>
#include <string>

#include "build_info.h"
#include "check.h"
#include "ggml.h"
#include "llama.h"

namespace {

const char * loaded_llama_version() { return llama_version(); }
const char * loaded_ggml_version() { return ggml_version(); }
llama_context_params loaded_context_params() { return llama_context_default_params(); }
size_t loaded_tensor_overhead() { return ggml_tensor_overhead(); }
const char * loaded_op_name(ggml_op op) { return ggml_op_name(op); }

// A release whose llama_context_params has grown.
struct grown_context_params {
    llama_context_params known;
    long long added[3];
};

grown_context_params grown_params() {
    grown_context_params params;
    std::memset(&params, 1, sizeof(params));
    return params;
}

// A release whose llama_context_params has shrunk by its last 16 bytes.
struct shrunk_context_params {
    alignas(llama_context_params) unsigned char bytes[sizeof(llama_context_params) - 16];
};

shrunk_context_params shrunk_params() {
    shrunk_context_params params;
    std::memset(&params, 1, sizeof(params));
    return params;
}

template <typename Function>
auto as_context_params(Function * function) {
    return reinterpret_cast<llama_context_params (*)()>(reinterpret_cast<void *>(function));
}

// What the "loaded library" of the running test answers.
const char * (*g_llama_version)() = loaded_llama_version;
const char * (*g_ggml_version)() = loaded_ggml_version;
llama_context_params (*g_context_params)() = loaded_context_params;
size_t (*g_tensor_overhead)() = loaded_tensor_overhead;
const char * (*g_op_name)(ggml_op) = loaded_op_name;

void reset() {
    g_llama_version = loaded_llama_version;
    g_ggml_version = loaded_ggml_version;
    g_context_params = loaded_context_params;
    g_tensor_overhead = loaded_tensor_overhead;
    g_op_name = loaded_op_name;
}

}  // namespace

#define llama_version g_llama_version
#define ggml_version g_ggml_version
#define llama_context_default_params g_context_params
#define ggml_tensor_overhead g_tensor_overhead
#define ggml_op_name g_op_name
#include "../core/abi_check.cpp"
#undef llama_version
#undef ggml_version
#undef llama_context_default_params
#undef ggml_tensor_overhead
#undef ggml_op_name

static void test_libraries_of_this_build_fit() {
    reset();
    CHECK_EQ(rewardlens::abi_mismatch(), std::string());
    CHECK_EQ(std::string(REWARDLENS_LLAMA_RELEASE), "v" REWARDLENS_LLAMA_VERSION);
}

static void test_other_llama_release_is_named() {
    reset();
    g_llama_version = [] { return "0.6.1-dev"; };
    CHECK_CONTAINS(rewardlens::abi_mismatch(), "0.6.1-dev");
    CHECK_CONTAINS(rewardlens::abi_mismatch(), REWARDLENS_LLAMA_RELEASE);
}

static void test_other_ggml_release_is_named() {
    reset();
    g_ggml_version = [] { return "9.9.9"; };
    CHECK_CONTAINS(rewardlens::abi_mismatch(), "the loaded ggml is 9.9.9");
}

static void test_missing_version_is_reported() {
    reset();
    g_llama_version = []() -> const char * { return nullptr; };
    CHECK_CONTAINS(rewardlens::abi_mismatch(), "of unknown version");
}

#ifdef REWARDLENS_MEASURE_STRUCTS
static void test_grown_struct_is_measured() {
    reset();
    g_context_params = as_context_params(grown_params);
    CHECK_CONTAINS(rewardlens::abi_mismatch(),
                   "llama_context_params has " + std::to_string(sizeof(grown_context_params)) + " bytes");
}

static void test_shrunk_struct_is_measured() {
    reset();
    g_context_params = as_context_params(shrunk_params);
    CHECK_CONTAINS(rewardlens::abi_mismatch(),
                   "llama_context_params has " + std::to_string(sizeof(shrunk_context_params)) + " bytes");
}
#endif

static void test_other_tensor_size_is_reported() {
    reset();
    g_tensor_overhead = [] { return loaded_tensor_overhead() + 16; };
    CHECK_CONTAINS(rewardlens::abi_mismatch(), "struct ggml_tensor");
}

static void test_shifted_enum_is_reported() {
    reset();
    g_op_name = [](ggml_op op) { return loaded_op_name(static_cast<ggml_op>(op + 1)); };
    CHECK_CONTAINS(rewardlens::abi_mismatch(), "operation MUL_MAT of the headers");
}

int main() {
    RUN(test_libraries_of_this_build_fit);
    RUN(test_other_llama_release_is_named);
    RUN(test_other_ggml_release_is_named);
    RUN(test_missing_version_is_reported);
#ifdef REWARDLENS_MEASURE_STRUCTS
    RUN(test_grown_struct_is_measured);
    RUN(test_shrunk_struct_is_measured);
#endif
    RUN(test_other_tensor_size_is_reported);
    RUN(test_shifted_enum_is_reported);
    return check_report();
}
