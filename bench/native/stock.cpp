// The reference of the benchmark: stock llama.cpp, driven through its public header and nothing of ours.
//
//   rewardlens-stock --model FILE --backend-dir DIR [--sequences 1] [--context 512] [--ubatch 512] [--threads N] [--pool 1]
//
// Loads the model once, prints one line {"ready":true,...}, then obeys lines on standard input, each answered by one
// line of JSON with "seconds" (wall), "busySeconds" (inside llama_decode), "tokens" (sampled or read) and "hash" (FNV-1a of the
// sampled tokens, sequence by sequence, so that the caller can check that both sides did the same work):
//
//   decode STEPS                        every sequence: a prompt of one token, then greedy until STEPS tokens are sampled
//   prefill TOKENS                      sequence 0 reads TOKENS tokens, in passes of at most ubatch rows
//   arms COUNT PROMPT COMPLETION KEEP   one arm after the other in sequence 0: prompt, then greedy; with KEEP = 1 the
//                                       prompt's KV cells are kept between arms and only its last token is read again
//
// Settings equal the engine's: kv_unified = false, threads for prompt and generation alike, and a persistent threadpool
// (--pool 0: llama.cpp's own behaviour, threads started anew for every graph). Tokens are drawn by a llama.cpp sampler
// chain with one greedy sampler per sequence.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "llama.h"

namespace {

struct options {
    std::string model;
    std::string backend_dir;
    int32_t sequences = 1;
    int32_t context = 512;
    int32_t ubatch = 512;
    int32_t threads = 1;
    int32_t pool = 1;
};

// Sizes that llama.cpp prints while it makes the context: "... compute buffer size = 12.34 MiB".
std::map<std::string, double> g_buffer_mib;
std::string g_problems;

void on_log(ggml_log_level level, const char * text, void * /*user_data*/) {
    if (level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR) {
        g_problems = text;
    }
    for (const char * kind : {"compute", "output", "KV", "model"}) {
        const char * at = std::strstr(text, (std::string(kind) + " buffer size").c_str());
        const char * equals = at == nullptr ? nullptr : std::strchr(at, '=');
        if (equals != nullptr) {
            g_buffer_mib[kind] += std::strtod(equals + 1, nullptr);
        }
    }
}

options parse(int argc, char ** argv) {
    options out;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string key = argv[i];
        const std::string value = argv[i + 1];
        std::map<std::string, int32_t *> numbers = {{"--sequences", &out.sequences}, {"--context", &out.context},
                                                    {"--ubatch", &out.ubatch},       {"--threads", &out.threads},
                                                    {"--pool", &out.pool}};
        if (key == "--model") {
            out.model = value;
        } else if (key == "--backend-dir") {
            out.backend_dir = value;
        } else if (numbers.count(key) != 0) {
            *numbers[key] = std::stoi(value);
        } else {
            throw std::runtime_error("unknown option " + key);
        }
    }
    if (out.model.empty() || out.backend_dir.empty()) {
        throw std::runtime_error("--model and --backend-dir are required");
    }
    return out;
}

double now_seconds() {
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

struct outcome {
    double seconds = 0.0;
    double busy_seconds = 0.0;
    int64_t tokens = 0;
    uint32_t hash = 2166136261u;
};

class reference {
  public:
    explicit reference(const options & settings) : options_(settings) {
        llama_log_set(on_log, nullptr);
        llama_backend_init();
        ggml_backend_load_all_from_path(options_.backend_dir.c_str());
        llama_model_params native = llama_model_default_params();
        native.n_gpu_layers = 0;
        model_ = llama_model_load_from_file(options_.model.c_str(), native);
        if (model_ == nullptr) {
            throw std::runtime_error("llama.cpp could not load " + options_.model + ": " + g_problems);
        }
        vocab_size_ = llama_vocab_n_tokens(llama_model_get_vocab(model_));
        make_context();
        for (int32_t s = 0; s < options_.sequences; ++s) {
            llama_sampler * chain = llama_sampler_chain_init(llama_sampler_chain_default_params());
            llama_sampler_chain_add(chain, llama_sampler_init_greedy());
            samplers_.push_back(chain);
        }
        batch_ = llama_batch_init(std::max(options_.ubatch, options_.sequences), 0, 1);
    }

    ~reference() {
        for (llama_sampler * chain : samplers_) {
            llama_sampler_free(chain);
        }
        llama_batch_free(batch_);
        llama_free(context_);
        llama_model_free(model_);
        if (pool_ != nullptr) {
            free_pool_(pool_);
        }
    }

    reference(const reference &) = delete;
    reference & operator=(const reference &) = delete;

    outcome decode(int32_t steps) {
        return timed([&](outcome & result) {
            const int32_t count = options_.sequences;
            llama_memory_clear(llama_get_memory(context_), false);
            std::vector<std::vector<llama_token>> sampled(count);
            for (int32_t step = 0; step < steps; ++step) {
                batch_.n_tokens = 0;
                for (int32_t s = 0; s < count; ++s) {
                    add(s, step, step == 0 ? prompt_token(s, 0) : sampled[s].back(), true);
                }
                run(result);
                for (int32_t s = 0; s < count; ++s) {
                    sampled[s].push_back(llama_sampler_sample(samplers_[s], context_, s));
                }
            }
            for (const auto & tokens : sampled) {
                count_tokens(result, tokens);
            }
        });
    }

    outcome prefill(int32_t tokens) {
        return timed([&](outcome & result) {
            llama_memory_clear(llama_get_memory(context_), false);
            read_prompt(result, 0, tokens);
            result.tokens = tokens;
        });
    }

    outcome arms(int32_t count, int32_t prompt, int32_t completion, bool keep) {
        return timed([&](outcome & result) {
            llama_memory_t memory = llama_get_memory(context_);
            for (int32_t arm = 0; arm < count; ++arm) {
                if (keep && arm > 0) {
                    llama_memory_seq_rm(memory, 0, prompt - 1, -1);
                    read_prompt(result, prompt - 1, prompt);
                } else {
                    llama_memory_clear(memory, false);
                    read_prompt(result, 0, prompt);
                }
                std::vector<llama_token> sampled = {llama_sampler_sample(samplers_[0], context_, -1)};
                while (static_cast<int32_t>(sampled.size()) < completion) {
                    batch_.n_tokens = 0;
                    add(0, prompt + static_cast<int32_t>(sampled.size()) - 1, sampled.back(), true);
                    run(result);
                    sampled.push_back(llama_sampler_sample(samplers_[0], context_, -1));
                }
                count_tokens(result, sampled);
            }
        });
    }

  private:
    void make_context() {
        llama_context_params native = llama_context_default_params();
        native.n_ctx = static_cast<uint32_t>(options_.context) * options_.sequences;
        native.n_seq_max = options_.sequences;
        native.n_ubatch = options_.ubatch;
        native.n_batch = std::max(options_.ubatch, options_.sequences);
        native.n_threads = options_.threads;
        native.n_threads_batch = options_.threads;
        native.kv_unified = false;
        // Flash attention off on the CPU, as in the engine (docs/engine.md); "as it comes" keeps llama.cpp's choice.
        native.flash_attn_type = options_.pool == 0 ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
        native.swa_full = true;
        native.no_perf = true;
        context_ = llama_init_from_model(model_, native);
        if (context_ == nullptr) {
            throw std::runtime_error("llama.cpp could not create a context: " + g_problems);
        }
        if (options_.pool == 0) {
            return;
        }
        ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
        ggml_backend_reg_t reg = device == nullptr ? nullptr : ggml_backend_dev_backend_reg(device);
        const auto address = [&](const char * name) { return reg == nullptr ? nullptr : ggml_backend_reg_get_proc_address(reg, name); };
        auto * create = reinterpret_cast<ggml_threadpool_t (*)(ggml_threadpool_params *)>(address("ggml_threadpool_new"));
        free_pool_ = reinterpret_cast<void (*)(ggml_threadpool_t)>(address("ggml_threadpool_free"));
        if (create == nullptr || free_pool_ == nullptr) {
            throw std::runtime_error("the CPU backend offers no threadpool");
        }
        ggml_threadpool_params params = ggml_threadpool_params_default(options_.threads);
        pool_ = create(&params);
        llama_attach_threadpool(context_, pool_, pool_);
    }

    template <typename F>
    outcome timed(F && body) {
        outcome result;
        const double start = now_seconds();
        body(result);
        result.seconds = now_seconds() - start;
        return result;
    }

    // The same formula as promptToken() of bench/engine.ts. Tokens 0..2 are special.
    llama_token prompt_token(int64_t sequence, int64_t position) const {
        return static_cast<llama_token>(3 + (sequence * 7919 + position * 104729 + 12345) % (vocab_size_ - 3));
    }

    void add(int32_t sequence, int32_t position, llama_token token, bool logits) {
        const int32_t i = batch_.n_tokens++;
        batch_.token[i] = token;
        batch_.pos[i] = position;
        batch_.n_seq_id[i] = 1;
        batch_.seq_id[i][0] = sequence;
        batch_.logits[i] = logits;
    }

    void run(outcome & result) {
        const double start = now_seconds();
        const int32_t status = llama_decode(context_, batch_);
        llama_synchronize(context_);
        result.busy_seconds += now_seconds() - start;
        if (status != 0) {
            throw std::runtime_error("llama_decode failed with status " + std::to_string(status) + ": " + g_problems);
        }
    }

    void read_prompt(outcome & result, int32_t begin, int32_t end) {
        for (int32_t at = begin; at < end;) {
            const int32_t stop = std::min(end, at + options_.ubatch);
            batch_.n_tokens = 0;
            for (; at < stop; ++at) {
                add(0, at, prompt_token(0, at), at == end - 1);
            }
            run(result);
        }
    }

    static void count_tokens(outcome & result, const std::vector<llama_token> & tokens) {
        result.tokens += static_cast<int64_t>(tokens.size());
        for (llama_token token : tokens) {
            result.hash = (result.hash ^ static_cast<uint32_t>(token)) * 16777619u;
        }
    }

    options options_;
    llama_model * model_ = nullptr;
    llama_context * context_ = nullptr;
    ggml_threadpool_t pool_ = nullptr;
    void (*free_pool_)(ggml_threadpool_t) = nullptr;
    int32_t vocab_size_ = 0;
    std::vector<llama_sampler *> samplers_;
    llama_batch batch_{};
};

outcome obey(reference & stock, const std::string & line) {
    std::istringstream in(line);
    std::string verb;
    in >> verb;
    std::vector<int32_t> numbers;
    for (int32_t number = 0; in >> number;) {
        numbers.push_back(number);
    }
    if (verb == "decode" && numbers.size() == 1) {
        return stock.decode(numbers[0]);
    }
    if (verb == "prefill" && numbers.size() == 1) {
        return stock.prefill(numbers[0]);
    }
    if (verb == "arms" && numbers.size() == 4) {
        return stock.arms(numbers[0], numbers[1], numbers[2], numbers[3] != 0);
    }
    throw std::runtime_error("cannot do: " + line);
}

}  // namespace

int main(int argc, char ** argv) {
    try {
        reference stock(parse(argc, argv));
        std::printf("{\"ready\":true,\"kvMiB\":%.2f,\"computeMiB\":%.2f,\"outputMiB\":%.2f,\"modelMiB\":%.2f}\n", g_buffer_mib["KV"],
                    g_buffer_mib["compute"], g_buffer_mib["output"], g_buffer_mib["model"]);
        std::fflush(stdout);
        for (std::string line; std::getline(std::cin, line);) {
            const outcome result = obey(stock, line);
            std::printf("{\"seconds\":%.6f,\"busySeconds\":%.6f,\"tokens\":%lld,\"hash\":%u}\n", result.seconds, result.busy_seconds,
                        static_cast<long long>(result.tokens), result.hash);
            std::fflush(stdout);
        }
        return 0;
    } catch (const std::exception & error) {
        std::fprintf(stderr, "rewardlens-stock: %s\n", error.what());
        return 1;
    }
}
