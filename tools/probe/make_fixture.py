"""Loss curves and final weights of value probes trained by PyTorch, on small seeded trajectories.

    python tools/probe/make_fixture.py [--out test/fixtures/probe]

Needs torch, numpy and safetensors (versions in the metadata). Writes torch.safetensors; byte-identical when run
again with the same versions. Probes are plain torch.nn modules, losses are written as their definition reads, gradients
come from autograd and steps from torch.optim.AdamW. The metadata entry "fixture" (JSON) describes every probe; tensors:

    states   F32 [rows, layers, width]   rows of all trajectories, one after the other; every value is a half float
    lengths  I32 [trajectories]          states of each
    rewards  F32 [columns, trajectories]
    batches  I32 [steps, trajectories of a batch]
    <initial>.w1|b1|w2|b2                initial weights, shared by probes of one shape
    <probe>.mean|scale                   where the inputs are z-scored
    <probe>.losses  F32 [steps]          before each step
    <probe>.w1|b1|w2|b2                  after the last step
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import nn

SEED = 4242
WIDTH, LAYERS, HIDDEN, TRAJECTORIES, BATCH, STEPS = 24, 2, 32, 40, 4, 200
GAMMA = 0.97  # far enough from 1 that a forgotten discount shows
NEURONS = [3, 20, 7, 11, 0, 16, 23]
TARGETS = ["td0", "td0-residual", "td-lambda", "mc", "terminal"]


def make_data(rng):
    """Trajectories of 3 to 9 states; a few coordinates know the reward, one is large, all have an offset."""
    lengths = rng.integers(3, 10, TRAJECTORIES)
    rewards = rng.integers(0, 2, TRAJECTORIES).astype(np.float32)
    carriers = rng.normal(size=(LAYERS, WIDTH)) * (rng.random((LAYERS, WIDTH)) < 0.2)
    scale = np.exp(rng.normal(size=(LAYERS, WIDTH)))
    offset = rng.normal(size=(LAYERS, WIDTH))
    states = []
    for length, reward in zip(lengths, rewards):
        for t in range(length):
            signal = (2 * reward - 1) * (t + 1) / length
            states.append(offset + scale * (carriers * signal + 0.5 * rng.normal(size=(LAYERS, WIDTH))))
    states = np.stack(states).astype(np.float16).astype(np.float32)
    return states, lengths.astype(np.int32), np.stack([rewards, rng.permutation(rewards)])


def describe_probes():
    usual = dict(layer=0, hidden=HIDDEN, rewardColumn=0, lambda_=1.0, learningRate=2e-3, weightDecay=0.1, zscore=False, neurons=None)
    probes = []
    for head in ["sigmoid", "identity"]:
        for target in TARGETS:
            probes.append({**usual, "name": f"{target}-{head}", "target": target, "head": head,
                           **({"lambda_": 0.9} if target == "td-lambda" else {})})
    more = [
        dict(name="linear-sigmoid", target="mc", head="sigmoid", hidden=0),
        dict(name="linear-identity", target="td0", head="identity", hidden=0, layer=1),
        dict(name="zscored", target="td-lambda", lambda_=0.9, head="sigmoid", layer=1, zscore=True),
        dict(name="defaults", target="td0", head="sigmoid", learningRate=1e-4, weightDecay=0.01),
        dict(name="second-column", target="mc", head="sigmoid", rewardColumn=1),
        dict(name="neurons", target="mc", head="sigmoid", neurons=NEURONS),
    ]
    return probes + [{**usual, **entry} for entry in more]


def make_net(inputs, hidden):
    return nn.Linear(inputs, 1) if hidden == 0 else nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, 1))


def weights_of(net):
    linear = [net] if isinstance(net, nn.Linear) else [net[0], net[2]]
    last = linear[-1]
    first = linear[0] if len(linear) == 2 else None
    return {
        "w1": (first.weight.detach().clone() if first is not None else torch.zeros(0)).numpy(),
        "b1": (first.bias.detach().clone() if first is not None else torch.zeros(0)).numpy(),
        "w2": last.weight.detach().clone().flatten().numpy(),
        "b2": last.bias.detach().clone().numpy(),
    }


def squared_errors(probe, values, reward):
    """(error_t)^2 of the states of one trajectory that count. Targets are constants, but for td0-residual."""
    target, gamma, fixed, last = probe["target"], GAMMA, values.detach(), len(values) - 1
    if target == "terminal":
        return (reward - values[last:]) ** 2
    if target == "td0-residual":
        return (torch.cat([gamma * values[1:], reward[None]]) - values) ** 2
    if target == "td0":
        return (torch.cat([gamma * fixed[1:], reward[None]]) - values) ** 2
    if target == "mc":
        return (reward * gamma ** torch.arange(last, -1, -1) - values) ** 2
    returns = [reward]
    for t in range(last - 1, -1, -1):
        returns.insert(0, gamma * ((1 - probe["lambda_"]) * fixed[t + 1] + probe["lambda_"] * returns[0]))
    return (torch.stack(returns) - values) ** 2


def train(probe, net, x, lengths, rewards, batches):
    starts = np.concatenate([[0], np.cumsum(lengths)])
    optimizer = torch.optim.AdamW(net.parameters(), lr=probe["learningRate"], weight_decay=probe["weightDecay"])
    losses = []
    for batch in batches:
        errors = []
        for i in batch:
            z = net(x[starts[i]:starts[i + 1]]).squeeze(-1)
            errors.append(squared_errors(probe, torch.sigmoid(z) if probe["head"] == "sigmoid" else z, rewards[i]))
        loss = torch.cat(errors).mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return np.array(losses, dtype=np.float32)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/probe"))
    out = parser.parse_args().out
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    rng = np.random.default_rng(SEED)
    states, lengths, rewards = make_data(rng)
    batches = np.stack([rng.choice(TRAJECTORIES, BATCH, replace=False) for _ in range(STEPS)]).astype(np.int32)
    tensors = dict(states=states, lengths=lengths, rewards=rewards, batches=batches)
    probes = describe_probes()
    initial = {}
    for probe in probes:
        x = torch.from_numpy(states[:, probe["layer"]])
        if probe["neurons"] is not None:
            x = x[:, probe["neurons"]]
        if probe["zscore"]:
            mean, scale = x.mean(0), 1 / x.std(0)
            tensors |= {f"{probe['name']}.mean": mean.numpy(), f"{probe['name']}.scale": scale.numpy()}
            x = (x - mean) * scale
        net = make_net(x.shape[1], probe["hidden"])
        probe["initial"] = f"initial-{x.shape[1]}-{probe['hidden']}"
        if probe["initial"] in initial:
            net.load_state_dict(initial[probe["initial"]])
        else:
            initial[probe["initial"]] = {key: value.clone() for key, value in net.state_dict().items()}
            tensors |= {f"{probe['initial']}.{key}": value for key, value in weights_of(net).items()}
        losses = train(probe, net, x, lengths, torch.from_numpy(rewards[probe["rewardColumn"]]), batches)
        tensors[f"{probe['name']}.losses"] = losses
        tensors |= {f"{probe['name']}.{key}": value for key, value in weights_of(net).items()}
        probe["lambda"] = probe.pop("lambda_")
        print(f"{probe['name']:24} {losses[:10].mean():.4f} -> {losses[-10:].mean():.4f}")
    facts = {"gamma": GAMMA, "probes": probes, "torch": torch.__version__, "numpy": np.__version__}
    # one entry: several would be written in an order that differs from run to run
    metadata = {"fixture": json.dumps(facts)}
    save_file({key: np.ascontiguousarray(value) for key, value in tensors.items()}, out / "torch.safetensors", metadata=metadata)


if __name__ == "__main__":
    main()
