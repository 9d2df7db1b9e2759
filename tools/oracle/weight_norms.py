"""Column norms of weight matrices, by the Python package `gguf` (its own dequantization, not ggml's).

    python tools/oracle/weight_norms.py [--out test/fixtures/oracle/weight-norms.json]

Needs gguf and numpy. For each model: for some tensors the sum over rows of |W_ij|, and for every layer the strength with which the
next matrices read the residual stream: sum over them of |norm_j| times that sum. Which matrices and norms these are is written down here
per model, from the models' definitions. Byte-identical when run again.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

QKV = ["attn_q", "attn_k", "attn_v"]
GATED = ["ffn_gate", "ffn_up"]
EXPERTS = ["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps"]
# model: (attention norm, attention, feed-forward norm, feed-forward, output matrix)
LLAMA = ("attn_norm", QKV, "ffn_norm", GATED, "output")
MODELS = {
    "models/planted.gguf": LLAMA,
    "models/reasoner-rl.gguf": ("attn_norm", QKV, "ffn_norm", GATED, "token_embd"),
    "test/fixtures/oracle/llama.gguf": LLAMA,
    "test/fixtures/oracle/llama-q8_0.gguf": LLAMA,
    "test/fixtures/oracle/llama-q4_0.gguf": LLAMA,
    "test/fixtures/oracle/gemma2.gguf": ("attn_norm", QKV, "ffn_norm", GATED, "token_embd"),
    "test/fixtures/oracle/phi3.gguf": ("attn_norm", ["attn_qkv"], "ffn_norm", ["ffn_up"], "output"),
    "test/fixtures/oracle/olmo2.gguf": (None, QKV, None, GATED, "output"),
    "test/fixtures/oracle/qwen3moe.gguf": ("attn_norm", QKV, "ffn_norm", EXPERTS, "output"),
    "test/fixtures/oracle/gpt2.gguf": ("attn_norm", ["attn_qkv"], "ffn_norm", ["ffn_up"], "token_embd"),
}


def norms(tensors, name):
    """Sum over all axes but the last of |w|; a vector's own magnitudes."""
    values = np.abs(dequantize(tensors[name].data, tensors[name].tensor_type).astype(np.float64))
    return values.reshape(-1, values.shape[-1]).sum(axis=0)


def strength(tensors, layer, layers, rule):
    attention_norm, attention, forward_norm, forward, output = rule
    if layer == layers - 1:
        return norms(tensors, "output_norm.weight") * norms(tensors, f"{output}.weight")
    block = f"blk.{layer + 1}."
    total = 0
    for norm, matrices in ((attention_norm, attention), (forward_norm, forward)):
        gain = 1 if norm is None else norms(tensors, f"{block}{norm}.weight")
        total = total + sum(gain * norms(tensors, f"{block}{name}.weight") for name in matrices)
    return total


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/oracle/weight-norms.json"))
    out = {}
    for path, rule in MODELS.items():
        tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
        layers = 1 + max(int(name.split(".")[1]) for name in tensors if name.startswith("blk."))
        out[path] = {
            "types": sorted({tensor.tensor_type.name for tensor in tensors.values()}),
            "columns": {name: norms(tensors, name).tolist() for name in (f"blk.0.{rule[1][0]}.weight", "token_embd.weight")},
            "strength": [strength(tensors, layer, layers, rule).tolist() for layer in range(layers)],
        }
    text = json.dumps({path: {key: compact(value) for key, value in entry.items()} for path, entry in out.items()})
    parser.parse_args().out.write_text(text + "\n")
    print({path: entry["types"] for path, entry in out.items()})


def compact(value):
    """Nine digits are more than the comparison needs."""
    if isinstance(value, dict):
        return {key: compact(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [compact(entry) for entry in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


main()
