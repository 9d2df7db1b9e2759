// Independent pieces of work on several threads.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

namespace rewardlens {

// body(i, worker) for i in 0..count-1 on up to `threads` threads; `worker` in 0..threads-1 tells which one, and two calls with
// the same worker never overlap. The first exception is thrown when all are done. Threads are started for each call (tens of µs).
template <typename F>
void parallel_for(int32_t threads, size_t count, const F & body) {
    const size_t workers = std::min<size_t>(static_cast<size_t>(std::max(1, threads)), count);
    std::vector<std::exception_ptr> errors(workers);
    const auto run = [&](size_t worker) {
        try {
            for (size_t i = worker; i < count; i += workers) {
                body(i, worker);
            }
        } catch (...) {
            errors[worker] = std::current_exception();
        }
    };
    std::vector<std::thread> pool;
    for (size_t worker = 1; worker < workers; ++worker) {
        pool.emplace_back(run, worker);
    }
    if (workers > 0) {
        run(0);
    }
    for (std::thread & thread : pool) {
        thread.join();
    }
    for (const std::exception_ptr & error : errors) {
        if (error) {
            std::rethrow_exception(error);
        }
    }
}

}  // namespace rewardlens
