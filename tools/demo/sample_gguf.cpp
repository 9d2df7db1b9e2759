// Samples completions of a demo model under llama.cpp, from the full distribution (no top-k, top-p or min-p).
//
//   sample_gguf MODEL.gguf PROBLEMS.tsv BACKEND_DIR TEMPERATURE SEED > COMPLETIONS.tsv
//
// PROBLEMS.tsv holds `id<TAB>prompt` with `\n` written as the two characters backslash n; so does the output,
// `id<TAB>completion<TAB>ended|cut`. Temperature 0 is greedy. Each problem has its own random stream, seeded with
// SEED and its row, so a result does not depend on how problems are batched.
//
// With `--logits` as a sixth argument it writes, instead, the logits after each prompt, for the parity check.
#include "ggml-backend.h"
#include "llama.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

constexpr int kSequences = 64;
constexpr int kMaxCompletion = 96;

struct Row {
    std::string id, prompt, completion;
    std::vector<llama_token> tokens;
    std::mt19937_64 random;
    bool ended = false;
};

std::string replace_all(std::string text, const std::string & from, const std::string & to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
        text.replace(at, from.size(), to);
    }
    return text;
}

// A backslash itself is written as two, so that `\boxed` survives.
std::string escape(const std::string & text) { return replace_all(replace_all(text, "\\", "\\\\"), "\n", "\\n"); }

std::vector<Row> read_rows(const char * path, const llama_vocab * vocab, uint64_t seed) {
    std::ifstream file(path);
    std::vector<Row> rows;
    for (std::string line; std::getline(file, line);) {
        Row row;
        const size_t tab = line.find('\t');
        row.id = line.substr(0, tab);
        row.prompt = replace_all(line.substr(tab + 1), "\\n", "\n");
        row.tokens.resize(row.prompt.size() + 8);
        const int count = llama_tokenize(vocab, row.prompt.data(), int(row.prompt.size()), row.tokens.data(),
                                         int(row.tokens.size()), true, true);
        if (count != int(row.prompt.size())) {
            throw std::runtime_error("expected one token per byte and no BOS: " + row.id);
        }
        row.tokens.resize(count);
        row.random.seed(seed * 1000003 + rows.size());
        rows.push_back(std::move(row));
    }
    return rows;
}

llama_token pick(const float * logits, int vocab_size, float temperature, std::mt19937_64 & random) {
    const float * top = std::max_element(logits, logits + vocab_size);
    if (temperature <= 0) {
        return llama_token(top - logits);
    }
    std::vector<double> weights(vocab_size);
    for (int i = 0; i < vocab_size; ++i) {
        weights[i] = std::exp((logits[i] - *top) / temperature);
    }
    return std::discrete_distribution<int>(weights.begin(), weights.end())(random);
}

void add(llama_batch & batch, llama_token token, int position, int sequence, bool output) {
    const int at = batch.n_tokens++;
    batch.token[at] = token;
    batch.pos[at] = position;
    batch.n_seq_id[at] = 1;
    batch.seq_id[at][0] = sequence;
    batch.logits[at] = output;
}

// Runs rows [first, last) side by side, one sequence each.
void sample_group(llama_context * context, std::vector<Row> & rows, size_t first, size_t last, float temperature,
                  bool print_logits) {
    const llama_vocab * vocab = llama_model_get_vocab(llama_get_model(context));
    const int vocab_size = llama_vocab_n_tokens(vocab);
    llama_batch batch = llama_batch_init(int(llama_n_batch(context)), 0, 1);
    llama_memory_clear(llama_get_memory(context), true);
    std::vector<int> output_at(last - first, -1);
    for (size_t i = first; i < last; ++i) {
        const auto & tokens = rows[i].tokens;
        for (size_t t = 0; t < tokens.size(); ++t) {
            add(batch, tokens[t], int(t), int(i - first), t + 1 == tokens.size());
        }
        output_at[i - first] = batch.n_tokens - 1;
    }
    for (int step = 0; batch.n_tokens > 0; ++step) {
        if (llama_decode(context, batch) != 0) {
            throw std::runtime_error("llama_decode failed");
        }
        batch.n_tokens = 0;
        for (size_t i = first; i < last; ++i) {
            Row & row = rows[i];
            int & at = output_at[i - first];
            if (at < 0) {
                continue;
            }
            const float * logits = llama_get_logits_ith(context, at);
            at = -1;
            if (print_logits) {
                std::printf("%s", row.id.c_str());
                for (int v = 0; v < vocab_size; ++v) {
                    std::printf("\t%.6f", logits[v]);
                }
                std::printf("\n");
                continue;
            }
            const llama_token token = pick(logits, vocab_size, temperature, row.random);
            if (llama_vocab_is_eog(vocab, token)) {
                row.ended = true;
                continue;
            }
            char piece[16];
            row.completion.append(piece, std::max(0, llama_token_to_piece(vocab, token, piece, sizeof piece, 0, false)));
            if (step + 1 < kMaxCompletion) {
                at = batch.n_tokens;
                add(batch, token, int(row.prompt.size()) + step, int(i - first), true);
            }
        }
    }
    llama_batch_free(batch);
}

int run(int argc, char ** argv) {
    if (argc < 6) {
        std::fprintf(stderr, "usage: sample_gguf MODEL PROBLEMS BACKEND_DIR TEMPERATURE SEED [--logits]\n");
        return 2;
    }
    const bool print_logits = argc > 6 && std::strcmp(argv[6], "--logits") == 0;
    llama_log_set([](ggml_log_level level, const char * text, void *) {
        if (level >= GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_CONT) {
            std::fputs(text, stderr);
        }
    }, nullptr);
    ggml_backend_load_all_from_path(argv[3]);
    llama_model * model = llama_model_load_from_file(argv[1], llama_model_default_params());
    if (model == nullptr) {
        throw std::runtime_error("cannot load the model");
    }
    llama_context_params params = llama_context_default_params();
    params.n_ctx = kSequences * 256;
    params.n_batch = params.n_ubatch = kSequences * 64;
    params.n_seq_max = kSequences;
    params.n_threads = params.n_threads_batch = 1;  // rows are tiny: barriers between threads cost more than they save
    params.kv_unified = false;
    llama_context * context = llama_init_from_model(model, params);
    std::vector<Row> rows = read_rows(argv[2], llama_model_get_vocab(model), std::strtoull(argv[5], nullptr, 10));
    for (size_t first = 0; first < rows.size(); first += kSequences) {
        sample_group(context, rows, first, std::min(rows.size(), first + kSequences), std::strtof(argv[4], nullptr),
                     print_logits);
    }
    for (const Row & row : rows) {
        if (!print_logits) {
            std::printf("%s\t%s\t%s\n", row.id.c_str(), escape(row.completion).c_str(), row.ended ? "ended" : "cut");
        }
    }
    llama_free(context);
    llama_model_free(model);
    return 0;
}

}  // namespace

int main(int argc, char ** argv) {
    try {
        return run(argc, argv);
    } catch (const std::exception & error) {
        std::fprintf(stderr, "sample_gguf: %s\n", error.what());
        return 1;
    }
}
