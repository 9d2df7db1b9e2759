// rewardlens-load-check: llama.cpp's own loading of an untrusted model, in a process that may die.
//
// After the header check it runs everything that can abort: hyper-parameters, vocabulary, tensor creation, tokenizer,
// graph building. Large models are loaded with `no_alloc`: llama.cpp creates every tensor and builds every graph but
// reads no weights, so the cost hardly grows with the file. Small ones are also mapped and decode one token.
// Memory, CPU and wall-clock time are limited. What comes out is one JSON line, see report.h.
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <stdexcept>
#include <vector>

#ifndef _WIN32
#include <sys/resource.h>
#include <unistd.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "ggml-backend.h"
#include "gguf_check.h"
#include "llama.h"
#include "options.h"
#include "report.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LOAD_CHECK_SANITIZED 1  // their shadow memory does not fit below a limit
#endif

namespace load_check {

namespace {

#ifndef _WIN32
void limit(int resource, uint64_t value) {
    struct rlimit current;
    if (getrlimit(resource, &current) != 0) {
        return;
    }
    if (current.rlim_max != RLIM_INFINITY && value > current.rlim_max) {
        value = current.rlim_max;
    }
    current.rlim_cur = value;
    setrlimit(resource, &current);
}
#endif

// Limits of this process. RLIMIT_DATA counts what is allocated and not the mapped weights; libraries, stacks and the
// heap's reserve count too, which is what `baseline` is for.
void apply_limits(const load_options & options) {
#ifndef _WIN32
    limit(RLIMIT_CORE, 0);
    if (options.seconds > 0) {
        limit(RLIMIT_CPU, options.seconds);
        alarm(options.seconds);
    }
#ifndef LOAD_CHECK_SANITIZED
    constexpr uint64_t baseline = 64ull << 20;
    if (options.budget_bytes > 0) {
        limit(RLIMIT_DATA, options.budget_bytes + baseline);
    }
#endif
#endif
#ifdef __GLIBC__
    mallopt(M_ARENA_MAX, 1);  // each further arena reserves 64 MiB of address space
#endif
}

void run_header_check(const load_options & options) {
    set_stage("check");
    const auto start = std::chrono::steady_clock::now();
    const rewardlens::gguf_check_result facts = rewardlens::gguf_check(options.model);
    const std::chrono::duration<double, std::milli> elapsed = std::chrono::steady_clock::now() - start;
    set_facts(facts, elapsed.count());
    if (!facts.ok) {
        finish_refused(rewardlens::gguf_check_kind_name(facts.kind), facts.message, false);
    }
}

void load_backends(const load_options & options) {
    set_stage("backend");
    ggml_backend_load_all_from_path(options.backend_dir.c_str());
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
        finish_refused("BACKEND", "no CPU backend in '" + options.backend_dir + "'", true);
    }
}

// With `real` the file is mapped; otherwise only planned.
llama_model * load_model(const load_options & options, bool real) {
    set_stage("load");
    static ggml_backend_dev_t no_devices[] = {nullptr};  // CPU only: a GPU driver costs seconds and adds nothing here
    llama_model_params params = llama_model_default_params();
    params.devices = no_devices;
    params.n_gpu_layers = 0;
    params.use_extra_bufts = false;  // repacking would copy the weights
    params.no_alloc = !real;
    params.load_mode = real ? LLAMA_LOAD_MODE_MMAP : LLAMA_LOAD_MODE_NONE;
    llama_model * model = llama_model_load_from_file(options.model.c_str(), params);
    if (model == nullptr) {
        finish_refused("LOAD_FAILED", "llama.cpp refuses the model:", true);
    }
    return model;
}

// Every token to text and a few texts to tokens. Exceptions are only remarks: callers of the real model catch them.
void try_tokenizer(const llama_model * model) {
    set_stage("tokenizer");
    const llama_vocab * vocab = llama_model_get_vocab(model);
    if (llama_vocab_type(vocab) == LLAMA_VOCAB_TYPE_NONE) {
        return;  // asking it to tokenize aborts; callers must not
    }
    static const std::string texts[] = {"Hello, world! 1 + 2 = 3\n", " \xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82",
                                        std::string("\x00\x01\x7f", 3), "\xff\xfe\xc3", "<s></s><|im_end|>", ""};
    std::vector<llama_token> tokens(256);
    std::string thrown;
    for (const std::string & text : texts) {
        try {
            llama_tokenize(vocab, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                           static_cast<int32_t>(tokens.size()), true, true);
        } catch (const std::exception & error) {
            thrown = error.what();
        }
    }
    if (!thrown.empty()) {
        add_warning("some text cannot be tokenized: " + thrown);
    }
    std::vector<char> piece(1024);
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab); ++token) {
        try {
            llama_token_to_piece(vocab, token, piece.data(), static_cast<int32_t>(piece.size()), 0, true);
        } catch (const std::exception & error) {
            add_warning("token " + std::to_string(token) + " has no text: " + error.what());
            return;
        }
    }
}

llama_context * create_context(llama_model * model, const load_options & options) {
    set_stage("context");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = options.context;
    params.n_seq_max = options.sequences;
    params.n_batch = 8;
    params.n_ubatch = 8;
    params.n_threads = 1;
    params.n_threads_batch = 1;
    params.offload_kqv = false;
    params.op_offload = false;
    llama_context * context = llama_init_from_model(model, params);
    if (context == nullptr) {
        finish_refused("CONTEXT_FAILED", "llama.cpp cannot create a context for the model:", true);
    }
    return context;
}

void decode_one_token(llama_model * model, llama_context * context) {
    set_stage("decode");
    const int32_t vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model));
    llama_token token = vocabulary > 1 ? 1 : 0;
    if (llama_model_has_encoder(model)) {
        add_warning("an encoder-decoder: decoding was not tried");
        return;
    }
    const int32_t status = llama_decode(context, llama_batch_get_one(&token, 1));
    if (status != 0) {
        finish_refused("DECODE_FAILED", "llama.cpp fails to decode a token (status " + std::to_string(status) + "):",
                       true);
    }
    const float * logits = llama_get_logits_ith(context, -1);
    for (int32_t i = 0; logits != nullptr && i < vocabulary; ++i) {
        if (!std::isfinite(logits[i])) {
            add_warning("the logits of one token are not finite");
            return;
        }
    }
}

[[noreturn]] void run(const load_options & options) {
    run_header_check(options);
    if (options.backend_dir.empty()) {
        finish_ok();
    }
    load_backends(options);
    // Planned first, also for small models: a refusal is then known before anything large is allocated or mapped.
    llama_model * model = load_model(options, false);
    try_tokenizer(model);
    llama_context * context = create_context(model, options);
    const bool small = llama_model_size(model) <= options.decode_below_bytes;
    if (options.decode == decode_mode::never || (options.decode == decode_mode::automatic && !small)) {
        finish_ok();
    }
    llama_free(context);
    llama_model_free(model);
    model = load_model(options, true);
    decode_one_token(model, create_context(model, options));
    finish_ok();
}

}  // namespace

}  // namespace load_check

int main(int argc, char ** argv) {
    using namespace load_check;
    const load_options options = parse_options(argc, argv);
#ifndef _WIN32
    setenv("GGML_NO_BACKTRACE", "1", 1);  // ggml would start a debugger
#endif
    llama_log_set([](ggml_log_level level, const char * text, void *) { on_log(level, text); }, nullptr);
    install_crash_handlers();
    apply_limits(options);
    try {
        run(options);
    } catch (const std::bad_alloc &) {
        finish_refused("MEMORY_BUDGET", "loading needs more memory than the budget", true);
    } catch (const std::exception & error) {
        finish_refused("LOAD_FAILED", std::string("llama.cpp throws: ") + error.what(), true);
    }
}
