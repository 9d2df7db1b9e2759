// Prompts whose lower layers are kept, so that differently edited sequences need to compute only the layers above.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "llama.h"

namespace rewardlens {

// What is kept of one prompt.
struct stored_prompt {
    std::vector<llama_token> tokens;
    // Rows at residPost of the k-th layer that a pass may enter above, [tokens, d_model] f32; null = not kept. Only k < reach.
    std::vector<std::shared_ptr<std::vector<float>>> rows;
    int32_t reach = 0;           // entries below which nothing was edited: rows and KV cells up there are those of any clean pass
    bool clean = false;          // nothing was edited at all: its KV cells serve in every layer
    std::vector<uint8_t> cells;  // the sequence's KV cells, as llama.cpp writes them out
    uint64_t used = 0;           // when it was used last
    size_t bytes() const;
    // The highest entry of at most `reach` with kept rows; -1 = none.
    int highest_entry(int32_t most) const;
};

// A few stored prompts within a budget of bytes; the longest unused one goes first. Engine thread only.
class stored_prompts {
  public:
    explicit stored_prompts(size_t budget_bytes = 0) : budget_(budget_bytes) {}
    size_t budget() const { return budget_; }
    size_t bytes() const;
    // Null when nothing is kept of exactly this prompt.
    std::shared_ptr<stored_prompt> find(const std::vector<llama_token> & tokens);
    // Replaces what is kept of the same prompt. False when it does not fit even alone.
    bool add(std::shared_ptr<stored_prompt> prompt);
    // Copies the rows of the first `count` positions into the blocks of `target`, from a prompt that begins with the same
    // tokens. False when no prompt has them all.
    bool copy_rows(stored_prompt & target, int32_t count) const;
    void clear() { prompts_.clear(); }

  private:
    std::vector<std::shared_ptr<stored_prompt>> prompts_;
    size_t budget_;
    uint64_t clock_ = 0;
};

}  // namespace rewardlens
