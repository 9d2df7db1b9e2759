"""Runs the seeded models in PyTorch and writes what llama.cpp has to reproduce, one safetensors a model.

    python make_fixtures.py [--out test/fixtures/oracle] [--only llama,phi3]

Needs no llama.cpp: the reference side is transformers alone. README.md describes the format.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

from architectures import SLIDING_WINDOW, VOCAB, WIDTH, Architecture
from edits import editor, plan_cases, resolve_payloads
from make_models import DEFAULT_OUT, build_model, selected, set_deterministic
from sites import available_sites, run

FORMAT = 1
TOKEN_COUNTS = (1, 7, 19, 40)
"""Lengths of the sequences: a lone token, below and above the sliding window, and several times it."""
FULL_SEQUENCES = 3
"""Sequences before this one record every site; the longest records residPost and logits only."""


def draw_sequences(architecture: Architecture) -> list[list[int]]:
    """The token sequences of one fixture: seeded, uniform over the vocabulary."""
    rng = np.random.default_rng([architecture.seed, 1])
    return [[int(token) for token in rng.integers(0, VOCAB, count)] for count in TOKEN_COUNTS]


def sites_of_sequence(architecture: Architecture, sequence: int) -> list[str]:
    """Sites recorded for one sequence."""
    return available_sites(architecture) if architecture.with_edits and sequence < FULL_SEQUENCES else ["residPost"]


def record_edits(model: torch.nn.Module, architecture: Architecture, sequences: list[list[int]],
                 runs: list[dict[str, torch.Tensor]], tensors: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """Run every edit case, add its payloads and outputs to `tensors`, and return the cases as plain data."""
    if not architecture.with_edits:
        return []
    layers = model.config.num_hidden_layers
    cases = plan_cases(layers, bool(architecture.sites.mlp_post))
    rng = np.random.default_rng([architecture.seed, 2])
    for case in cases:
        payloads = resolve_payloads(case, runs, rng)
        tensors.update(payloads)
        edited = run(model, architecture, sequences[case["sequence"]], editor(case["edits"], payloads))
        case["layers"] = sorted({max(layers - 2, 0), layers - 1})
        for layer in case["layers"]:
            tensors[f"edited.{case['name']}.residPost.{layer}"] = edited[f"residPost.{layer}"]
        tensors[f"edited.{case['name']}.logits"] = edited["logits"]
    return cases


def make_fixture(architecture: Architecture) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """All tensors of one fixture and the description that goes into its metadata."""
    model = build_model(architecture)
    sequences = draw_sequences(architecture)
    runs = [run(model, architecture, tokens) for tokens in sequences]
    layers = model.config.num_hidden_layers
    tensors: dict[str, torch.Tensor] = {}
    described = []
    for k, (tokens, seen) in enumerate(zip(sequences, runs)):
        sites = sites_of_sequence(architecture, k)
        described.append({"tokenCount": len(tokens), "sites": sites})
        tensors[f"tokens.{k}"] = torch.tensor(tokens, dtype=torch.int32)
        tensors[f"logits.{k}"] = seen["logits"]
        for site in sites:
            for layer in range(layers):
                tensors[f"{site}.{layer}.{k}"] = seen[f"{site}.{layer}"]
    cases = record_edits(model, architecture, sequences, runs, tensors)
    layer_types = getattr(model.config, "layer_types", None) or []
    description = {
        "format": FORMAT,
        "architecture": architecture.name,
        "seed": architecture.seed,
        "layerCount": layers,
        "dModel": WIDTH,
        "vocabSize": VOCAB,
        "slidingWindow": SLIDING_WINDOW if "sliding_attention" in layer_types else None,
        "relativeL2Tolerance": architecture.tolerance,
        "madeWith": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__},
        "sequences": described,
        "edits": cases,
    }
    return {name: tensor.contiguous() for name, tensor in tensors.items()}, description


def check_alive(tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> None:
    """Refuse a fixture that would prove little: non-finite values, or an edit that changes nothing."""
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} is not finite")
    for case in description["edits"]:
        base, edited = tensors[f"logits.{case['sequence']}"], tensors[f"edited.{case['name']}.logits"]
        change = float((edited - base).norm() / base.norm())
        if change < 1e-2:
            raise ValueError(f"{case['name']} changes the logits by {change:.1e} only")


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="directory of the fixtures")
    parser.add_argument("--only", help="comma-separated architecture names; default: all")
    args = parser.parse_args()
    set_deterministic()
    args.out.mkdir(parents=True, exist_ok=True)
    for architecture in selected(args.only):
        tensors, description = make_fixture(architecture)
        check_alive(tensors, description)
        path = args.out / f"{architecture.name}.safetensors"
        # One metadata key: the library writes several in no fixed order.
        save_file(tensors, path, metadata={"oracle": json.dumps(description, separators=(",", ":"))})
        print(f"{path.name}: {len(tensors)} tensors, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
