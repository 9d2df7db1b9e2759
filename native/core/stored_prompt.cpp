#include "stored_prompt.h"

#include <algorithm>

namespace rewardlens {

size_t stored_prompt::bytes() const {
    size_t sum = cells.size() + tokens.size() * sizeof(llama_token);
    for (const auto & block : rows) {
        sum += block ? block->size() * sizeof(float) : 0;
    }
    return sum;
}

int stored_prompt::highest_entry(int32_t most) const {
    int entry = std::min(most, reach) - 1;
    while (entry >= 0 && !rows[entry]) {
        --entry;
    }
    return entry;
}

size_t stored_prompts::bytes() const {
    size_t sum = 0;
    for (const auto & prompt : prompts_) {
        sum += prompt->bytes();
    }
    return sum;
}

std::shared_ptr<stored_prompt> stored_prompts::find(const std::vector<llama_token> & tokens) {
    for (const auto & prompt : prompts_) {
        if (prompt->tokens == tokens) {
            prompt->used = ++clock_;
            return prompt;
        }
    }
    return nullptr;
}

bool stored_prompts::add(std::shared_ptr<stored_prompt> prompt) {
    prompts_.erase(std::remove_if(prompts_.begin(), prompts_.end(), [&](const auto & other) { return other->tokens == prompt->tokens; }),
                   prompts_.end());
    if (prompt->bytes() > budget_) {
        return false;
    }
    while (bytes() + prompt->bytes() > budget_) {
        prompts_.erase(std::min_element(prompts_.begin(), prompts_.end(), [](const auto & a, const auto & b) { return a->used < b->used; }));
    }
    prompt->used = ++clock_;
    prompts_.push_back(std::move(prompt));
    return true;
}

bool stored_prompts::copy_rows(stored_prompt & target, int32_t count) const {
    const auto begins_alike = [&](const stored_prompt & other) {
        return other.tokens.size() >= static_cast<size_t>(count) && std::equal(other.tokens.begin(), other.tokens.begin() + count, target.tokens.begin());
    };
    for (const auto & other : prompts_) {
        bool complete = begins_alike(*other);
        for (size_t entry = 0; entry < target.rows.size(); ++entry) {
            complete = complete && (!target.rows[entry] || (other->rows[entry] && static_cast<int32_t>(entry) < other->reach));
        }
        if (!complete) {
            continue;
        }
        for (size_t entry = 0; entry < target.rows.size(); ++entry) {
            if (target.rows[entry]) {
                const size_t width = target.rows[entry]->size() / target.tokens.size();
                std::copy_n(other->rows[entry]->begin(), width * static_cast<size_t>(count), target.rows[entry]->begin());
            }
        }
        return true;
    }
    return false;
}

}  // namespace rewardlens
