#include "runtime.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <set>
#include <thread>

#include "error.h"
#include "ggml-cpu.h"
#include "llama.h"

namespace rewardlens {

namespace {

std::mutex g_mutex;
std::set<std::string> g_loaded;
thread_local std::string * t_sink = nullptr;
thread_local bool t_keep_continuation = false;

constexpr size_t MAX_LOG_BYTES = 4096;

void forward_log(ggml_log_level level, const char * text, void * /*user_data*/) {
    if (t_sink == nullptr || text == nullptr) {
        return;
    }
    if (level != GGML_LOG_LEVEL_CONT) {
        t_keep_continuation = level == GGML_LOG_LEVEL_WARN || level == GGML_LOG_LEVEL_ERROR;
    }
    if (!t_keep_continuation) {
        return;
    }
    t_sink->append(text);
    if (t_sink->size() > MAX_LOG_BYTES) {
        t_sink->erase(0, t_sink->size() - MAX_LOG_BYTES);
    }
}

void init_once() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_set(forward_log, nullptr);  // also sets ggml's
        llama_backend_init();
    });
}

const char * device_type_name(enum ggml_backend_dev_type type) {
    switch (type) {
        case GGML_BACKEND_DEVICE_TYPE_CPU:  return "cpu";
        case GGML_BACKEND_DEVICE_TYPE_GPU:  return "gpu";
        case GGML_BACKEND_DEVICE_TYPE_IGPU: return "igpu";
        default:                            return "accel";
    }
}

}  // namespace

void load_backends_from(const std::string & directory) {
    init_once();
    std::lock_guard<std::mutex> lock(g_mutex);
    if (g_loaded.count(directory) == 0) {
        ggml_backend_load_all_from_path(directory.c_str());
        g_loaded.insert(directory);
    }
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == nullptr) {
        throw engine_error(error_code::backend, "no CPU backend plugin could be loaded from '" + directory + "'");
    }
}

void load_backend_plugin(const std::string & path) {
    init_once();
    std::lock_guard<std::mutex> lock(g_mutex);
    if (g_loaded.count(path) != 0) {
        return;
    }
    log_capture log;
    if (ggml_backend_load(path.c_str()) == nullptr) {
        throw engine_error(error_code::backend, "ggml could not load the backend plugin '" + path + "': " + log.problems());
    }
    g_loaded.insert(path);
}

std::vector<device_info> list_devices() {
    std::vector<device_info> out;
    for (size_t i = 0; i < ggml_backend_dev_count(); ++i) {
        ggml_backend_dev_t dev = ggml_backend_dev_get(i);
        device_info info;
        info.name = ggml_backend_dev_name(dev);
        info.description = ggml_backend_dev_description(dev);
        info.type = device_type_name(ggml_backend_dev_type(dev));
        info.backend = ggml_backend_reg_name(ggml_backend_dev_backend_reg(dev));
        ggml_backend_dev_memory(dev, &info.memory_free_bytes, &info.memory_total_bytes);
        out.push_back(std::move(info));
    }
    return out;
}

log_capture::log_capture() : previous_(t_sink) { t_sink = &text_; }

log_capture::~log_capture() { t_sink = previous_; }

std::string log_capture::problems() const {
    size_t end = text_.size();
    while (end > 0 && (text_[end - 1] == '\n' || text_[end - 1] == ' ')) {
        --end;
    }
    return text_.substr(0, end);
}

cpu_threadpool::cpu_threadpool(int n_threads) {
    ggml_backend_dev_t dev = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    if (dev == nullptr) {
        throw engine_error(error_code::backend, "no CPU backend is loaded");
    }
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(dev);
    using new_fn = ggml_threadpool_t (*)(ggml_threadpool_params *);
    auto * create = reinterpret_cast<new_fn>(ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_new"));
    free_ = reinterpret_cast<void (*)(ggml_threadpool_t)>(ggml_backend_reg_get_proc_address(reg, "ggml_threadpool_free"));
    if (create == nullptr || free_ == nullptr) {
        throw engine_error(error_code::backend, "the CPU backend offers no threadpool");
    }
    ggml_threadpool_params params = ggml_threadpool_params_default(n_threads);
    pool_ = create(&params);
    if (pool_ == nullptr) {
        throw engine_error(error_code::backend, "could not start " + std::to_string(n_threads) + " compute threads");
    }
}

cpu_threadpool::~cpu_threadpool() {
    if (pool_ != nullptr && free_ != nullptr) {
        free_(pool_);
    }
}

cpu_engine::cpu_engine(int32_t threads)
    : threads_(threads > 0 ? threads : static_cast<int32_t>(std::max(1u, std::thread::hardware_concurrency()))), pool_(threads_) {
    ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    backend_ = ggml_backend_dev_init(device, nullptr);
    if (backend_ == nullptr) {
        throw engine_error(error_code::backend, "the CPU backend could not be started");
    }
    ggml_backend_reg_t reg = ggml_backend_dev_backend_reg(device);
    using set_pool_fn = void (*)(ggml_backend_t, ggml_threadpool_t);
    auto * set_pool = reinterpret_cast<set_pool_fn>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_cpu_set_threadpool"));
    auto * set_threads = reinterpret_cast<ggml_backend_set_n_threads_t>(ggml_backend_reg_get_proc_address(reg, "ggml_backend_set_n_threads"));
    if (set_threads != nullptr) {
        set_threads(backend_, threads_);
    }
    if (set_pool != nullptr) {
        set_pool(backend_, pool_.get());
    }
}

cpu_engine::~cpu_engine() { ggml_backend_free(backend_); }

}  // namespace rewardlens
