// What the hook does with the rows of a site: edits, captures, and rows kept for later passes.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "ggml-backend.h"
#include "hook.h"

namespace rewardlens {

namespace {

constexpr float F16_MAX = 65504.0f;

}  // namespace

void hook::edit_row(size_t index, const hook_row & row, float * data, int32_t width, bool & changed) {
    if (row.edits == nullptr) {
        return;
    }
    for (const edit * e : row.edits->by_site[index]) {
        if (edit_applies(*e, row.position, row.prompt_length)) {
            row.changed[e->source] += apply_edit(*e, data, width, row.position);
            changed = true;
        }
    }
}

void hook::capture_row(const watched_site & site, const hook_row & row, const float * data) {
    const auto block = static_cast<size_t>(site.capture_block);
    auto * out = static_cast<uint8_t *>(row.chunk->blocks[block].get()) + static_cast<size_t>(row.chunk_row) * row.chunk->row_bytes[block];
    if (plan_.neurons.empty() && !plan_.half_precision) {
        std::memcpy(out, data, row.chunk->row_bytes[block]);
        return;
    }
    const size_t count = plan_.neurons.empty() ? static_cast<size_t>(site.node.width) : plan_.neurons.size();
    for (size_t i = 0; i < count; ++i) {
        const float value = plan_.neurons.empty() ? data[i] : data[plan_.neurons[i]];
        if (plan_.half_precision) {
            if (std::fabs(value) > F16_MAX && std::isfinite(value)) {
                fail(error_code::non_finite, site_label(site.ref) + ": a value of " + std::to_string(value) + " does not fit f16; capture as f32");
            }
            reinterpret_cast<ggml_fp16_t *>(out)[i] = ggml_fp32_to_fp16(value);
        } else {
            reinterpret_cast<float *>(out)[i] = value;
        }
    }
}

// Entries: puts kept rows where a pass starts above a layer, keeps rows of a pass that computes the layer.
void hook::exchange_rows(const watched_site & site, ggml_tensor * tensor) {
    if (site.entry < 0) {
        return;
    }
    const auto width = static_cast<size_t>(site.node.width);
    const size_t row_bytes = width * sizeof(float);
    if (tensor->type != GGML_TYPE_F32 || !ggml_is_contiguous(tensor) || tensor->ne[0] != site.node.width ||
        ggml_nrows(tensor) != static_cast<int64_t>(rows_->size())) {
        fail(error_code::shape_mismatch, site_label(site.ref) + ": node '" + site.node.node_name + "' has an unexpected shape");
        return;
    }
    const bool entering = site.entry == skip_.entry();
    for (size_t r = 0; r < rows_->size(); ++r) {
        const hook_row & row = (*rows_)[r];
        const size_t offset = static_cast<size_t>(row.position) * width;
        if (entering) {
            ggml_backend_tensor_set(tensor, row.enter->rows[site.entry]->data() + offset, r * row_bytes, row_bytes);
        } else if (row.record != nullptr && row.record->rows[site.entry] != nullptr) {
            ggml_backend_tensor_get(tensor, row.record->rows[site.entry]->data() + offset, r * row_bytes, row_bytes);
        }
    }
    if (entering) {
        skip_.restore();
    }
}

void hook::process(const watched_site & site, size_t index, ggml_tensor * tensor) {
    const auto & rows = *rows_;
    const int64_t tensor_rows = tensor->ne[1];
    const bool all_rows = tensor_rows == static_cast<int64_t>(rows.size());
    if (tensor->type != GGML_TYPE_F32 || !ggml_is_contiguous(tensor) || tensor->ne[0] != site.node.width || ggml_nrows(tensor) != tensor_rows ||
        (!all_rows && tensor_rows != static_cast<int64_t>(output_index_.size()))) {
        fail(error_code::shape_mismatch, site_label(site.ref) + ": node '" + site.node.node_name + "' has an unexpected shape");
        return;
    }
    const auto row_of = [&](int64_t r) -> const hook_row & { return rows[all_rows ? r : output_index_[r]]; };
    int64_t lo = tensor_rows, hi = 0;  // span of rows that matter
    for (int64_t r = 0; r < tensor_rows; ++r) {
        if (site_wanted_by(index, row_of(r))) {
            lo = std::min(lo, r);
            hi = r + 1;
        }
    }
    ++fired_[index];
    if (lo >= hi) {
        return;
    }
    const auto width = static_cast<size_t>(site.node.width);
    const bool host = ggml_backend_buffer_is_host(tensor->buffer);
    float * data = host ? static_cast<float *>(tensor->data) + lo * width : staging_.data();
    if (!host) {
        ggml_backend_tensor_get(tensor, data, lo * width * sizeof(float), (hi - lo) * width * sizeof(float));
    }
    bool changed = false;
    for (int64_t r = lo; r < hi; ++r) {
        const hook_row & row = row_of(r);
        edit_row(index, row, data + (r - lo) * width, site.node.width, changed);
        if (row.chunk != nullptr && site.capture_block >= 0) {
            capture_row(site, row, data + (r - lo) * width);
        }
    }
    if (changed && !host) {
        ggml_backend_tensor_set(tensor, data, lo * width * sizeof(float), (hi - lo) * width * sizeof(float));
    }
}

}  // namespace rewardlens
