"""Trains the base reasoner further with verifiable rewards: policy gradient, one reward per completion.

    python -m tools.demo.rl --base build/demo/base --out build/demo

Each iteration draws fresh problems of each data set (never one of the held-out files), samples a group of completions
for each problem at T = 1 and scores them 1 (right answer in the right form, ended by itself) or 0. The advantage of a
completion is its reward minus the mean of its group, divided by the group's standard deviation (GRPO: Shao et al.,
"DeepSeekMath", 2024); with a single update per batch of samples no clipping of the ratio is needed. There is no
penalty for leaving the base. It goes on from `<out>/rl.pt` if that is there.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice
from pathlib import Path

import torch
from transformers import Qwen2ForCausalLM

from .datasets import CHECKS, MAKERS, Problem, is_correct, stream
from .model import END, batch_of, decode, encode, sample
from .train import validate

SEED = 2


def rewards_of(name: str, problems: list[Problem], completions: list[list[int]]) -> torch.Tensor:
    """1 for a completion that ended by itself in the right answer, else 0."""
    return torch.tensor(
        [
            float(tokens[-1] == END and is_correct(CHECKS[name], decode(tokens), problem.answer))
            for problem, tokens in zip(problems, completions)
        ]
    )


def advantages_of(rewards: torch.Tensor, group: int) -> torch.Tensor:
    """Rewards standardized within each group of `group` neighbours; 0 where a group is all right or all wrong."""
    grouped = rewards.reshape(-1, group)
    centred = grouped - grouped.mean(1, keepdim=True)
    return (centred / (grouped.std(1, keepdim=True) + 1e-6)).flatten()


def policy_loss(model: torch.nn.Module, pairs: list, advantages: torch.Tensor) -> torch.Tensor:
    """Minus the advantage-weighted log-likelihood, averaged over completion tokens."""
    inputs, labels = batch_of(pairs)
    logits = model(input_ids=inputs).logits[:, :-1]
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="none"
    ).view(len(pairs), -1)
    return (losses * advantages[:, None]).sum() / (labels != -100).sum()


def improve(model: torch.nn.Module, name: str, problems: list[Problem], group: int, generator: torch.Generator) -> float:
    """Samples one data set's groups, adds the gradient, and returns the share that was right."""
    repeated = [problem for problem in problems for _ in range(group)]
    completions = sample(model, [problem.prompt for problem in repeated], generator)
    rewards = rewards_of(name, repeated, completions)
    advantages = advantages_of(rewards, group)
    kept = advantages.nonzero().flatten().tolist()
    if kept:
        pairs = [(encode(repeated[i].prompt), completions[i]) for i in kept]
        (policy_loss(model, pairs, advantages[kept]) / len(MAKERS)).backward()
    return rewards.mean().item()


def run(base: Path, out: Path, iterations: int, count: int, group: int, rate: float) -> None:
    """Runs `iterations` updates and leaves the model in `<out>/rl` (transformers format)."""
    model = Qwen2ForCausalLM.from_pretrained(base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.95), weight_decay=0.0)
    state_path, first = out / "rl.pt", 0
    if state_path.exists():
        state = torch.load(state_path)
        first = state["iteration"]
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    streams = {name: islice(stream(name, SEED), first * count, None) for name in MAKERS}
    start = time.time()
    for iteration in range(first, iterations):
        generator = torch.Generator().manual_seed(SEED * 100_000 + iteration)
        right = {}
        for name, source in streams.items():
            right[name] = round(improve(model, name, list(islice(source, count)), group, generator), 3)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for settings in optimizer.param_groups:
            settings["lr"] = rate * min(1.0, (iteration + 1) / 5)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(iteration + 1, f"{time.time() - start:.0f}s", right, flush=True)
        if (iteration + 1) % 10 == 0 or iteration + 1 == iterations:
            saved = {"iteration": iteration + 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save(saved, state_path)
    print("  right at T=1:", validate(model, 100), flush=True)
    model.save_pretrained(out / "rl")


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the base reasoner further with verifiable rewards.")
    parser.add_argument("--base", type=Path, default=Path("build/demo/base"))
    parser.add_argument("--out", type=Path, default=Path("build/demo"))
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--problems", type=int, default=32, help="problems of each data set per iteration")
    parser.add_argument("--group", type=int, default=8, help="completions per problem")
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    run(args.base, args.out, args.iterations, args.problems, args.group, args.rate)


if __name__ == "__main__":
    main()
