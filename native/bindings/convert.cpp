#include "convert.h"

#include <algorithm>
#include <cmath>

namespace rewardlens {

namespace {

constexpr int32_t MOST_INTERVENTIONS = 1 << 20;

[[noreturn]] void wrong_type(const char * key, const char * expected, const Napi::Value & value) {
    throw engine_error(error_code::invalid_argument,
                       std::string(key) + ": expected " + expected + ", got " + value.ToString().Utf8Value());
}

bool absent(const Napi::Value & value) { return value.IsUndefined() || value.IsNull(); }

int32_t read_int(const Napi::Object & object, const char * key, int32_t fallback) {
    const Napi::Value value = object.Get(key);
    return absent(value) ? fallback : to_int(value, key);
}

double read_between(const Napi::Object & object, const char * key, double fallback, double low, double high) {
    const double number = read_number(object, key, fallback);
    if (!(number >= low && number <= high)) {
        throw engine_error(error_code::invalid_argument, std::string(key) + ": expected a number in " + std::to_string(low) + ".." +
                                                             std::to_string(high) + ", got " + std::to_string(number));
    }
    return number;
}

Napi::Array read_array(const Napi::Object & object, const char * key) {
    const Napi::Value value = object.Get(key);
    if (!value.IsArray()) {
        wrong_type(key, "an array", value);
    }
    return value.As<Napi::Array>();
}

// Seeds are JS numbers or bigints of up to 64 bits.
uint64_t read_seed(const Napi::Object & object, const char * key) {
    const Napi::Value value = object.Get(key);
    if (value.IsBigInt()) {
        bool lossless = false;
        return value.As<Napi::BigInt>().Uint64Value(&lossless);
    }
    const double number = read_number(object, key, 0);
    if (!(number >= 0 && number <= 9007199254740991.0) || number != std::floor(number)) {
        wrong_type(key, "an integer in 0..2^53-1 or a bigint", value);
    }
    return static_cast<uint64_t>(number);
}

template <typename T>
T choose(const std::string & value, const char * key, const std::vector<std::pair<const char *, T>> & options) {
    for (const auto & option : options) {
        if (value == option.first) {
            return option.second;
        }
    }
    throw engine_error(error_code::invalid_argument, std::string(key) + ": unknown value '" + value + "'");
}

position_set read_positions(const Napi::Object & owner) {
    position_set out;
    const Napi::Value value = owner.Get("positions");
    if (absent(value)) {
        return out;
    }
    const Napi::Object object = to_object(value, "positions");
    out.kind = choose<position_kind>(read_string(object, "kind", "all"), "positions.kind",
                                     {{"all", position_kind::all},
                                      {"prompt", position_kind::prompt},
                                      {"completion", position_kind::completion},
                                      {"response", position_kind::response},
                                      {"last", position_kind::last},
                                      {"s0", position_kind::s0},
                                      {"list", position_kind::list}});
    out.list = read_int32s(object, "list");
    std::sort(out.list.begin(), out.list.end());
    out.from = read_int(object, "from", 0);
    return out;
}

std::shared_ptr<const std::vector<float>> read_floats(const Napi::Object & object, const char * key) {
    const Napi::Value value = object.Get(key);
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array) {
        wrong_type(key, "a Float32Array", value);
    }
    const auto array = value.As<Napi::Float32Array>();
    return std::make_shared<const std::vector<float>>(array.Data(), array.Data() + array.ElementLength());
}

edit read_edit(const Napi::Object & object) {
    edit out;
    out.source = static_cast<uint32_t>(read_int(object, "source", 0));
    out.where.site = site_from_name(read_string(object, "site", "residPost"));
    out.where.layer = read_int(object, "layer", 0);
    out.op = choose<edit_op>(read_string(object, "op", "set"), "op",
                             {{"set", edit_op::set},
                              {"scale", edit_op::scale},
                              {"add", edit_op::add},
                              {"clamp", edit_op::clamp},
                              {"rows", edit_op::rows},
                              {"project", edit_op::project}});
    out.neurons = read_int32s(object, "neurons");
    out.positions = read_positions(object);
    out.values = read_floats(object, "values");
    out.choice = choose<row_choice>(read_string(object, "choice", "seeded"), "choice",
                                    {{"seeded", row_choice::seeded}, {"position", row_choice::by_position}});
    out.seed = read_seed(object, "seed");
    out.row_positions = read_int32s(object, "rowPositions");
    return out;
}

edit_list read_edit_list(const Napi::Object & object) {
    edit_list out;
    const int32_t source_count = read_int(object, "sourceCount", 0);
    if (source_count < 0 || source_count > MOST_INTERVENTIONS) {
        wrong_type("sourceCount", "0..1048576", object.Get("sourceCount"));
    }
    out.source_count = static_cast<uint32_t>(source_count);
    const auto edits = read_array(object, "edits");
    for (uint32_t i = 0; i < edits.Length(); ++i) {
        out.edits.push_back(read_edit(to_object(edits.Get(i), "edits")));
        if (out.edits.back().source >= out.source_count) {
            throw engine_error(error_code::invalid_argument, "source: out of range in an edit list");
        }
    }
    return out;
}

capture_plan read_capture(const Napi::Object & object) {
    capture_plan out;
    const auto sites = read_array(object, "sites");
    for (uint32_t i = 0; i < sites.Length(); ++i) {
        const auto ref = to_object(sites.Get(i), "sites");
        out.sites.push_back({site_from_name(read_string(ref, "site", "residPost")), read_int(ref, "layer", 0)});
    }
    out.positions = read_positions(object);
    out.neurons = read_int32s(object, "neurons");
    out.half_precision = read_bool(object, "halfPrecision", false);
    return out;
}

}  // namespace

Napi::Error to_js_error(Napi::Env env, error_code code, const std::string & message) {
    Napi::Error error = Napi::Error::New(env, message);
    error.Set("code", Napi::String::New(env, error_code_name(code)));
    return error;
}

Napi::Object to_object(const Napi::Value & value, const char * name) {
    if (!value.IsObject()) {
        wrong_type(name, "an object", value);
    }
    return value.As<Napi::Object>();
}

std::string to_text(const Napi::Value & value, const char * name) {
    if (!value.IsString()) {
        wrong_type(name, "a string", value);
    }
    return value.As<Napi::String>().Utf8Value();
}

int32_t to_int(const Napi::Value & value, const char * name) {
    const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : 0.5;
    if (!(number >= INT32_MIN && number <= INT32_MAX) || number != static_cast<int32_t>(number)) {
        wrong_type(name, "a 32-bit integer", value);
    }
    return static_cast<int32_t>(number);
}

std::string read_string(const Napi::Object & object, const char * key, const std::string & fallback) {
    const Napi::Value value = object.Get(key);
    if (absent(value)) {
        return fallback;
    }
    if (!value.IsString()) {
        wrong_type(key, "a string", value);
    }
    return value.As<Napi::String>().Utf8Value();
}

double read_number(const Napi::Object & object, const char * key, double fallback) {
    const Napi::Value value = object.Get(key);
    if (absent(value)) {
        return fallback;
    }
    if (!value.IsNumber()) {
        wrong_type(key, "a number", value);
    }
    return value.As<Napi::Number>().DoubleValue();
}

bool read_bool(const Napi::Object & object, const char * key, bool fallback) {
    const Napi::Value value = object.Get(key);
    if (absent(value)) {
        return fallback;
    }
    if (!value.IsBoolean()) {
        wrong_type(key, "a boolean", value);
    }
    return value.As<Napi::Boolean>().Value();
}

std::vector<std::string> read_strings(const Napi::Object & object, const char * key) {
    std::vector<std::string> out;
    const Napi::Value value = object.Get(key);
    if (absent(value)) {
        return out;
    }
    if (!value.IsArray()) {
        wrong_type(key, "an array of strings", value);
    }
    const auto array = value.As<Napi::Array>();
    for (uint32_t i = 0; i < array.Length(); ++i) {
        out.push_back(array.Get(i).ToString().Utf8Value());
    }
    return out;
}

std::vector<int32_t> to_int32s(const Napi::Value & value, const char * name) {
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
        wrong_type(name, "an Int32Array", value);
    }
    const auto array = value.As<Napi::Int32Array>();
    return std::vector<int32_t>(array.Data(), array.Data() + array.ElementLength());
}

std::vector<int32_t> read_int32s(const Napi::Object & object, const char * key) {
    const Napi::Value value = object.Get(key);
    return absent(value) ? std::vector<int32_t>() : to_int32s(value, key);
}

model_params read_model_params(const Napi::Object & object) {
    model_params out;
    out.path = read_string(object, "path", "");
    out.gpu_layer_count = read_int(object, "gpuLayers", out.gpu_layer_count);
    out.devices = read_strings(object, "devices");
    out.use_mmap = read_bool(object, "mmap", out.use_mmap);
    out.use_mlock = read_bool(object, "mlock", out.use_mlock);
    out.check_tensors = read_bool(object, "checkTensors", out.check_tensors);
    return out;
}

session_params read_session_params(const Napi::Object & object) {
    session_params out;
    out.context_length = read_int(object, "contextLength", out.context_length);
    out.parallel = read_int(object, "parallel", out.parallel);
    out.ubatch = read_int(object, "ubatch", out.ubatch);
    out.threads = read_int(object, "threads", out.threads);
    out.flash_attention = read_int(object, "flashAttention", out.flash_attention);
    out.cache_type_k = read_string(object, "cacheTypeK", out.cache_type_k);
    out.cache_type_v = read_string(object, "cacheTypeV", out.cache_type_v);
    out.offload_kqv = read_bool(object, "offloadKqv", out.offload_kqv);
    return out;
}

run_params read_run_params(const Napi::Object & object) {
    run_params out;
    if (!absent(object.Get("capture"))) {
        out.capture = read_capture(to_object(object.Get("capture"), "capture"));
    }
    const auto lists = read_array(object, "editLists");
    for (uint32_t i = 0; i < lists.Length(); ++i) {
        out.edit_lists.push_back(read_edit_list(to_object(lists.Get(i), "editLists")));
    }
    out.prompt_only = read_bool(object, "promptOnly", out.prompt_only);
    out.min_shared_prefix = read_int(object, "minSharedPrefix", out.min_shared_prefix);
    out.skip_layers = read_bool(object, "skipLayers", out.skip_layers);
    const double pending = read_number(object, "maxPendingBytes", static_cast<double>(out.max_pending_bytes));
    if (!(pending >= 0 && pending < 9e15)) {
        wrong_type("maxPendingBytes", "a number of bytes", object.Get("maxPendingBytes"));
    }
    out.max_pending_bytes = static_cast<size_t>(pending);
    out.chunk_bytes = read_int(object, "chunkBytes", out.chunk_bytes);
    return out;
}

std::unique_ptr<sequence_request> read_request(const Napi::Object & object) {
    auto out = std::make_unique<sequence_request>();
    out->id = static_cast<uint32_t>(std::max(0, read_int(object, "id", 0)));
    read_between(object, "id", 0, 0, INT32_MAX);
    out->prompt = read_int32s(object, "prompt");
    out->max_tokens = read_int(object, "maxTokens", 0);
    out->edits = read_int(object, "edits", -1);
    out->sampling.temperature = static_cast<float>(read_between(object, "temperature", out->sampling.temperature, 0, 1e6));
    out->sampling.top_k = read_int(object, "topK", out->sampling.top_k);
    out->sampling.top_p = static_cast<float>(read_between(object, "topP", out->sampling.top_p, 0, 1));
    out->sampling.min_p = static_cast<float>(read_between(object, "minP", out->sampling.min_p, 0, 1));
    out->sampling.seed = static_cast<uint32_t>(read_seed(object, "seed"));
    out->sampling.grammar = read_string(object, "grammar", "");
    out->stop = read_strings(object, "stop");
    out->statistics = read_bool(object, "statistics", false);
    out->ignore_eog = read_bool(object, "ignoreEog", false);
    out->prompt_cells_only = read_bool(object, "promptCellsOnly", false);
    return out;
}

}  // namespace rewardlens
