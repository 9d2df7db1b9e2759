#include "model.h"

#include <algorithm>
#include <stdexcept>

#include "error.h"
#include "runtime.h"

namespace rewardlens {

namespace {

struct progress_state {
    const std::function<bool(float)> * callback;
    bool aborted = false;
};

bool on_llama_progress(float fraction, void * user_data) {
    auto * state = static_cast<progress_state *>(user_data);
    if (*state->callback && !(*state->callback)(fraction)) {
        state->aborted = true;
        return false;
    }
    return true;
}

bool has_gpu() {
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        const auto type = ggml_backend_dev_type(ggml_backend_dev_get(i));
        if (type == GGML_BACKEND_DEVICE_TYPE_GPU || type == GGML_BACKEND_DEVICE_TYPE_IGPU) {
            return true;
        }
    }
    return false;
}

std::vector<ggml_backend_dev_t> resolve_devices(const std::vector<std::string> & names) {
    std::vector<ggml_backend_dev_t> out;
    for (const auto & name : names) {
        ggml_backend_dev_t dev = ggml_backend_dev_by_name(name.c_str());
        if (dev == nullptr) {
            std::string known;
            for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
                known += (i ? ", " : "") + std::string(ggml_backend_dev_name(ggml_backend_dev_get(i)));
            }
            throw engine_error(error_code::invalid_argument, "device: no device named '" + name + "'; available: " + known);
        }
        if (ggml_backend_dev_type(dev) != GGML_BACKEND_DEVICE_TYPE_CPU) {
            out.push_back(dev);  // llama.cpp's list holds accelerators; the CPU is always there
        }
    }
    out.push_back(nullptr);
    return out;
}

llama_load_mode load_mode(bool use_mmap, bool use_mlock) {
    if (use_mmap) {
        return use_mlock ? LLAMA_LOAD_MODE_MMAP_MLOCK : LLAMA_LOAD_MODE_MMAP;
    }
    return use_mlock ? LLAMA_LOAD_MODE_MLOCK : LLAMA_LOAD_MODE_NONE;
}

const char * vocab_type_name(enum llama_vocab_type type) {
    switch (type) {
        case LLAMA_VOCAB_TYPE_NONE:   return "none";
        case LLAMA_VOCAB_TYPE_SPM:    return "spm";
        case LLAMA_VOCAB_TYPE_BPE:    return "bpe";
        case LLAMA_VOCAB_TYPE_WPM:    return "wpm";
        case LLAMA_VOCAB_TYPE_UGM:    return "ugm";
        case LLAMA_VOCAB_TYPE_RWKV:   return "rwkv";
        case LLAMA_VOCAB_TYPE_PLAMO2: return "plamo2";
        default:                      return "unknown";
    }
}

std::string meta_string(const llama_model * model, const char * key) {
    char small[256];
    const int32_t length = llama_model_meta_val_str(model, key, small, sizeof(small));
    if (length < 0) {
        return "";
    }
    std::string out(static_cast<size_t>(length) + 1, '\0');
    llama_model_meta_val_str(model, key, out.data(), out.size());
    out.resize(length);
    return out;
}

// "llama 8B Q8_0" → "Q8_0": llama.cpp has no other public name for a file type.
std::string file_type_of(const std::string & description, const std::string & architecture) {
    std::string rest = description;
    if (rest.rfind(architecture + " ", 0) == 0) {
        rest.erase(0, architecture.size() + 1);
    }
    const size_t space = rest.find(' ');
    return space == std::string::npos ? rest : rest.substr(space + 1);
}

}  // namespace

model::model(const model_params & params, const std::function<bool(float)> & on_progress) {
    log_capture log;
    progress_state progress{&on_progress};
    auto devices = resolve_devices(params.devices);
    llama_model_params native = llama_model_default_params();
    native.n_gpu_layers = params.gpu_layer_count;
    native.devices = params.devices.empty() ? nullptr : devices.data();
    native.load_mode = load_mode(params.use_mmap, params.use_mlock);
    native.check_tensors = params.check_tensors;
    native.progress_callback = on_llama_progress;
    native.progress_callback_user_data = &progress;
    model_ = llama_model_load_from_file(params.path.c_str(), native);
    if (model_ == nullptr) {
        if (progress.aborted) {
            throw engine_error(error_code::aborted, "loading '" + params.path + "' was aborted");
        }
        throw engine_error(error_code::model_load, "llama.cpp could not load '" + params.path + "': " + log.problems());
    }
    vocab_ = llama_model_get_vocab(model_);
    read_info();
    info_.offloaded = params.gpu_layer_count != 0 && has_gpu();
}

model::~model() { llama_model_free(model_); }

void model::read_info() {
    char description[256] = {0};
    llama_model_desc(model_, description, sizeof(description));
    info_.description = description;
    info_.architecture = meta_string(model_, "general.architecture");
    info_.file_type = file_type_of(info_.description, info_.architecture);
    info_.layer_count = llama_model_n_layer(model_);
    info_.d_model = llama_model_n_embd(model_);
    info_.head_count = llama_model_n_head(model_);
    info_.kv_head_count = llama_model_n_head_kv(model_);
    info_.train_context_length = llama_model_n_ctx_train(model_);
    info_.vocab_size = llama_vocab_n_tokens(vocab_);
    info_.vocab_type = vocab_type_name(llama_vocab_type(vocab_));
    info_.parameter_count = llama_model_n_params(model_);
    info_.size_bytes = llama_model_size(model_);
    info_.recurrent = llama_model_is_recurrent(model_);
    info_.hybrid = llama_model_is_hybrid(model_);
    info_.has_encoder = llama_model_has_encoder(model_);
    info_.bos = llama_vocab_bos(vocab_);
    info_.eos = llama_vocab_eos(vocab_);
    info_.eot = llama_vocab_eot(vocab_);
    info_.nl = info_.vocab_type == "none" ? -1 : llama_vocab_nl(vocab_);
    info_.pad = llama_vocab_pad(vocab_);
    info_.add_bos = llama_vocab_get_add_bos(vocab_);
    info_.add_eos = llama_vocab_get_add_eos(vocab_);
    const char * tmpl = llama_model_chat_template(model_, nullptr);
    info_.chat_template = tmpl == nullptr ? "" : tmpl;
}

std::vector<std::pair<std::string, std::string>> model::metadata() const {
    std::vector<std::pair<std::string, std::string>> out;
    const int32_t count = llama_model_meta_count(model_);
    std::string key, value;
    for (int32_t i = 0; i < count; ++i) {
        char probe[2];
        key.resize(llama_model_meta_key_by_index(model_, i, probe, sizeof(probe)) + 1);
        llama_model_meta_key_by_index(model_, i, key.data(), key.size());
        key.resize(key.size() - 1);
        value.resize(llama_model_meta_val_str_by_index(model_, i, probe, sizeof(probe)) + 1);
        llama_model_meta_val_str_by_index(model_, i, value.data(), value.size());
        value.resize(value.size() - 1);
        out.emplace_back(key, value);
    }
    return out;
}

std::vector<llama_token> model::tokenize(const std::string & text, bool add_special, bool parse_special) const {
    if (info_.vocab_type == "none") {
        throw engine_error(error_code::invalid_argument, "text: this model carries no tokenizer; give token ids instead");
    }
    std::vector<llama_token> tokens(text.size() + 8);
    const auto run = [&] {
        try {
            return llama_tokenize(vocab_, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                                  static_cast<int32_t>(tokens.size()), add_special, parse_special);
        } catch (const std::out_of_range &) {  // llama.cpp looks single bytes up and expects every vocabulary to have them
            throw engine_error(error_code::invalid_argument, "text: the model's vocabulary cannot spell all of its characters");
        }
    };
    int32_t count = run();
    if (count < 0) {
        tokens.resize(static_cast<size_t>(-static_cast<int64_t>(count)));
        count = run();
    }
    if (count < 0) {
        throw engine_error(error_code::invalid_argument, "text: llama.cpp could not tokenize it");
    }
    tokens.resize(count);
    return tokens;
}

std::string model::detokenize(const std::vector<llama_token> & tokens, bool remove_special, bool unparse_special) const {
    if (info_.vocab_type == "none") {
        throw engine_error(error_code::invalid_argument, "tokens: this model carries no tokenizer to turn ids into text");
    }
    for (size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i] < 0 || tokens[i] >= info_.vocab_size) {
            throw engine_error(error_code::invalid_argument, "tokens[" + std::to_string(i) + "]: expected an id in 0.." +
                                                                 std::to_string(info_.vocab_size - 1) + ", got " + std::to_string(tokens[i]));
        }
    }
    std::string text(tokens.size() * 8 + 16, '\0');
    const auto run = [&] {
        return llama_detokenize(vocab_, tokens.data(), static_cast<int32_t>(tokens.size()), text.data(),
                                static_cast<int32_t>(text.size()), remove_special, unparse_special);
    };
    int32_t length = run();
    if (length < 0) {
        text.resize(static_cast<size_t>(-static_cast<int64_t>(length)));
        length = run();
    }
    text.resize(std::max(length, 0));
    return text;
}

std::string model::token_piece(llama_token token, bool special) const {
    if (info_.vocab_type == "none") {
        return "";
    }
    char small[64];
    int32_t length = llama_token_to_piece(vocab_, token, small, sizeof(small), 0, special);
    if (length >= 0) {
        return std::string(small, length);
    }
    std::string out(static_cast<size_t>(-length), '\0');
    length = llama_token_to_piece(vocab_, token, out.data(), static_cast<int32_t>(out.size()), 0, special);
    out.resize(std::max(length, 0));
    return out;
}

bool model::is_end_of_generation(llama_token token) const {
    return info_.vocab_type != "none" && token >= 0 && token < info_.vocab_size && llama_vocab_is_eog(vocab_, token);
}

}  // namespace rewardlens
