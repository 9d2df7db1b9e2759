"""Trains the base reasoner from scratch on worked solutions of the three problem sets.

    python -m tools.demo.train --out build/demo --steps 600

One step takes one batch of each data set; the loss is on the completion only. The number of steps is fixed, so
a run is defined by its seed and its arguments, not by the clock. It goes on from `<out>/train.pt` if that is there.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import torch

from .datasets import CHECKS, MAKERS, is_correct, stream
from .model import END, batch_of, build_model, decode, encode, sample
from .optimizer import Muon

SEED = 1
VALIDATION_SEED = 99


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


def rate_at(step: int, steps: int, peak: float) -> float:
    """Linear warm-up over 30 steps, then linear decay to a tenth of the peak."""
    warm = min(1.0, (step + 1) / 30)
    return peak * warm * (1.0 - 0.9 * step / steps)


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


def train(out: Path, steps: int, batch: int, peak: float) -> None:
    """Runs `steps` steps and leaves the model in `<out>/base` (transformers format)."""
    model = build_model(SEED)
    optimizers = make_optimizers(model, peak)
    state_path, first = out / "train.pt", 0
    if state_path.exists():
        state = torch.load(state_path)
        first = state["step"]
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
    streams = {name: islice(stream(name, SEED), first * batch, None) for name in MAKERS}
    start = time.time()
    for step in range(first, steps):
        losses = {}
        for name, source in streams.items():
            pairs = [(encode(p.prompt), encode(p.solution) + [END]) for p in islice(source, batch)]
            loss = loss_of(model, *batch_of(pairs)) / len(streams)
            loss.backward()
            losses[name] = loss.item() * len(streams)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(step, steps, peak)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 10 == 0:
            print(step + 1, f"{time.time() - start:.0f}s", {k: round(v, 3) for k, v in losses.items()}, flush=True)
        if (step + 1) % 100 == 0 or step + 1 == steps:
            print("  right at T=1:", validate(model, 100), flush=True)
            saved = [optimizer.state_dict() for optimizer in optimizers]
            torch.save({"step": step + 1, "model": model.state_dict(), "optimizers": saved}, state_path)
    model.save_pretrained(out / "base")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the base reasoner.")
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--batch", type=int, default=24, help="problems of each data set per step")
    parser.add_argument("--rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args.out, args.steps, args.batch, args.rate)


if __name__ == "__main__":
    main()
