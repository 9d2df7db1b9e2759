"""The sweep of bench/sweepRows.ts in Hugging Face transformers: random weights, one forward hook per layer.

    python bench/transformers_sweep.py '{"dModel": 128, "layerCount": 4, ..., "arms": 32, "prompt": 64, "completion": 32, "threads": 2}'

It answers lines on standard input: "DTYPE BATCH" runs one batch of arms, prompt and greedy decode, and prints one line of
JSON: {"seconds", "arms", "versions"}. Every row of the batch is another arm: it sets one neuron in a hundred of the residual stream
after its layer to zero, at every position.
"""

import json
import sys
import time

import torch
import transformers
from transformers import Qwen2Config, Qwen2ForCausalLM


def make_model(settings, dtype):
    config = Qwen2Config(
        hidden_size=settings["dModel"],
        num_hidden_layers=settings["layerCount"],
        num_attention_heads=settings["headCount"],
        num_key_value_heads=settings["kvHeadCount"],
        intermediate_size=settings["dFf"],
        vocab_size=settings["vocabSize"],
        tie_word_embeddings=settings["tiedEmbeddings"],
        max_position_embeddings=32768,
        rms_norm_eps=1e-6,
    )
    torch.manual_seed(1)
    return Qwen2ForCausalLM(config).to(dtype).eval()


def add_hooks(model, settings, first, batch):
    """Row r of the batch is arm first + r. Returns what removes the hooks again."""
    width, layers, arms = settings["dModel"], settings["layerCount"], settings["arms"]
    neurons = max(1, round(width / 100))
    rows_of = [[] for _ in range(layers)]
    for row in range(batch):
        arm = (first + row) % arms
        rows_of[arm * layers // arms].append((row, sorted({(arm * 31 + i * 97) % width for i in range(neurons)})))
    handles = []
    for layer, rows in enumerate(rows_of):
        if not rows:
            continue

        def hook(_module, _inputs, output, rows=rows):
            hidden = output[0] if isinstance(output, tuple) else output
            for row, columns in rows:
                hidden[row, :, columns] = 0
            return output

        handles.append(model.model.layers[layer].register_forward_hook(hook))
    return lambda: [handle.remove() for handle in handles]


@torch.inference_mode()
def run_batch(model, settings, batch):
    """Prompt in one pass, then token by token with the KV cache; logits of the last position only."""
    vocab, length = settings["vocabSize"], settings["prompt"]
    prompt = torch.tensor([[3 + (position * 104729 + 12345) % (vocab - 3) for position in range(length)]]).repeat(batch, 1)
    started = time.perf_counter()
    output = model(prompt, use_cache=True, logits_to_keep=1)
    for _ in range(settings["completion"] - 1):
        token = output.logits[:, -1:].argmax(-1)
        output = model(token, past_key_values=output.past_key_values, use_cache=True, logits_to_keep=1)
    output.logits[:, -1:].argmax(-1)
    return time.perf_counter() - started


def main():
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    versions = f"transformers {transformers.__version__}, PyTorch {torch.__version__}"
    models = {}
    done = 0
    for line in sys.stdin:
        name, count = line.split()
        if name not in models:
            models[name] = make_model(settings, getattr(torch, name))
            run_batch(models[name], {**settings, "completion": 2}, 1)  # kernels are chosen at the first use
        batch = int(count)
        remove = add_hooks(models[name], settings, done, batch)
        done += batch
        seconds = run_batch(models[name], settings, batch)
        remove()
        print(json.dumps({"seconds": seconds, "arms": batch, "versions": versions}), flush=True)


if __name__ == "__main__":
    main()
