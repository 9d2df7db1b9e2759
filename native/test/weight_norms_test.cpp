// Column sums of weight matrices: every type that ggml can read, matrices larger than one piece, and what is no weight.
#include "weight_norms.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "check.h"
#include "error.h"
#include "gguf_builder.h"

using namespace rewardlens;

namespace {

std::string write_model(const gguf_builder & builder) {
    const std::string path = "/tmp/rewardlens-weight-norms-" + std::to_string(reinterpret_cast<uintptr_t>(&builder)) + ".gguf";
    const std::string bytes = builder.bytes();
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return path;
}

gguf_builder model_with(ggml_type type, int64_t width, int64_t rows) {
    gguf_builder builder = valid_model();
    const auto bytes = static_cast<int64_t>(ggml_row_size(type, width)) * rows;
    builder.tensors.push_back({"blk.0.attn_k.weight", {width, rows}, type, -1, bytes});
    return builder;
}

void test_all_types() {
    constexpr int64_t width = 512;
    int tried = 0;
    for (int id = 0; id < GGML_TYPE_COUNT; ++id) {
        const auto type = static_cast<ggml_type>(id);
        const ggml_type_traits * traits = ggml_get_type_traits(type);
        if (traits->blck_size == 0 || (traits->to_float == nullptr && type != GGML_TYPE_F32)) {
            continue;
        }
        const std::string path = write_model(model_with(type, width, 3));
        const std::string row(ggml_row_size(type, width), '\1');  // what the builder fills tensors with
        std::vector<float> expected(width);
        if (type == GGML_TYPE_F32) {
            std::copy_n(reinterpret_cast<const float *>(row.data()), width, expected.data());
        } else {
            traits->to_float(row.data(), expected.data(), width);
        }
        const std::vector<double> sums = column_norms({path}, "blk.0.attn_k.weight");
        CHECK_EQ(sums.size(), static_cast<size_t>(width));
        for (size_t j = 0; j < sums.size(); ++j) {
            if (std::fabs(sums[j] - 3 * std::fabs(static_cast<double>(expected[j]))) > 1e-9 * sums[j]) {
                CHECK(std::string(ggml_type_name(type)).empty());  // names the type
                break;
            }
        }
        ++tried;
        std::remove(path.c_str());
    }
    CHECK(tried > 20);
}

void test_pieces() {
    constexpr int64_t width = 256, rows = 9000;  // 9 MiB
    const std::string path = write_model(model_with(GGML_TYPE_F32, width, rows));
    const std::vector<double> sums = column_norms({path}, "blk.0.attn_k.weight");
    const std::string bytes(sizeof(float), '\1');
    const double value = *reinterpret_cast<const float *>(bytes.data());
    for (const double sum : sums) {
        if (std::fabs(sum - rows * value) > 1e-9 * sum) {
            CHECK_EQ(sum, rows * value);
        }
    }
    CHECK_EQ(sums.size(), static_cast<size_t>(width));
    std::remove(path.c_str());
}

void test_refusals() {
    const auto fails = [](const std::vector<std::string> & files, const std::string & what) {
        try {
            column_norms(files, "blk.0.attn_k.weight");
        } catch (const engine_error & error) {
            return error.code() == error_code::model_load && std::string(error.what()).find(what) != std::string::npos;
        }
        return false;
    };
    const std::string path = write_model(model_with(GGML_TYPE_I32, 256, 2));
    CHECK(fails({path}, "has type i32"));
    std::ofstream(path, std::ios::binary) << "GGUF";
    CHECK(fails({path}, path));
    std::remove(path.c_str());
    CHECK(fails({path}, "No such file"));
    CHECK(column_norms({}, "x").empty());
}

}  // namespace

int main() {
    RUN(test_all_types);
    RUN(test_pieces);
    RUN(test_refusals);
    return check_report();
}
