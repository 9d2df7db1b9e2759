"""PyTorch's side of the probe training benchmark (bench/probe.ts): it answers commands on standard input.

    python tools/probe/bench_torch.py SETTINGS.json

The settings name the files that bench/probe.ts wrote (states, weights, rewards; raw little-endian) and their shapes. Each
command is one line, "fused STEPS" or "default STEPS" (the implementation of torch.optim.AdamW); the answer is one line of
JSON: {"seconds", "losses" of the last step}. Each implementation trains its own copy of the probes.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn


def load(settings, name, dtype, shape):
    return torch.from_numpy(np.fromfile(settings["files"][name], dtype=dtype).reshape(shape))


def make_trainer(settings, fused):
    layers, width, hidden = settings["layers"], settings["width"], settings["hidden"]
    count, length = settings["trajectories"], settings["length"]
    batches = load(settings, "states", np.float16, (settings["batches"], count * length, layers, width))
    rewards = load(settings, "rewards", np.float32, (settings["batches"], count))
    weights = load(settings, "weights", np.float32, (layers, hidden * width + 2 * hidden + 1))
    nets = []
    for flat in weights:
        w1, b1, w2, b2 = torch.split(flat, [hidden * width, hidden, hidden, 1])
        net = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1), nn.Sigmoid())
        with torch.no_grad():
            for parameter, value in zip(net.parameters(), [w1.view(hidden, width), b1, w2.view(1, hidden), b2]):
                parameter.copy_(value)
        nets.append(net)
    options = dict(fused=True) if fused else {}
    optimizer = torch.optim.AdamW([p for net in nets for p in net.parameters()], lr=1e-4, weight_decay=0.01, **options)
    done = 0

    def step():
        nonlocal done
        rows, reward = batches[done % len(batches)], rewards[done % len(batches)]
        done += 1
        losses = []
        for layer, net in enumerate(nets):
            value = net(rows[:, layer].float()).view(count, length)
            target = torch.cat([settings["gamma"] * value.detach()[:, 1:], reward[:, None]], dim=1)
            losses.append(((target - value) ** 2).mean())
        optimizer.zero_grad()
        sum(losses).backward()
        optimizer.step()
        return [loss.item() for loss in losses]

    return step


def main():
    with open(sys.argv[1], encoding="utf8") as file:
        settings = json.load(file)
    torch.set_num_threads(settings["threads"])
    trainers = {}
    for line in sys.stdin:
        kind, steps = line.split()
        if kind not in trainers:
            trainers[kind] = make_trainer(settings, kind == "fused")
        started = time.perf_counter()
        for _ in range(int(steps)):
            losses = trainers[kind]()
        print(json.dumps({"seconds": time.perf_counter() - started, "losses": losses, "torch": torch.__version__}), flush=True)


if __name__ == "__main__":
    main()
