#include "running.h"

#include <cstdlib>
#include <mutex>
#include <set>

#include "scheduler.h"

namespace rewardlens {

namespace {

// Never destroyed: used during exit.
std::mutex & running_mutex() {
    static auto * instance = new std::mutex();
    return *instance;
}

std::set<scheduler *> & running() {
    static auto * instance = new std::set<scheduler *>();
    return *instance;
}

void stop_all() {
    std::set<scheduler *> left;
    {
        std::lock_guard<std::mutex> lock(running_mutex());
        left = running();
    }
    for (scheduler * run : left) {
        run->cancel();
    }
    for (scheduler * run : left) {
        run->join();
    }
}

}  // namespace

void add_running(scheduler * run) {
    static const int registered = std::atexit(stop_all);
    (void) registered;
    std::lock_guard<std::mutex> lock(running_mutex());
    running().insert(run);
}

void remove_running(scheduler * run) {
    std::lock_guard<std::mutex> lock(running_mutex());
    running().erase(run);
}

}  // namespace rewardlens
