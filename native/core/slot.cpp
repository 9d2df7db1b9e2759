#include "slot.h"

#include <algorithm>
#include <limits>

namespace rewardlens {

namespace {

bool depends_on_prompt_length(const compiled_edits & edits) {
    return std::any_of(edits.list->edits.begin(), edits.list->edits.end(),
                       [](const edit & e) { return e.positions.depends_on_prompt_length(); });
}

}  // namespace

int32_t first_edited(const compiled_edits * edits, int32_t prompt_length) {
    int32_t first = std::numeric_limits<int32_t>::max();
    if (edits != nullptr) {
        for (const edit & e : edits->list->edits) {
            first = std::min(first, e.positions.first(prompt_length));
        }
    }
    return first;
}

const char * finish_reason_name(finish_reason reason) {
    switch (reason) {
        case finish_reason::prompt:  return "prompt";
        case finish_reason::eog:     return "eog";
        case finish_reason::stop:    return "stop";
        case finish_reason::length:  return "length";
        case finish_reason::context: return "context";
    }
    return "length";
}

int32_t shareable_prefix(const std::vector<llama_token> & source_tokens, int32_t source_prompt_length,
                         const compiled_edits * source_edits, const sequence_request & request,
                         const compiled_edits * edits, const capture_plan & plan) {
    const auto prompt_length = static_cast<int32_t>(request.prompt.size());
    int32_t limit = std::max(prompt_length - 2, 0);  // two rows are left to compute: a lone one takes other kernels
    if (!plan.empty()) {
        limit = std::min(limit, plan.positions.first(prompt_length));
    }
    limit = std::min(limit, static_cast<int32_t>(source_tokens.size()));
    if (request.prompt_cells_only) {
        limit = std::min(limit, source_prompt_length);
    }
    int32_t common = 0;
    while (common < limit && source_tokens[common] == request.prompt[common]) {
        ++common;
    }
    // Without any edit so far the cells of both are the same.
    int32_t shared = std::min({common, first_edited(edits, prompt_length), first_edited(source_edits, source_prompt_length)});
    const bool same_meaning = edits != nullptr && edits == source_edits &&
                              (source_prompt_length == prompt_length || !depends_on_prompt_length(*edits));
    if (same_meaning) {  // the same edits on the same tokens: equal as long as both positions are prompt
        shared = std::max(shared, std::min({common, prompt_length, source_prompt_length}));
    }
    return std::max(shared, 0);
}

bool capture_wants(const capture_plan & plan, int32_t position, int32_t prompt_length) {
    if (plan.empty()) {
        return false;
    }
    if (plan.positions.kind == position_kind::last) {
        return position >= plan.positions.from && position >= prompt_length - 1;
    }
    return plan.positions.contains(position, prompt_length);
}

}  // namespace rewardlens
