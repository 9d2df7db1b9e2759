// Requests, results and the per-sequence state of the scheduler, with the rules of prefix sharing.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "capture.h"
#include "hook.h"
#include "sampler.h"

namespace rewardlens {

// One sequence to process. max_tokens = 0: the prompt is read (for capture) and nothing is generated.
struct sequence_request {
    uint32_t id = 0;
    std::vector<llama_token> prompt;
    int32_t max_tokens = 0;
    int32_t edits = -1;  // index into the run's edit lists, -1 = none
    sampling_params sampling;
    std::vector<std::string> stop;
    bool statistics = false;  // log-probability and entropy of every sampled token
    bool ignore_eog = false;  // go on after an end-of-generation token
    bool prompt_cells_only = false;  // takes no cells of sampled tokens: a batch of one row made them with other kernels
};

enum class finish_reason : uint8_t { prompt, eog, stop, length, context };
const char * finish_reason_name(finish_reason reason);

struct sequence_result {
    uint32_t id = 0;
    finish_reason reason = finish_reason::prompt;
    std::vector<llama_token> tokens;  // sampled, the end-of-generation token included
    std::string text;                 // bytes of the tokens without it; cut before a stop string
    std::vector<float> log_probabilities, entropies;
    int32_t prompt_length = 0;
    int32_t shared_prefix = 0;        // prompt positions taken from another sequence's KV cache
    int32_t skipped_layers = 0;       // lowest layers not computed again for the other prompt positions
    int32_t processed = 0;            // positions 0..processed-1 are in the KV cache (the last sampled token is not)
    int32_t captured_rows = 0;
    std::vector<uint64_t> changed;         // values written per intervention, in this sequence's own rows
    std::vector<uint64_t> changed_shared;  // values written per intervention in the shared prefix
};

enum class slot_state : uint8_t { idle, prefilling, generating };

// One sequence id of the context. Cells stay after a request ends: they are a source for later prefixes.
struct slot {
    int32_t sequence = 0;
    slot_state state = slot_state::idle;
    std::unique_ptr<sequence_request> request;
    sequence_result result;
    const compiled_edits * edits = nullptr;
    std::unique_ptr<sequence_sampler> sampler;
    llama_token next_token = -1;  // sampled, not yet in the cache
    std::unique_ptr<capture_chunk> chunk;

    std::vector<llama_token> cells;             // tokens in the KV cache
    int32_t read_cells = 0;                     // of these, from the front: read as a prompt. A sampled token's cells differ in the last bits
    int32_t cells_prompt_length = 0;            // what their positions were relative to
    const compiled_edits * cells_edits = nullptr;  // under which edits they were computed

    std::shared_ptr<const stored_prompt> stored;  // kept rows of the prompt, above which this one starts
    int entry = -1;                             // at this entry; -1 = its prompt is computed in full
    bool hollow = false;                        // cells of the layers below the entry are not filled: nothing will read them
    std::shared_ptr<stored_prompt> recording;   // what is being kept of this prompt; null = nothing

    bool active() const { return state != slot_state::idle; }
    int32_t position() const { return static_cast<int32_t>(cells.size()); }
};

// How many leading prompt positions of `request` could be taken from a sequence with these tokens, computed under
// `source_edits`. Positions that `plan` captures, and the last two (logits; see slot.cpp), are never shared; edited
// positions only when both ran the same edit list with the same meaning at these positions.
int32_t shareable_prefix(const std::vector<llama_token> & source_tokens, int32_t source_prompt_length,
                         const compiled_edits * source_edits, const sequence_request & request,
                         const compiled_edits * edits, const capture_plan & plan);

// First position that any edit of the list can touch (≥ prompt_length: in the completion); INT32_MAX when none.
int32_t first_edited(const compiled_edits * edits, int32_t prompt_length);

// Does the plan want the row of this position? `last` keeps every row from s_0 on; the newest overwrites.
bool capture_wants(const capture_plan & plan, int32_t position, int32_t prompt_length);

}  // namespace rewardlens
