"""Recomputes the committed oracle fixtures and reports every array or metadata entry that does not reproduce.

    python verify_fixtures.py [--fixtures test/fixtures/oracle] [--only llama,phi3] [--llama-cpp DIR]

Reference arrays may differ in their last bits on another processor, so they are compared by relative L2;
tokens, random payloads and descriptions must be equal. With --llama-cpp the GGUF files are converted again
and must hold the same metadata and the same bytes. Exit status 1 on any difference.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from architectures import Architecture
from make_fixtures import check_alive, make_fixture
from make_models import DEFAULT_OUT, gguf_jobs, load_converter, selected, set_deterministic, write_gguf

REPRODUCTION_TOLERANCE = 3e-6
"""Relative L2 between two float32 runs of PyTorch; a third of what llama.cpp is allowed."""


def relative_l2(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Norm of the difference over the norm of the expectation, in float64."""
    actual, expected = actual.double(), expected.double()
    return float((actual - expected).norm() / expected.norm().clamp_min(1e-30))


def load_fixture(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The tensors and the description of a committed fixture."""
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        return tensors, json.loads(file.metadata()["oracle"])


def without_versions(description: dict[str, Any]) -> dict[str, Any]:
    """A description minus the library versions, as JSON gives it back."""
    return json.loads(json.dumps({key: value for key, value in description.items() if key != "madeWith"}))


def compare_references(architecture: Architecture, path: Path) -> tuple[list[str], float]:
    """Differences between a committed fixture and a fresh run, and the largest relative L2 seen."""
    committed, description = load_fixture(path)
    fresh, fresh_description = make_fixture(architecture)
    check_alive(committed, description)
    problems, worst = [], 0.0
    if without_versions(description) != without_versions(fresh_description):
        problems.append("the description differs")
    for name in sorted(committed.keys() ^ fresh.keys()):
        problems.append(f"{name} is in only one of the two")
    for name in sorted(committed.keys() & fresh.keys()):
        old, new = committed[name], fresh[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            problems.append(f"{name}: {tuple(old.shape)} {old.dtype}, now {tuple(new.shape)} {new.dtype}")
        elif name.startswith("tokens."):
            if not torch.equal(old, new):
                problems.append(f"{name}: other tokens")
        else:
            difference = relative_l2(new, old)
            worst = max(worst, difference)
            if not difference <= REPRODUCTION_TOLERANCE:
                problems.append(f"{name}: relative L2 {difference:.1e}")
    return problems, worst


def compare_gguf(committed: Path, fresh: Path, gguf: Any) -> list[str]:
    """Differences in metadata or tensor bytes between two GGUF files."""
    old, new = gguf.GGUFReader(committed), gguf.GGUFReader(fresh)
    problems = []
    old_fields = {name: field.contents() for name, field in old.fields.items()}
    new_fields = {name: field.contents() for name, field in new.fields.items()}
    for name in sorted(old_fields.keys() | new_fields.keys()):
        if old_fields.get(name) != new_fields.get(name):
            problems.append(f"{committed.name}: {name} is {old_fields.get(name)!r}, now {new_fields.get(name)!r}")
    old_tensors = {tensor.name: tensor for tensor in old.tensors}
    new_tensors = {tensor.name: tensor for tensor in new.tensors}
    for name in sorted(old_tensors.keys() | new_tensors.keys()):
        if name not in old_tensors or name not in new_tensors:
            problems.append(f"{committed.name}: {name} is in only one of the two")
        elif (old_tensors[name].tensor_type != new_tensors[name].tensor_type
              or not np.array_equal(old_tensors[name].data.view(np.uint8), new_tensors[name].data.view(np.uint8))):
            problems.append(f"{committed.name}: {name} has other bytes")
    return problems


def main() -> int:
    """Command line entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fixtures", type=Path, default=DEFAULT_OUT, help="directory of the fixtures")
    parser.add_argument("--only", help="comma-separated architecture names; default: all")
    parser.add_argument("--llama-cpp", type=Path, help="also convert again with this llama.cpp checkout")
    args = parser.parse_args()
    set_deterministic()
    failed = False
    for architecture in selected(args.only):
        problems, worst = compare_references(architecture, args.fixtures / f"{architecture.name}.safetensors")
        if args.llama_cpp is not None:
            _, gguf = load_converter(args.llama_cpp.resolve())
            with tempfile.TemporaryDirectory() as scratch:
                for quantization, name in gguf_jobs(architecture):
                    fresh = Path(scratch) / name
                    write_gguf(architecture, args.llama_cpp.resolve(), fresh, quantization)
                    problems += compare_gguf(args.fixtures / name, fresh, gguf)
        print(f"{architecture.name}: {'FAILED' if problems else 'ok'}, worst relative L2 {worst:.1e}")
        for problem in problems:
            print(f"  {problem}")
        failed = failed or bool(problems)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
