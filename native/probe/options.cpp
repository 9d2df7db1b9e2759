#include "options.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "report.h"

namespace load_check {

namespace {

const char * const usage_text =
    "usage: rewardlens-load-check MODEL [options]\n"
    "Loads a GGUF model the way rewardlens does, in this separate process, and prints one JSON line.\n"
    "  --backend-dir DIR    directory of the ggml backends (libggml-cpu-*.so); without it only the header is checked\n"
    "  --budget-bytes N     memory limit beyond the mapped file, 0 = none (default 2147483648)\n"
    "  --seconds N          time limit, 0 = none (default 30)\n"
    "  --ctx N              tokens of the trial context (default 64)\n"
    "  --sequences N        sequences of the trial context (default 1)\n"
    "  --decode             map the weights and decode one token, whatever the size of the model\n"
    "  --no-decode          never do that (default: with at most 64 MiB of weights)\n"
    "exit codes: 0 loads; 1 refused; 2 usage; 3 llama.cpp would have crashed; 4 too slow\n";

[[noreturn]] void fail_usage(const std::string & message) {
    std::fprintf(stderr, "rewardlens-load-check: %s\n%s", message.c_str(), usage_text);
    std::exit(exit_usage);
}

uint64_t parse_number(const std::string & option, const char * text, uint64_t limit) {
    char * end = nullptr;
    errno = 0;
    const unsigned long long value = std::strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value > limit) {
        fail_usage(option + ": expected a number from 0 to " + std::to_string(limit) + ", got '" + text + "'");
    }
    return value;
}

}  // namespace

load_options parse_options(int argc, char ** argv) {
    constexpr uint64_t max_u31 = std::numeric_limits<int32_t>::max();
    load_options options;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        const auto value = [&]() -> const char * {
            if (i + 1 >= argc) {
                fail_usage(name + ": a value is missing");
            }
            return argv[++i];
        };
        if (name == "--backend-dir") {
            options.backend_dir = value();
        } else if (name == "--budget-bytes") {
            options.budget_bytes = parse_number(name, value(), std::numeric_limits<int64_t>::max());
        } else if (name == "--seconds") {
            options.seconds = static_cast<uint32_t>(parse_number(name, value(), 86400));
        } else if (name == "--ctx") {
            options.context = static_cast<uint32_t>(parse_number(name, value(), max_u31));
        } else if (name == "--sequences") {
            options.sequences = static_cast<uint32_t>(parse_number(name, value(), max_u31));
        } else if (name == "--decode") {
            options.decode = decode_mode::always;
        } else if (name == "--no-decode") {
            options.decode = decode_mode::never;
        } else if (name.compare(0, 2, "--") == 0 || !options.model.empty()) {
            fail_usage("unexpected argument '" + name + "'");
        } else {
            options.model = name;
        }
    }
    if (options.model.empty()) {
        fail_usage("MODEL is missing");
    }
    return options;
}

}  // namespace load_check
