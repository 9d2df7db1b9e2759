// The core's plain data as JavaScript values.
#include "convert.h"

#include <algorithm>

namespace rewardlens {

namespace {

Napi::Value from_counts(Napi::Env env, const std::vector<uint64_t> & counts) {
    auto out = Napi::Array::New(env, counts.size());
    for (uint32_t i = 0; i < counts.size(); ++i) {
        out.Set(i, Napi::Number::New(env, static_cast<double>(counts[i])));
    }
    return out;
}

Napi::Value from_floats(Napi::Env env, const std::vector<float> & values) {
    auto out = Napi::Float32Array::New(env, values.size());
    std::copy(values.begin(), values.end(), out.Data());
    return out;
}

Napi::Object from_result(Napi::Env env, const sequence_result & result) {
    auto out = Napi::Object::New(env);
    out.Set("id", result.id);
    out.Set("finishReason", finish_reason_name(result.reason));
    out.Set("tokens", from_int32s(env, result.tokens));
    out.Set("text", result.text);
    out.Set("logProbabilities", from_floats(env, result.log_probabilities));
    out.Set("entropies", from_floats(env, result.entropies));
    out.Set("promptLength", result.prompt_length);
    out.Set("sharedPrefix", result.shared_prefix);
    out.Set("skippedLayers", result.skipped_layers);
    out.Set("processed", result.processed);
    out.Set("capturedRows", result.captured_rows);
    out.Set("changed", from_counts(env, result.changed));
    out.Set("changedShared", from_counts(env, result.changed_shared));
    return out;
}

Napi::Object from_chunk(Napi::Env env, capture_chunk & chunk) {
    auto out = Napi::Object::New(env);
    out.Set("id", chunk.request_id);
    out.Set("firstRow", chunk.first_row);
    out.Set("rowCount", chunk.row_count);
    out.Set("bytes", static_cast<double>(chunk.total_bytes()));
    out.Set("tokens", from_int32s(env, chunk.tokens));
    out.Set("positions", from_int32s(env, chunk.positions));
    auto blocks = Napi::Array::New(env, chunk.blocks.size());
    for (uint32_t i = 0; i < chunk.blocks.size(); ++i) {
        const size_t length = chunk.row_bytes[i] * static_cast<size_t>(chunk.row_count);
        void * data = chunk.blocks[i].release();
        blocks.Set(i, Napi::ArrayBuffer::New(env, data, length, [](Napi::Env, void * memory) { std::free(memory); }));
    }
    out.Set("blocks", blocks);
    return out;
}

Napi::Object from_progress(Napi::Env env, const run_progress & progress) {
    auto out = Napi::Object::New(env);
    out.Set("promptTokens", static_cast<double>(progress.prompt_tokens));
    out.Set("sharedTokens", static_cast<double>(progress.shared_tokens));
    out.Set("skippedTokens", static_cast<double>(progress.skipped_tokens));
    out.Set("skippedLayerTokens", static_cast<double>(progress.skipped_layer_tokens));
    out.Set("skipFallbacks", static_cast<double>(progress.skip_fallbacks));
    out.Set("completionTokens", static_cast<double>(progress.completion_tokens));
    out.Set("decodeCalls", static_cast<double>(progress.decode_calls));
    out.Set("finished", static_cast<double>(progress.finished));
    out.Set("active", progress.active);
    out.Set("busyMs", progress.busy_ms);
    return out;
}

}  // namespace

Napi::Int32Array from_int32s(Napi::Env env, const std::vector<int32_t> & values) {
    auto out = Napi::Int32Array::New(env, values.size());
    std::copy(values.begin(), values.end(), out.Data());
    return out;
}

Napi::Value from_info(Napi::Env env, const model_info & info) {
    auto out = Napi::Object::New(env);
    out.Set("architecture", info.architecture);
    out.Set("description", info.description);
    out.Set("quantization", info.file_type);
    out.Set("layerCount", info.layer_count);
    out.Set("dModel", info.d_model);
    out.Set("headCount", info.head_count);
    out.Set("kvHeadCount", info.kv_head_count);
    out.Set("trainContextLength", info.train_context_length);
    out.Set("vocabSize", info.vocab_size);
    out.Set("tokenizer", info.vocab_type);
    out.Set("parameterCount", static_cast<double>(info.parameter_count));
    out.Set("sizeBytes", static_cast<double>(info.size_bytes));
    out.Set("offloaded", info.offloaded);
    out.Set("recurrent", info.recurrent);
    out.Set("hybrid", info.hybrid);
    out.Set("bos", info.bos);
    out.Set("eos", info.eos);
    out.Set("eot", info.eot);
    out.Set("newline", info.nl);
    out.Set("pad", info.pad);
    out.Set("addsBos", info.add_bos);
    out.Set("addsEos", info.add_eos);
    out.Set("chatTemplate", info.chat_template);
    return out;
}

Napi::Value from_catalog(Napi::Env env, const site_catalog & catalog) {
    auto out = Napi::Array::New(env);
    uint32_t n = 0;
    for (int32_t layer = 0; layer < catalog.layer_count(); ++layer) {
        for (int s = 0; s < SITE_COUNT; ++s) {
            if (static_cast<site_id>(s) == site_id::logits && layer != catalog.layer_count() - 1) {
                continue;  // there is only one
            }
            const resolved_site & site = catalog.peek(static_cast<site_id>(s), layer);
            auto entry = Napi::Object::New(env);
            entry.Set("site", site_name(static_cast<site_id>(s)));
            entry.Set("layer", layer);
            entry.Set("found", site.found);
            entry.Set("width", site.width);
            entry.Set("node", site.node_name);
            entry.Set("rule", site.rule);
            entry.Set("reason", site.reason);
            entry.Set("outputRows", site.output_rows);
            out.Set(n++, entry);
        }
    }
    return out;
}

Napi::Value from_event(Napi::Env env, run_event & event) {
    auto out = Napi::Object::New(env);
    switch (event.kind) {
        case run_event::kind_id::capture:
            out.Set("kind", "capture");
            out.Set("chunk", from_chunk(env, *event.chunk));
            break;
        case run_event::kind_id::result:
            out.Set("kind", "result");
            out.Set("result", from_result(env, *event.result));
            break;
        case run_event::kind_id::progress:
            out.Set("kind", "progress");
            out.Set("progress", from_progress(env, event.progress));
            break;
        case run_event::kind_id::end:
            out.Set("kind", "end");
            out.Set("progress", from_progress(env, event.progress));
            if (event.failed) {
                out.Set("error", to_js_error(env, event.code, event.message).Value());
            }
            break;
    }
    if (!event.block_widths.empty()) {
        out.Set("blockWidths", from_int32s(env, event.block_widths));
    }
    return out;
}

}  // namespace rewardlens
