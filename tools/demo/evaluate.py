"""Measures a demo GGUF: share of right answers at T = 1 and greedy, per data set and difficulty.

    python -m tools.demo.evaluate --model models/reasoner-base.gguf --sampler build/demo/sample_gguf \\
        --backends DIR --out build/demo/base.json

With `--sampler` (built from `sample_gguf.cpp`) the completions come from llama.cpp; without it from PyTorch on the
file's dequantized weights. Every problem of `train.jsonl` and `test.jsonl` is used once: no problem in either file
was seen in training, and one completion each keeps the outcomes independent.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import torch

from .datasets import CHECKS, is_correct
from .export_gguf import load_gguf
from .model import END, decode, sample

Completion = tuple[str, bool]


def wilson(right: int, count: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share."""
    z, share = 1.959964, right / count
    centre = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return centre - half, centre + half


def read_rows(folder: Path) -> list[dict]:
    """All problems of a data set, in file order."""
    files = [folder / f"{split}.jsonl" for split in ("train", "test")]
    return [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]


def unescape(text: str) -> str:
    """Undoes `escape` of sample_gguf.cpp."""
    return text.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")


def complete_llama(args: argparse.Namespace, rows: list[dict], temperature: float) -> list[Completion]:
    """One completion per row from llama.cpp."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for row in rows:
            file.write(f"{row['id']}\t" + row["prompt"].replace("\n", "\\n") + "\n")
        file.flush()
        command = [args.sampler, args.model, file.name, args.backends, str(temperature), str(args.seed)]
        output = subprocess.run([str(part) for part in command], check=True, stdout=subprocess.PIPE).stdout
    # At T = 1 a stray byte is sampled now and then: it may be a tab, or no valid UTF-8.
    lines = output.decode("utf-8", errors="replace").rstrip("\n").split("\n")
    heads, ends = zip(*(line.rsplit("\t", 1) for line in lines))
    names, texts = zip(*(head.split("\t", 1) for head in heads))
    assert list(names) == [row["id"] for row in rows]
    return [(unescape(text), end == "ended") for text, end in zip(texts, ends)]


def complete_torch(args: argparse.Namespace, rows: list[dict], temperature: float) -> list[Completion]:
    """One completion per row from PyTorch."""
    model, generator = load_gguf(args.model), torch.Generator().manual_seed(args.seed)
    completions = []
    for start in range(0, len(rows), 250):
        prompts = [row["prompt"] for row in rows[start : start + 250]]
        completions += sample(model, prompts, generator, temperature)
    return [(decode(tokens), tokens[-1] == END) for tokens in completions]


def summarize(rows: list[dict], completions: list[Completion]) -> dict:
    """Counts, share right with its interval, share per difficulty, and how the completions ended."""
    right = [is_correct(row["check"], text, row["answer"]) for row, (text, _) in zip(rows, completions)]
    by_difficulty: dict[int, list[bool]] = {}
    for row, outcome in zip(rows, right):
        by_difficulty.setdefault(row["difficulty"], []).append(outcome)
    low, high = wilson(sum(right), len(right))
    return {
        "count": len(rows),
        "right": sum(right),
        "share": round(sum(right) / len(rows), 4),
        "wilson95": [round(low, 4), round(high, 4)],
        "byDifficulty": {key: [sum(v), len(v), round(sum(v) / len(v), 3)] for key, v in sorted(by_difficulty.items())},
        "ended": sum(ended for _, ended in completions),
        "longestCompletion": max(len(text) for text, _ in completions) + 1,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a demo GGUF.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--sampler", type=Path, help="built sample_gguf; PyTorch is used without it")
    parser.add_argument("--backends", type=Path, help="folder with llama.cpp's ggml backend libraries")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    complete = complete_llama if args.sampler else complete_torch
    result: dict = {"model": args.model.name, "engine": "llama.cpp" if args.sampler else "torch", "seed": args.seed}
    for name in CHECKS:
        rows = read_rows(args.data / name)
        for label, temperature in (("sampled", 1.0), ("greedy", 0.0)):
            summary = summarize(rows, complete(args, rows, temperature))
            result.setdefault(name, {})[label] = summary
            print(name, label, json.dumps(summary), flush=True)
    if args.out:
        args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
