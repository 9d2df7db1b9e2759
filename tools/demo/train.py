"""Trains the base reasoner from scratch on worked solutions of the three problem sets.

    python -m tools.demo.train --out build/demo

One step takes one batch of each data set; the loss is on the completion only. Training has three stages (`STAGES`).
In the first the multiple-choice problems print four products to choose from; the model learned the partial products
but stayed at chance on the letter, so the second stage asks for the tens digit of the product instead; the third is mostly products, which lag behind. The number of
steps is fixed: a run is defined by its seed and its stages, not by the clock. It goes on from `<out>/train.pt` if
that is there.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from .datasets import CHECKS, MAKERS, is_correct, stream
from .model import END, batch_of, build_model, decode, encode, sample
from .optimizer import Muon

SEED = 1
VALIDATION_SEED = 99


@dataclass(frozen=True)
class Stage:
    """Steps `first` to `last` (exclusive): learning rates at both ends and problems of each data set per step."""

    first: int
    last: int
    rate: float
    final_rate: float
    batch: dict[str, int]
    warmup: bool


STAGES = (
    Stage(0, 400, 4e-3, 1.6e-3, {"chained-sums": 24, "multiple-choice": 24, "feedback-search": 24}, True),
    Stage(400, 600, 2e-3, 5e-4, {"chained-sums": 32, "multiple-choice": 24, "feedback-search": 12}, False),
    Stage(600, 670, 1.2e-3, 1e-4, {"chained-sums": 4, "multiple-choice": 48, "feedback-search": 8}, False),
)


def make_optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon on the matrices inside the blocks, AdamW on embeddings, norms and biases."""
    named = list(model.named_parameters())
    inner = [p for name, p in named if p.ndim == 2 and "embed" not in name and "lm_head" not in name]
    chosen = {id(p) for p in inner}
    rest = [p for _, p in named if id(p) not in chosen]
    return [
        Muon(inner, lr=rate),
        torch.optim.AdamW(rest, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def rate_at(stage: Stage, step: int) -> float:
    """Linear warm-up over the first 30 steps of all, and linear decay within a stage."""
    share = (step - stage.first) / (stage.last - stage.first)
    return (stage.rate + share * (stage.final_rate - stage.rate)) * min(1.0, (step + 1) / 30)


def loss_of(model: torch.nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of the next token where a label is set."""
    logits = model(input_ids=inputs).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)


def validate(model: torch.nn.Module, count: int) -> dict[str, float]:
    """Share of right answers at T = 1, per data set, on problems outside the held-out files."""
    generator = torch.Generator().manual_seed(VALIDATION_SEED)
    shares = {}
    for name in MAKERS:
        problems = list(islice(stream(name, VALIDATION_SEED), count))
        completions = sample(model, [p.prompt for p in problems], generator)
        right = [is_correct(CHECKS[name], decode(c), p.answer) for p, c in zip(problems, completions)]
        shares[name] = sum(right) / count
    return shares


def load_state(path: Path, model: torch.nn.Module, optimizers: list[torch.optim.Optimizer]) -> int:
    """Restores a checkpoint and returns its step; 0 if there is none."""
    if not path.exists():
        return 0
    state = torch.load(path)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"]):
        optimizer.load_state_dict(saved)
    return state["step"]


def take_step(model: torch.nn.Module, optimizers: list, rate: float, problems: dict[str, list]) -> dict[str, float]:
    """One update on a batch of each data set; returns the losses."""
    losses = {}
    for name, batch in problems.items():
        pairs = [(encode(p.prompt), encode(p.solution) + [END]) for p in batch]
        loss = loss_of(model, *batch_of(pairs))
        (loss / len(problems)).backward()
        losses[name] = round(loss.item(), 3)
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return losses


def train(out: Path, stop: int) -> None:
    """Runs the stages up to step `stop` and leaves the model in `<out>/base` (transformers format)."""
    model = build_model(SEED)
    optimizers = make_optimizers(model, STAGES[0].rate)
    done = load_state(out / "train.pt", model, optimizers)
    start = time.time()
    for number, stage in enumerate(STAGES):
        first = max(stage.first, done)
        streams = {
            name: islice(stream(name, SEED + 100 * number, stage.warmup), (first - stage.first) * size, None)
            for name, size in stage.batch.items()
            if first < stage.last
        }
        for step in range(first, min(stage.last, stop)):
            problems = {name: list(islice(source, stage.batch[name])) for name, source in streams.items()}
            losses = take_step(model, optimizers, rate_at(stage, step), problems)
            if (step + 1) % 10 == 0:
                print(step + 1, f"{time.time() - start:.0f}s", losses, flush=True)
            if (step + 1) % 40 == 0 or step + 1 == stop:
                saved = [optimizer.state_dict() for optimizer in optimizers]
                torch.save({"step": step + 1, "model": model.state_dict(), "optimizers": saved}, out / "train.pt")
    print("  right at T=1:", validate(model, 100), flush=True)
    model.save_pretrained(out / "base")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the base reasoner.")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=STAGES[-1].last, help="stop after this many")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args.out, args.steps)


if __name__ == "__main__":
    main()
