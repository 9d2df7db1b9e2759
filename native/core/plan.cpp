#include "plan.h"

#include <algorithm>
#include <limits>

#include "error.h"

namespace rewardlens {

namespace {

const char * const SITE_NAMES[SITE_COUNT] = {"residPre", "residMid", "residPost", "attnOut", "mlpPost", "mlpOut", "logits"};

// splitmix64 (Steele et al. 2014): row choice must be a pure function of seed and position, so that a resampled
// prefix can be shared between sequences.
uint64_t mix(uint64_t seed, uint64_t position) {
    uint64_t z = seed + (position + 1) * 0x9E3779B97F4A7C15ULL;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
}

size_t selected_count(const edit & e, int32_t width) {
    return e.neurons.empty() ? static_cast<size_t>(width) : e.neurons.size();
}

const float * chosen_row(const edit & e, size_t n_sel, int32_t position) {
    const size_t row_count = e.values->size() / n_sel;
    if (e.choice == row_choice::seeded) {
        return e.values->data() + (mix(e.seed, static_cast<uint64_t>(position)) % row_count) * n_sel;
    }
    const auto it = std::lower_bound(e.row_positions.begin(), e.row_positions.end(), position);
    return e.values->data() + static_cast<size_t>(it - e.row_positions.begin()) * n_sel;
}

template <typename F>
void for_each_selected(const edit & e, float * row, int32_t width, F && f) {
    if (e.neurons.empty()) {
        for (int32_t i = 0; i < width; ++i) {
            f(row[i], static_cast<size_t>(i));
        }
    } else {
        for (size_t i = 0; i < e.neurons.size(); ++i) {
            f(row[e.neurons[i]], i);
        }
    }
}

void project_out(const edit & e, float * row, int32_t width) {
    const std::vector<float> & direction = *e.values;
    double dot = 0.0;
    for_each_selected(e, row, width, [&](float x, size_t i) { dot += static_cast<double>(x) * direction[i]; });
    for_each_selected(e, row, width, [&](float & x, size_t i) { x -= static_cast<float>(dot * direction[i]); });
}

[[noreturn]] void shape_error(const std::string & what, size_t expected, size_t got) {
    throw engine_error(error_code::shape_mismatch,
                       what + ": expected " + std::to_string(expected) + " values, got " + std::to_string(got));
}

}  // namespace

const char * site_name(site_id site) { return SITE_NAMES[static_cast<int>(site)]; }

site_id site_from_name(const std::string & name) {
    for (int i = 0; i < SITE_COUNT; ++i) {
        if (name == SITE_NAMES[i]) {
            return static_cast<site_id>(i);
        }
    }
    throw engine_error(error_code::invalid_argument,
                       "site: expected residPre, residMid, residPost, attnOut, mlpPost, mlpOut or logits, got '" + name + "'");
}

bool position_set::contains(int32_t position, int32_t prompt_length) const {
    if (position < from) {
        return false;
    }
    switch (kind) {
        case position_kind::all:        return true;
        case position_kind::prompt:     return position < prompt_length;
        case position_kind::completion: return position >= prompt_length;
        case position_kind::response:   return position >= prompt_length - 1;
        case position_kind::s0:         return position == prompt_length - 1;
        case position_kind::last:       return false;
        case position_kind::list:
            return std::binary_search(list.begin(), list.end(), position) ||
                   (position < prompt_length && std::binary_search(list.begin(), list.end(), position - prompt_length));
    }
    return false;
}

int32_t position_set::first(int32_t prompt_length) const {
    constexpr int32_t NEVER = std::numeric_limits<int32_t>::max();
    switch (kind) {
        case position_kind::all:        return from;
        case position_kind::prompt:     return from < prompt_length ? from : NEVER;
        case position_kind::completion: return std::max(from, prompt_length);
        case position_kind::response:   return std::max(from, prompt_length - 1);
        case position_kind::s0:         return prompt_length - 1 >= from ? prompt_length - 1 : NEVER;
        case position_kind::last:       return std::max(from, prompt_length - 1);
        case position_kind::list: break;
    }
    int32_t best = NEVER;
    for (int32_t entry : list) {
        const int32_t position = entry >= 0 ? entry : prompt_length + entry;
        if (position >= from && position >= 0) {
            best = std::min(best, position);
        }
    }
    return best;
}

bool position_set::depends_on_prompt_length() const {
    switch (kind) {
        case position_kind::all:
        case position_kind::prompt:
        case position_kind::completion: return false;
        case position_kind::response:
        case position_kind::last:
        case position_kind::s0:         return true;
        case position_kind::list:       return !list.empty() && list.front() < 0;
    }
    return true;
}

bool edit_applies(const edit & e, int32_t position, int32_t prompt_length) {
    if (!e.positions.contains(position, prompt_length)) {
        return false;
    }
    return e.op != edit_op::rows || e.choice != row_choice::by_position ||
           std::binary_search(e.row_positions.begin(), e.row_positions.end(), position);
}

uint32_t apply_edit(const edit & e, float * row, int32_t width, int32_t position) {
    const std::vector<float> & v = *e.values;
    const size_t n_sel = selected_count(e, width);
    const size_t step = v.size() == 1 ? 0 : 1;
    switch (e.op) {
        case edit_op::set:
            for_each_selected(e, row, width, [&](float & x, size_t i) { x = v[i * step]; });
            break;
        case edit_op::scale:
            for_each_selected(e, row, width, [&](float & x, size_t i) { x *= v[i * step]; });
            break;
        case edit_op::add:
            for_each_selected(e, row, width, [&](float & x, size_t i) { x += v[i * step]; });
            break;
        case edit_op::clamp:
            for_each_selected(e, row, width, [&](float & x, size_t) { x = std::min(std::max(x, v[0]), v[1]); });
            break;
        case edit_op::rows: {
            const float * source = chosen_row(e, n_sel, position);
            for_each_selected(e, row, width, [&](float & x, size_t i) { x = source[i]; });
            break;
        }
        case edit_op::project:
            project_out(e, row, width);
            break;
    }
    return static_cast<uint32_t>(n_sel);
}

void check_edit(const edit & e, int32_t width) {
    const std::string where = std::string(site_name(e.where.site)) + "." + std::to_string(e.where.layer);
    for (int32_t neuron : e.neurons) {
        if (neuron < 0 || neuron >= width) {
            throw engine_error(error_code::invalid_argument, "neurons: " + where + " has neurons 0.." + std::to_string(width - 1) +
                                                                 ", got " + std::to_string(neuron));
        }
    }
    if (e.positions.kind == position_kind::last) {  // known only when the sequence ends: it would never apply
        throw engine_error(error_code::invalid_argument, "positions: " + where + " cannot be edited at 'last', only captured");
    }
    const size_t n_sel = selected_count(e, width);
    const size_t got = e.values ? e.values->size() : 0;
    switch (e.op) {
        case edit_op::set:
        case edit_op::scale:
        case edit_op::add:
            if (got != 1 && got != n_sel) {
                shape_error("values for " + where, n_sel, got);
            }
            break;
        case edit_op::clamp:
            if (got != 2) {
                shape_error("bounds for " + where, 2, got);
            }
            break;
        case edit_op::project:
            if (got != n_sel) {
                shape_error("direction for " + where, n_sel, got);
            }
            break;
        case edit_op::rows:
            if (got == 0 || got % n_sel != 0) {
                shape_error("rows for " + where + " (a multiple of)", n_sel, got);
            }
            if (e.choice == row_choice::by_position && got / n_sel != e.row_positions.size()) {
                shape_error("rows for " + where, n_sel * e.row_positions.size(), got);
            }
            break;
    }
}

}  // namespace rewardlens
