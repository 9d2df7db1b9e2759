// Command line of rewardlens-load-check.
#pragma once

#include <cstdint>
#include <string>

namespace load_check {

/** Whether to load the weights for real and decode one token. */
enum class decode_mode {
    automatic,  // when the model has at most `decode_below_bytes` of weights
    always,
    never,
};

struct load_options {
    std::string model;
    std::string backend_dir;                      // directory of libggml-cpu-*.so; empty: header check only
    uint64_t budget_bytes = 2ull << 30;           // memory beyond the mapped file; 0 = no limit
    uint32_t seconds = 30;                        // wall clock; 0 = no limit
    uint32_t context = 64;                        // tokens of the trial context
    uint32_t sequences = 1;                       // sequences of the trial context
    decode_mode decode = decode_mode::automatic;
    uint64_t decode_below_bytes = 64ull << 20;
};

/** Parses the arguments. On a usage error prints what is wrong and the usage to stderr and exits with `exit_usage`. */
load_options parse_options(int argc, char ** argv);

}  // namespace load_check
