#include "report.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <exception>

#ifndef _WIN32
#include <sys/resource.h>
#endif

#include "ggml.h"

namespace load_check {

namespace {

using clock = std::chrono::steady_clock;

constexpr size_t kept_log_lines = 4;
constexpr size_t max_log_line = 400;

struct report_state {
    const char * volatile stage = "start";
    volatile std::sig_atomic_t written = 0;
    std::string facts;                 // ready-made JSON members, so that a signal handler only copies bytes
    std::string warnings;              // ready-made JSON array items
    std::deque<std::string> errors;    // last log lines of level error
    std::deque<std::string> remarks;   // last log lines of level warning
    std::string pending_line;          // a log line that has no newline yet
    int last_level = 0;
    clock::time_point start = clock::now();
};

report_state & state() {
    static report_state instance;
    return instance;
}

// Bytes of the well-formed UTF-8 character at `at`, or 0. Surrogates and overlong forms of 3 and 4 bytes pass.
size_t utf8_length(const std::string & text, size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const size_t length = lead < 0x80 ? 1 : lead >= 0xc2 && lead < 0xe0 ? 2 : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xf0 && lead < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < length; ++i) {
        if (at + i >= text.size() || (static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

// A JSON string; bytes that are not UTF-8 become U+FFFD.
std::string quote(const std::string & text) {
    std::string out = "\"";
    for (size_t at = 0; at < text.size();) {
        const size_t length = utf8_length(text, at);
        const auto byte = static_cast<unsigned char>(text[at]);
        if (length == 0) {
            out += "\\ufffd";
        } else if (byte < 32 || byte == '"' || byte == '\\' || byte == 127) {
            char escape[8];
            std::snprintf(escape, sizeof(escape), "\\u%04x", byte);
            out += escape;
        } else {
            out.append(text, at, length);
        }
        at += length == 0 ? 1 : length;
    }
    return out + "\"";
}

// All bytes to stdout; safe in a signal handler.
void write_all(const char * text, size_t length) {
    while (length > 0) {
        const auto count = write(STDOUT_FILENO, text, static_cast<unsigned>(length));
        if (count <= 0) {
            return;
        }
        text += count;
        length -= static_cast<size_t>(count);
    }
}

std::string peak_memory_member() {
#ifndef _WIN32
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
#ifdef __APPLE__
        const long long bytes = usage.ru_maxrss;
#else
        const long long bytes = usage.ru_maxrss * 1024ll;
#endif
        return ",\"peakBytes\":" + std::to_string(bytes);
    }
#endif
    return "";
}

void write_line(bool ok, const char * kind, const std::string & message) {
    if (state().written) {
        return;
    }
    state().written = 1;
    const double ms = std::chrono::duration<double, std::milli>(clock::now() - state().start).count();
    std::string line = std::string("{\"ok\":") + (ok ? "true" : "false") + ",\"kind\":\"" + kind + "\",\"stage\":\"" +
                       state().stage + "\",\"message\":" + quote(message) + state().facts + ",\"warnings\":[" +
                       state().warnings + "],\"elapsedMs\":" + std::to_string(ms) + peak_memory_member() + "}\n";
    write_all(line.data(), line.size());
}

// From a signal handler: no allocation, so no quoting; every piece is a literal or was built before.
void write_crash_line(const char * kind, const char * message) {
    if (state().written) {
        return;
    }
    state().written = 1;
    const char * const pieces[] = {"{\"ok\":false,\"kind\":\"", kind, "\",\"stage\":\"", state().stage,
                                   "\",\"message\":\"", message, "\"", state().facts.c_str(), ",\"warnings\":[]}\n"};
    for (const char * piece : pieces) {
        write_all(piece, std::strlen(piece));
    }
}

// How llama.cpp and ggml word that memory ran out.
bool is_out_of_memory(const std::string & text) {
    for (const char * words : {"bad_alloc", "failed to allocate", "unable to allocate", "insufficient memory",
                               "mem_buffer != NULL", "Cannot allocate memory"}) {
        if (text.find(words) != std::string::npos) {
            return true;
        }
    }
    return false;
}

const char * const out_of_memory_text = "loading needs more memory than the budget: ";

// ggml_abort calls this with "file:line: GGML_ASSERT(...) failed" and aborts afterwards.
void on_ggml_abort(const char * message) {
    const char * const slash = std::strstr(message, "/ggml/");
    const char * const source = std::strstr(message, "/src/");
    const char * text = source != nullptr ? source + 1 : message;
    if (slash != nullptr) {
        text = slash + 1;
    }
    if (is_out_of_memory(text)) {
        write_line(false, "MEMORY_BUDGET", std::string(out_of_memory_text) + text);
        _exit(exit_refused);
    }
    write_line(false, "CRASH", std::string("llama.cpp aborts: ") + text);
    _exit(exit_crash);
}

const char * signal_text(int number) {
    switch (number) {
        case SIGSEGV: return "llama.cpp accesses invalid memory (SIGSEGV)";
        case SIGFPE:  return "llama.cpp divides by zero (SIGFPE)";
        case SIGILL:  return "llama.cpp runs an illegal instruction (SIGILL)";
        case SIGABRT: return "llama.cpp aborts (SIGABRT)";
#ifndef _WIN32
        case SIGBUS:  return "llama.cpp reads mapped bytes that are not in the file (SIGBUS)";
#endif
        default:      return "llama.cpp receives a fatal signal";
    }
}

void on_signal(int number) {
#ifndef _WIN32
    if (number == SIGALRM || number == SIGXCPU) {
        write_crash_line("TIMEOUT", "loading takes longer than the time limit");
        _exit(exit_timeout);
    }
#endif
    write_crash_line("CRASH", signal_text(number));
    _exit(exit_crash);
}

void on_terminate() {
    std::string message = "llama.cpp throws an exception that nothing catches";
    if (const auto current = std::current_exception()) {
        try {
            std::rethrow_exception(current);
        } catch (const std::exception & error) {
            message += std::string(": ") + error.what();
        } catch (...) {
        }
    }
    write_line(false, "CRASH", message);
    _exit(exit_crash);
}

}  // namespace

void set_stage(const char * stage) { state().stage = stage; }

void set_facts(const rewardlens::gguf_check_result & facts, double check_ms) {
    std::string files;
    for (const std::string & file : facts.files) {
        files += (files.empty() ? "" : ",") + quote(file);
    }
    state().facts = ",\"facts\":{\"architecture\":" + quote(facts.architecture) + ",\"files\":[" + files +
                    "],\"totalBytes\":" + std::to_string(facts.total_bytes) +
                    ",\"tensorBytes\":" + std::to_string(facts.tensor_bytes) +
                    ",\"tensorCount\":" + std::to_string(facts.tensor_count) +
                    ",\"vocabularySize\":" + std::to_string(facts.vocabulary_size) +
                    ",\"tokenizer\":" + quote(facts.tokenizer) + ",\"layerCount\":" + std::to_string(facts.block_count) +
                    ",\"dModel\":" + std::to_string(facts.embedding_length) +
                    ",\"contextLength\":" + std::to_string(facts.context_length) +
                    ",\"fileType\":" + std::to_string(facts.file_type) + "},\"checkMs\":" + std::to_string(check_ms);
}

void add_warning(const std::string & warning) {
    state().warnings += (state().warnings.empty() ? "" : ",") + quote(warning);
}

void on_log(int level, const char * text) {
    report_state & now = state();
    now.last_level = level == GGML_LOG_LEVEL_CONT ? now.last_level : level;
    if (now.last_level != GGML_LOG_LEVEL_ERROR && now.last_level != GGML_LOG_LEVEL_WARN) {
        return;
    }
    now.pending_line += text;
    const size_t end = now.pending_line.find_last_not_of("\n ");
    if (now.pending_line.empty() || now.pending_line.back() != '\n') {
        return;
    }
    std::deque<std::string> & lines = now.last_level == GGML_LOG_LEVEL_ERROR ? now.errors : now.remarks;
    if (end != std::string::npos) {
        lines.push_back(now.pending_line.substr(0, std::min(end + 1, max_log_line)));
    }
    now.pending_line.clear();
    if (lines.size() > kept_log_lines) {
        lines.pop_front();
    }
}

void install_crash_handlers() {
    ggml_set_abort_callback(on_ggml_abort);
    std::set_terminate(on_terminate);
#ifdef _WIN32
    for (const int number : {SIGSEGV, SIGFPE, SIGILL, SIGABRT}) {
        std::signal(number, on_signal);
    }
#else
    static char handler_stack[64 * 1024];  // a stack overflow leaves no room on the ordinary stack
    stack_t stack = {};
    stack.ss_sp = handler_stack;
    stack.ss_size = sizeof(handler_stack);
    sigaltstack(&stack, nullptr);
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_ONSTACK | SA_RESETHAND;
    for (const int number : {SIGSEGV, SIGFPE, SIGILL, SIGABRT, SIGBUS, SIGALRM, SIGXCPU}) {
        sigaction(number, &action, nullptr);
    }
#endif
}

void finish_ok() {
    set_stage("done");
    write_line(true, "OK", "");
    _exit(exit_ok);  // no destructors: the verdict is out, and freeing a model costs time
}

void finish_refused(const char * kind, const std::string & message, bool with_log) {
    std::string text = message;
    if (with_log) {
        for (const std::string & line : state().errors.empty() ? state().remarks : state().errors) {
            text += "\n" + line;
        }
    }
    if (with_log && is_out_of_memory(text)) {
        write_line(false, "MEMORY_BUDGET", out_of_memory_text + text);
    } else {
        write_line(false, kind, text);
    }
    _exit(exit_refused);
}

}  // namespace load_check
