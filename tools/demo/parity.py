"""Compares llama.cpp with PyTorch on one GGUF: the logits after the first test prompts of each data set.

    python -m tools.demo.parity --model models/reasoner-base.gguf --sampler build/demo/sample_gguf --backends DIR

PyTorch runs on the dequantized weights. llama.cpp also rounds activations to eight bits before it multiplies them with
Q8_0 weights, so the two agree closely but not exactly.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import torch

from .datasets import MAKERS
from .export_gguf import load_gguf
from .model import encode


def llama_logits(args: argparse.Namespace, prompts: list[str]) -> torch.Tensor:
    """`[prompt, vocabulary]` logits from llama.cpp."""
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        for index, prompt in enumerate(prompts):
            file.write(f"{index}\t" + prompt.replace("\n", "\\n") + "\n")
        file.flush()
        command = [str(args.sampler), str(args.model), file.name, str(args.backends), "0", "0", "--logits"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return torch.tensor([[float(value) for value in line.split("\t")[1:]] for line in output.splitlines()])


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare llama.cpp with PyTorch on one GGUF.")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sampler", type=Path, required=True)
    parser.add_argument("--backends", type=Path, required=True)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--count", type=int, default=64)
    args = parser.parse_args()
    model = load_gguf(args.model)
    for name in MAKERS:
        lines = (args.data / name / "test.jsonl").read_text(encoding="utf-8").splitlines()
        prompts = [json.loads(line)["prompt"] for line in lines[: args.count]]
        theirs = llama_logits(args, prompts).softmax(-1)
        with torch.no_grad():
            ours = model(input_ids=torch.tensor([encode(p) for p in prompts])).logits[:, -1].softmax(-1)
        distance = (ours - theirs).abs().sum(-1) / 2
        same = (ours.argmax(-1) == theirs.argmax(-1)).float().mean()
        print(f"{name}: total variation mean {distance.mean():.4f} max {distance.max():.4f}, same best token {same:.3f}")


if __name__ == "__main__":
    main()
