// Assertions for the native tests: no framework, no exceptions needed, works under every sanitizer.
//
//   #include "check.h"
//   static void test_addition() { CHECK(1 + 1 == 2); CHECK_EQ(2 + 2, 4); }
//   int main() { RUN(test_addition); return check_report(); }
//
// A failed check prints file:line, the expression and (where it has them) both values, and the run goes on, so that
// one run shows every failure. `check_report` returns 1 if anything failed or if no check ran at all: a test
// program that checks nothing does not pass.
#pragma once

#include <cmath>
#include <cstdio>
#include <sstream>
#include <string>

/** Counters of the running test program. */
struct check_state {
    long passed = 0;
    long failed = 0;
    const char * test = "";
};

/** The one state of this test program (function-local static: safe before main). */
inline check_state & check_globals() {
    static check_state state;
    return state;
}

/** Counts one result and prints a failure to stderr. Returns `ok`. */
inline bool check_record(bool ok, const char * file, int line, const std::string & what) {
    check_state & state = check_globals();
    if (ok) {
        ++state.passed;
        return true;
    }
    ++state.failed;
    std::fprintf(stderr, "%s:%d: [%s] check failed: %s\n", file, line, state.test, what.c_str());
    return false;
}

/** Text of a value for a failure message: anything with `operator<<`. */
template <typename T>
std::string check_show(const T & value) {
    std::ostringstream out;
    out.precision(9);
    out << value;
    return out.str();
}

/** Prints the totals and returns the exit status of the program: 0 when checks ran and none failed, else 1. */
inline int check_report() {
    const check_state & state = check_globals();
    std::fprintf(stderr, "%ld passed, %ld failed\n", state.passed, state.failed);
    return state.failed == 0 && state.passed > 0 ? 0 : 1;
}

/** Holds when the expression is true. Evaluates it once; its value can be used: `if (!CHECK(p)) return;`. */
#define CHECK(expr) check_record(static_cast<bool>(expr), __FILE__, __LINE__, #expr)

/** Holds when `actual == expected`; prints both otherwise. */
#define CHECK_EQ(actual, expected)                                                                          \
    ([&](const auto & check_a, const auto & check_e) {                                                      \
        return check_record(check_a == check_e, __FILE__, __LINE__,                                         \
                            std::string(#actual " == " #expected ": got ") + check_show(check_a) +          \
                                ", expected " + check_show(check_e));                                       \
    }((actual), (expected)))

/** Holds when `|actual - expected| <= tolerance` and both are finite. */
#define CHECK_NEAR(actual, expected, tolerance)                                                             \
    ([&](double check_a, double check_e, double check_t) {                                                  \
        return check_record(std::isfinite(check_a) && std::fabs(check_a - check_e) <= check_t, __FILE__,    \
                            __LINE__, std::string(#actual " ~ " #expected ": got ") + check_show(check_a) + \
                                          ", expected " + check_show(check_e) + " +- " + check_show(check_t)); \
    }((actual), (expected), (tolerance)))

/** Holds when the string `text` contains `part`; prints the text otherwise. */
#define CHECK_CONTAINS(text, part)                                                                          \
    ([&](const std::string & check_t, const std::string & check_p) {                                        \
        return check_record(check_t.find(check_p) != std::string::npos, __FILE__, __LINE__,                 \
                            std::string(#text " contains \"") + check_p + "\": got \"" + check_t + "\"");   \
    }((text), (part)))

/** Holds when the statement throws exactly or a subclass of `type`. */
#define CHECK_THROWS(statement, type)                                                                       \
    ([&]() {                                                                                                \
        bool check_thrown = false;                                                                          \
        try {                                                                                               \
            statement;                                                                                      \
        } catch (const type &) {                                                                            \
            check_thrown = true;                                                                            \
        }                                                                                                   \
        return check_record(check_thrown, __FILE__, __LINE__, #statement " throws " #type);                 \
    }())

/** Runs one `void test()` and names it in the failures that it reports. */
#define RUN(test_function)                       \
    do {                                         \
        check_globals().test = #test_function;   \
        test_function();                         \
    } while (0)
