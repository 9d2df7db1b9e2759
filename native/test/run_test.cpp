// Runs as others use them: shared prefixes, early exit, counters, cancellation, back-pressure, errors, several threads.
#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "check.h"
#include "engine_support.h"
#include "error.h"

using namespace rewardlens;
using namespace testing;

namespace {

std::unique_ptr<sequence_request> boxed(sequence_request r) { return std::make_unique<sequence_request>(std::move(r)); }

std::string code_of(const std::function<void()> & body) {
    try {
        body();
    } catch (const engine_error & error) {
        return error_code_name(error.code());
    }
    return "";
}

// Four prompts with a long common beginning, three arms: clean, edited everywhere, edited in the completion.
std::vector<sequence_request> related_requests(int32_t max_tokens) {
    const auto prefix = random_tokens(5, 40);
    std::vector<sequence_request> out;
    for (uint32_t i = 0; i < 24; ++i) {
        auto prompt = prefix;
        prompt.resize(20 + i % 4 * 5);
        prompt.push_back(static_cast<llama_token>(3 + i % 4));
        out.push_back(request(i, prompt, max_tokens, static_cast<int32_t>(i % 3) - 1));
    }
    return out;
}

std::vector<edit_list> related_edits() {
    return {list_of({make_edit({site_id::resid_post, 0}, edit_op::scale, {1.25f})}),
            list_of({make_edit({site_id::attn_out, 1}, edit_op::set, {0.0f}, position_kind::completion)})};
}

void test_shared_prefixes_change_nothing() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {4});
    run_params params;
    params.edit_lists = related_edits();
    params.capture = capture_all({site_id::resid_post}, model->info().layer_count, position_kind::s0);
    run_params apart = params;
    apart.min_shared_prefix = -1;
    const auto requests = related_requests(6);
    const outcome alone = run(engine, apart, requests);
    const outcome together = run(engine, params, requests);
    CHECK_EQ(alone.failed + together.failed, std::string());
    int shared = 0;
    for (const auto & r : requests) {
        CHECK(alone[r.id].result.tokens == together[r.id].result.tokens);
        CHECK_EQ(alone[r.id].result.shared_prefix, 0);
        shared += together[r.id].result.shared_prefix > 0 ? 1 : 0;
        CHECK_EQ(together[r.id].positions.size(), static_cast<size_t>(1));
        for (size_t block = 0; block < together[r.id].blocks.size(); ++block) {
            CHECK(relative_l2(together[r.id].blocks[block], alone[r.id].blocks[block]) < 3e-4);  // f16 cache, other pass widths
        }
    }
    CHECK(shared > 12);
    CHECK_EQ(together.progress.prompt_tokens + together.progress.shared_tokens, alone.progress.prompt_tokens);
}

void test_counters_match_the_definition() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {4});
    run_params params;
    params.edit_lists = related_edits();
    const auto requests = related_requests(6);
    const outcome out = run(engine, params, requests);
    for (const auto & r : requests) {
        const auto & result = out[r.id].result;
        const auto rows = static_cast<uint64_t>(result.processed - result.shared_prefix);
        if (r.edits == 0) {
            CHECK_EQ(result.changed.at(0), 64 * rows);
            CHECK_EQ(result.changed_shared.at(0), 64 * static_cast<uint64_t>(result.shared_prefix));
        } else if (r.edits == 1) {
            CHECK_EQ(result.changed.at(0), 64 * static_cast<uint64_t>(result.processed - result.prompt_length));
        }
    }
}

void test_early_exit_rows_equal_those_of_full_passes() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {1});
    run_params full;
    full.capture = capture_all({site_id::resid_mid}, 2);
    run_params early = full;
    early.prompt_only = true;
    const auto prompt = random_tokens(9, 50);
    const outcome a = run(engine, full, {request(0, prompt)});
    const outcome b = run(engine, early, {request(0, prompt)});
    CHECK_EQ(a[0].blocks.size(), static_cast<size_t>(2));
    CHECK(same_bits(a[0].blocks[0], b[0].blocks[0]) && same_bits(a[0].blocks[1], b[0].blocks[1]));
    // The cache above the exit is empty: the next run must not build on it.
    run_params none;
    const outcome after = run(engine, none, {request(0, prompt, 5)});
    const outcome fresh = run(open(model, {1}), none, {request(0, prompt, 5)});
    CHECK(after[0].result.tokens == fresh[0].result.tokens);
}

void test_bad_requests_are_refused() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {1});
    auto listener = std::make_shared<recorder>();
    scheduler run(engine, {}, listener);
    run.start();
    CHECK_EQ(code_of([&] { run.push(boxed(request(0, {}))); }), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(code_of([&] { run.push(boxed(request(0, {96}))); }), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(code_of([&] { run.push(boxed(request(0, random_tokens(1, 257)))); }), std::string("CONTEXT_FULL"));
    CHECK_EQ(code_of([&] { run.push(boxed(request(0, {1}, 1, 0))); }), std::string("INVALID_ARGUMENT"));
    CHECK_EQ(code_of([&] { scheduler second(engine, {}, listener); }), std::string("BUSY"));
    auto stopping = request(0, {1}, 1);
    stopping.stop = {"x"};
    CHECK_EQ(code_of([&] { run.push(boxed(stopping)); }), std::string("INVALID_ARGUMENT"));
    run.finish();
    CHECK_EQ(code_of([&] { run.push(boxed(request(0, {1}))); }), std::string("ABORTED"));
    run.join();
    CHECK_EQ(listener->end_count(), 1);
    CHECK(!listener->end.failed);
}

void test_numbers_out_of_range_end_the_run() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {2});
    run_params params;
    params.edit_lists = {list_of({make_edit({site_id::resid_post, 2}, edit_op::scale, {3e38f}), make_edit({site_id::resid_post, 2}, edit_op::scale, {3e38f})})};
    CHECK_EQ(run(engine, params, {request(0, {1, 2, 3}, 4, 0)}).failed, std::string("NON_FINITE"));
    CHECK_EQ(run(engine, {}, {request(0, {1, 2, 3}, 4)}).failed, std::string());  // and the session goes on
    run_params twice;
    twice.capture.sites = {{site_id::resid_post, 0}, {site_id::resid_post, 0}};
    CHECK_EQ(run(engine, twice, {request(0, {1, 2, 3})}).failed, std::string("INVALID_ARGUMENT"));
}

void test_cancel_in_mid_decode() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {8});
    for (int delay_ms = 0; delay_ms < 12; delay_ms += 3) {
        auto listener = std::make_shared<recorder>();
        scheduler run(engine, {}, listener);
        run.start();
        for (uint32_t i = 0; i < 64; ++i) {
            run.push(boxed(request(i, random_tokens(i, 10), 200)));
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
        run.cancel();
        run.join();
        CHECK_EQ(listener->end_count(), 1);
        CHECK(listener->end.failed);
        CHECK_EQ(std::string(error_code_name(listener->end.code)), std::string("ABORTED"));
    }
    CHECK_EQ(run(engine, {}, {request(0, {1, 2, 3}, 4)}).failed, std::string());
}

// Nobody acknowledges: the engine must stop at the limit, not fill the memory, and still hear a cancel.
void test_a_consumer_that_takes_nothing_stops_the_engine() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {4});
    run_params params;
    params.capture = capture_all({site_id::resid_post}, model->info().layer_count);
    params.max_pending_bytes = 64 * 1024;
    params.chunk_bytes = 4096;
    auto listener = std::make_shared<recorder>();
    scheduler run(engine, params, listener);
    run.start();
    for (uint32_t i = 0; i < 100; ++i) {
        run.push(boxed(request(i, random_tokens(i, 60))));
    }
    run.finish();
    listener->wait([](const recorder & r) { return r.captured_bytes > 64 * 1024; });
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    size_t held = 0;
    {
        std::lock_guard<std::mutex> lock(listener->mutex);
        held = listener->captured_bytes;
        CHECK(!listener->ended());
    }
    CHECK(held < 256 * 1024);  // the limit and what one pass adds; all 100 would give 4.6 MB
    run.cancel();
    run.join();
    CHECK_EQ(std::string(error_code_name(listener->end.code)), std::string("ABORTED"));
}

void test_many_threads_on_one_run() {
    const auto model = load("llama-q8_0");
    const auto engine = open(model, {8});
    run_params params;
    params.capture = capture_all({site_id::resid_post}, 1, position_kind::s0);
    auto listener = std::make_shared<recorder>();
    scheduler run(engine, params, listener);
    run.start();
    std::vector<std::thread> writers;
    for (uint32_t w = 0; w < 4; ++w) {
        writers.emplace_back([&run, w] {
            for (uint32_t i = 0; i < 15; ++i) {
                run.push(boxed(request(w * 15 + i, random_tokens(w * 15 + i, 12), 3)));
                run.acknowledge(256);
            }
        });
    }
    for (auto & writer : writers) {
        writer.join();
    }
    run.finish();
    std::thread other([&run] { run.join(); });  // two may wait
    run.join();
    other.join();
    CHECK_EQ(listener->requests.size(), static_cast<size_t>(60));
    for (const auto & entry : listener->requests) {
        CHECK(entry.second.finished && entry.second.result.tokens.size() == 3);
    }
}

void test_two_sessions_of_one_model_at_once() {
    auto model = load("llama-q8_0");
    const outcome expected = run(open(model, {2}), {}, {request(0, {5, 6, 7}, 20)});
    std::atomic<int> equal{0};
    std::vector<std::thread> users;
    for (int i = 0; i < 2; ++i) {
        users.emplace_back([&, engine = open(model, {2})] {
            for (int round = 0; round < 5; ++round) {
                equal += run(engine, {}, {request(0, {5, 6, 7}, 20)})[0].result.tokens == expected[0].result.tokens ? 1 : 0;
            }
        });
    }
    model.reset();  // the sessions keep it alive
    for (auto & user : users) {
        user.join();
    }
    CHECK_EQ(equal.load(), 10);
}

}  // namespace

int main() {
    RUN(test_shared_prefixes_change_nothing);
    RUN(test_counters_match_the_definition);
    RUN(test_early_exit_rows_equal_those_of_full_passes);
    RUN(test_bad_requests_are_refused);
    RUN(test_numbers_out_of_range_end_the_run);
    RUN(test_cancel_in_mid_decode);
    RUN(test_a_consumer_that_takes_nothing_stops_the_engine);
    RUN(test_many_threads_on_one_run);
    RUN(test_two_sessions_of_one_model_at_once);
    return check_report();
}
