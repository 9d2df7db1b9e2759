// Monotonic time.
#pragma once

#include <chrono>

namespace rewardlens {

// Milliseconds since an arbitrary start.
inline double now_ms() {
    using namespace std::chrono;
    return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

}  // namespace rewardlens
