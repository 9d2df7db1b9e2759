// The one JSON line of rewardlens-load-check, written exactly once, also from an abort or a signal handler.
#pragma once

#include <string>

#include "gguf_check.h"

namespace load_check {

/** Exit codes. The JSON line on stdout says the same and more; a missing line means that the process was killed. */
enum exit_code {
    exit_ok = 0,       // the model loads
    exit_refused = 1,  // an error was reported the ordinary way, by the header check or by llama.cpp
    exit_usage = 2,    // wrong arguments: no JSON, a message on stderr
    exit_crash = 3,    // llama.cpp aborted or received a signal: loading it in-process would have killed the process
    exit_timeout = 4,  // it took longer than --seconds
};

/** Names the step that runs now: "check", "backend", "load", "tokenizer", "context", "decode". A literal. */
void set_stage(const char * stage);

/** Result of the header check, for the line that is written later; `check_ms` is what it cost. */
void set_facts(const rewardlens::gguf_check_result & facts, double check_ms);

/** A remark that does not make the model unusable, e.g. "logits are not finite". */
void add_warning(const std::string & warning);

/** Keeps a log line; warnings and errors become part of a failure's message. Installed as llama.cpp's log callback. */
void on_log(int level, const char * text);

/** Catches ggml's abort, fatal signals, CPU and wall-clock limits and uncaught exceptions from now on. */
void install_crash_handlers();

/** Writes the line for a model that passed and ends the process with `exit_ok`. */
[[noreturn]] void finish_ok();

/** Writes the line for a failure of `kind` and ends the process with `exit_refused`; adds the last log lines. */
[[noreturn]] void finish_refused(const char * kind, const std::string & message, bool with_log);

}  // namespace load_check
