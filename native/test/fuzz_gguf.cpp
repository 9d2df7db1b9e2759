// Fuzzes gguf_check in this process: thousands of mutated headers a second, best under AddressSanitizer.
//
//   fuzz_gguf [--seconds N] [--count 20000] [--seed 1] [FILE.gguf ...]
//
// Starts from a built-in model and from the files given. Every input must come back as a verdict within a second and
// within a memory budget; a sanitizer report, a longer run or a larger allocation fails. Deterministic for a seed and
// --count. Mutants that pass the check become starting points themselves, so that mutations add up.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "gguf_builder.h"
#include "gguf_check.h"

namespace {

std::atomic<size_t> allocated{0};
std::atomic<size_t> peak{0};
constexpr size_t header = 16;  // keeps the default alignment

void * counted_allocation(size_t size) {
    void * const block = std::malloc(size + header);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    std::memcpy(block, &size, sizeof(size));
    const size_t now = allocated.fetch_add(size) + size;
    if (now > peak.load()) {
        peak.store(now);
    }
    return static_cast<char *>(block) + header;
}

void counted_free(void * pointer) {
    if (pointer == nullptr) {
        return;
    }
    void * const block = static_cast<char *>(pointer) - header;
    size_t size;
    std::memcpy(&size, block, sizeof(size));
    allocated.fetch_sub(size);
    std::free(block);
}

}  // namespace

void * operator new(size_t size) { return counted_allocation(size); }
void * operator new[](size_t size) { return counted_allocation(size); }
void operator delete(void * pointer) noexcept { counted_free(pointer); }
void operator delete[](void * pointer) noexcept { counted_free(pointer); }
void operator delete(void * pointer, size_t) noexcept { counted_free(pointer); }
void operator delete[](void * pointer, size_t) noexcept { counted_free(pointer); }

namespace {

using random_source = std::mt19937_64;
using clock_type = std::chrono::steady_clock;

struct fuzz_options {
    double seconds = 60;  // whatever ends first
    uint64_t count = 20000;
    uint64_t seed = 1;
    std::vector<std::string> files;
};

fuzz_options parse(int argc, char ** argv) {
    fuzz_options options;
    for (int i = 1; i < argc; ++i) {
        const std::string name = argv[i];
        const auto value = [&]() { return i + 1 < argc ? argv[++i] : "0"; };
        if (name == "--seconds") {
            options.seconds = std::atof(value());
            options.count = UINT64_MAX;
        } else if (name == "--count") {
            options.count = std::strtoull(value(), nullptr, 10);
            options.seconds = 1e9;
        } else if (name == "--seed") {
            options.seed = std::strtoull(value(), nullptr, 10);
        } else {
            options.files.push_back(name);
        }
    }
    return options;
}

std::string read_file(const std::string & path) {
    std::string bytes;
    if (std::FILE * file = std::fopen(path.c_str(), "rb")) {
        char chunk[65536];
        for (size_t got; (got = std::fread(chunk, 1, sizeof(chunk), file)) > 0;) {
            bytes.append(chunk, got);
        }
        std::fclose(file);
    }
    return bytes;
}

uint64_t interesting_number(random_source & random) {
    static const uint64_t numbers[] = {0, 1, 2, 3, 4, 7, 8, 9, 13, 31, 32, 43, 63, 64, 255, 256, 512, 513, 4096, 65535,
                                       65536, 1ull << 20, 1ull << 24, 1ull << 30, (1ull << 31) - 1, 1ull << 31,
                                       0xffffffffull, 1ull << 32, 1ull << 40, 1ull << 62, INT64_MAX, 1ull << 63,
                                       UINT64_MAX};
    const uint64_t number = numbers[random() % (sizeof(numbers) / sizeof(numbers[0]))];
    return random() % 4 == 0 ? number + random() % 5 - 2 : number;
}

// One random edit. Headers are small at the front, so offsets prefer it.
void mutate(std::string & bytes, random_source & random) {
    if (bytes.empty()) {
        bytes = "GGUF";
    }
    const size_t span = random() % 4 == 0 ? bytes.size() : std::min<size_t>(bytes.size(), 2048);
    const size_t at = random() % span;
    switch (random() % 8) {
        case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random() % 8))); break;
        case 1: bytes[at] = static_cast<char>(random()); break;
        case 2:
        case 3: {
            const uint64_t number = interesting_number(random);
            const size_t width = random() % 2 == 0 ? 4 : 8;
            std::memcpy(&bytes[at], &number, std::min(width, bytes.size() - at));
            break;
        }
        case 4: bytes.resize(random() % (bytes.size() + 1)); break;
        case 5: bytes.erase(at, 1 + random() % 40); break;
        case 6: bytes.insert(at, 1 + random() % 40, static_cast<char>(random())); break;
        case 7: bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 64)); break;
    }
}

std::vector<std::string> starting_points(const fuzz_options & options) {
    std::vector<std::string> points = {valid_model().bytes()};
    gguf_builder arrays = valid_model();
    arrays.set("llama.attention.head_count", gguf_builder::u32s({4, 4}));
    arrays.set("split.count", gguf_builder::u16(1));
    arrays.set("general.alignment", gguf_builder::u32(64));
    arrays.alignment = 64;
    points.push_back(arrays.bytes());
    for (const std::string & path : options.files) {
        points.push_back(read_file(path));
    }
    return points;
}

[[noreturn]] void fail(const char * what, uint64_t number, const std::string & input) {
    std::fprintf(stderr, "FAILED at input %llu (%zu bytes): %s; written to fuzz_gguf_failure.gguf\n",
                 static_cast<unsigned long long>(number), input.size(), what);
    if (std::FILE * file = std::fopen("fuzz_gguf_failure.gguf", "wb")) {
        std::fwrite(input.data(), 1, input.size(), file);
        std::fclose(file);
    }
    std::exit(1);
}

}  // namespace

int main(int argc, char ** argv) {
    const fuzz_options options = parse(argc, argv);
    random_source random(options.seed);
    std::vector<std::string> points = starting_points(options);
    const size_t first_points = points.size();
    std::map<std::string, uint64_t> verdicts;
    uint64_t number = 0;
    size_t worst_extra = 0;
    const auto start = clock_type::now();
    const auto elapsed = [](clock_type::time_point since) {
        return std::chrono::duration<double>(clock_type::now() - since).count();
    };
    for (; number < options.count && elapsed(start) < options.seconds; ++number) {
        std::string input = points[random() % points.size()];
        for (uint64_t edits = 1 + random() % 4; edits > 0; --edits) {
            mutate(input, random);
        }
        const size_t before = allocated.load();
        peak.store(before);
        const auto case_start = clock_type::now();
        const rewardlens::gguf_check_result result = rewardlens::gguf_check_memory(input.data(), input.size());
        const size_t extra = peak.load() - before;
        worst_extra = std::max(worst_extra, extra);
        ++verdicts[rewardlens::gguf_check_kind_name(result.kind)];
        if (elapsed(case_start) > 1.0) {
            fail("the check takes longer than a second", number, input);
        }
        if (extra > (1u << 20) + 64 * input.size()) {
            fail("the check allocates more than 1 MiB and 64 bytes per byte of input", number, input);
        }
        if (result.ok != result.message.empty()) {
            fail("a verdict without a message, or a message without a reason", number, input);
        }
        if (result.ok && points.size() < first_points + 64) {
            points.push_back(input);
        } else if (result.ok) {
            points[first_points + random() % 64] = input;
        }
    }
    std::printf("%llu inputs in %.1f s, peak %zu bytes:", static_cast<unsigned long long>(number), elapsed(start),
                worst_extra);
    for (const auto & verdict : verdicts) {
        std::printf(" %s %llu", verdict.first.c_str(), static_cast<unsigned long long>(verdict.second));
    }
    std::printf("\n");
    return verdicts["OK"] > 0 && verdicts.size() >= 5 ? 0 : 1;  // a fuzzer that reaches only one verdict is broken
}
