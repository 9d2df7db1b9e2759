// Process-wide llama.cpp state: backend plugins, devices and log capture. Loading twice is harmless.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ggml-backend.h"

namespace rewardlens {

// One compute device that a loaded backend offers.
struct device_info {
    std::string name;         // what --device takes, e.g. "CPU", "Vulkan0", "CUDA0"
    std::string description;  // e.g. "AMD EPYC", "llvmpipe (LLVM 15.0.6, 256 bits)"
    std::string type;         // "cpu" | "gpu" | "igpu" | "accel"
    std::string backend;      // registry name, e.g. "CPU", "Vulkan"
    size_t memory_free_bytes = 0;
    size_t memory_total_bytes = 0;
};

// Loads the best CPU plugin (and every other plugin) found in `directory`. Idempotent per directory; thread-safe.
// Throws BACKEND when afterwards no CPU device exists.
void load_backends_from(const std::string & directory);

// Loads one plugin file (e.g. libggml-vulkan.so of a sibling package). Idempotent per path.
// Throws BACKEND with the path when ggml refuses it.
void load_backend_plugin(const std::string & path);

// Devices of all loaded backends, in ggml's order.
std::vector<device_info> list_devices();

// Collects what llama.cpp and ggml log on THIS thread while it lives: the last lines become part of error messages.
// Logging is process-wide in llama.cpp; the sink is thread-local, so parallel loads do not mix.
class log_capture {
  public:
    log_capture();
    ~log_capture();
    log_capture(const log_capture &) = delete;
    log_capture & operator=(const log_capture &) = delete;
    // Warning and error lines so far, newline separated, at most ~4 KiB, newest kept.
    std::string problems() const;

  private:
    std::string * previous_;
    std::string text_;
};

// Persistent CPU threadpool created through the CPU backend's registry (these builds have no OpenMP; without a pool
// llama.cpp starts its threads anew for every graph, see docs/engine.md). RAII.
class cpu_threadpool {
  public:
    explicit cpu_threadpool(int n_threads);
    ~cpu_threadpool();
    cpu_threadpool(const cpu_threadpool &) = delete;
    cpu_threadpool & operator=(const cpu_threadpool &) = delete;
    ggml_threadpool_t get() const { return pool_; }

  private:
    ggml_threadpool_t pool_ = nullptr;
    void (*free_)(ggml_threadpool_t) = nullptr;
};

// A CPU backend of its own with a persistent threadpool, for graphs that are not llama.cpp's. RAII.
class cpu_engine {
  public:
    // `threads` 0 = one per hardware thread. Throws BACKEND when no CPU backend is loaded.
    explicit cpu_engine(int32_t threads);
    ~cpu_engine();
    cpu_engine(const cpu_engine &) = delete;
    cpu_engine & operator=(const cpu_engine &) = delete;
    ggml_backend_t backend() const { return backend_; }
    int32_t threads() const { return threads_; }

  private:
    int32_t threads_;
    cpu_threadpool pool_;
    ggml_backend_t backend_ = nullptr;
};

}  // namespace rewardlens
