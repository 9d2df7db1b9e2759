// Guards against llama.cpp libraries that do not fit the headers of this build.
#pragma once

#include <string>

namespace rewardlens {

// Compares the llama.cpp and ggml that were loaded into this process with the headers that this build was compiled
// against: release strings first, then the sizes of the structs that cross the boundary by value, then names of
// enumerators. Returns an empty string when everything fits, else one sentence that names both sides.
// Calls nothing that could write outside its own buffer, so it is safe with any release. Run it before any other
// llama.cpp call. Cost: microseconds.
std::string abi_mismatch();

}  // namespace rewardlens
