"""A dopamine probe from states to held-out numbers, by NumPy, PyTorch, SciPy and scikit-learn, on small seeded trajectories.

    python tools/rpe/make_probe_fixture.py [--out test/fixtures/rpe]

Needs numpy, torch, scipy and scikit-learn (versions in the file). Writes probe.json; byte-identical when run again with the same versions. States are
z-scored and pooled as the definitions read, the network d -> 32 -> 1 is torch.nn with gradients by autograd and steps by torch.optim.AdamW, stopped by the loss on validation
steps. Only what is arbitrary is taken from the program: its seeded initial weights, order of mini-batches and shuffle, made anew here from their generator.
"""

import argparse
import json
import math
from pathlib import Path

import numpy as np
import scipy
import sklearn
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import roc_auc_score
from torch import nn

SEED = 20267
PROBE_SEED = 3
LAYER, WIDTH, HIDDEN, TRAJECTORIES, THRESHOLD = 2, 6, 32, 60, 0.3
RATE, DECAY, SHRINK, BATCH, EPOCHS, PATIENCE = 1e-3, 0.01, 0.1, 16, 100, 8


def mulberry32(seed):
    """The program's generator (T. Ettinger 2017)."""
    state, mask = seed & 0xFFFFFFFF, 0xFFFFFFFF
    while True:
        state = (state + 0x6D2B79F5) & mask
        t = ((state ^ (state >> 15)) * (state | 1)) & mask
        t ^= (t + (((t ^ (t >> 7)) * (t | 61)) & mask)) & mask
        yield ((t ^ (t >> 14)) & mask) / 2**32


def permutation(count, seed):
    """Fisher-Yates from the end."""
    random, out = mulberry32(seed), list(range(count))
    for i in range(count - 1, 0, -1):
        j = int(next(random) * (i + 1))
        out[i], out[j] = out[j], out[i]
    return out


def make_data(rng):
    """Trajectories of 2 to 4 steps; two coordinates follow the error, one of them only while it is positive."""
    made = []
    for i in range(TRAJECTORIES):
        steps, rows, end = [], [rng.normal(size=WIDTH)], 0
        for _ in range(rng.integers(2, 5)):
            begin, end = end, end + int(rng.integers(2, 4))
            error = round(float(rng.uniform(-1, 1)), 3)
            steps.append([begin, end, error])
            for _ in range(begin, end):
                row = rng.normal(size=WIDTH)
                row[1] += 3 * error
                row[4] -= 4 * max(error, 0)
                rows.append(row)
        states = np.stack(rows[:end]) * [1, 50, 0.1, 1, 3, 1] + [0, 20, 0, -5, 0, 0]
        made.append({"part": ["test", "validation", "train"][min(2, i % 4)], "steps": steps, "states": [[float(f"{v:.4g}") for v in row] for row in states]})
    return made


def features_of(trajectory):
    """z-scores by the states so far, averaged over the states that have read a step's tokens."""
    states = np.array(trajectory["states"], dtype=np.float32).astype(np.float64)
    scores = np.zeros_like(states)
    for s in range(len(states)):
        std = states[: s + 1].std(axis=0)
        scores[s] = np.divide(states[s] - states[: s + 1].mean(axis=0), std, out=np.zeros(WIDTH), where=std > 0)
    last = len(states) - 1
    return [scores[min(begin + 1, last) : min(end, last) + 1].mean(axis=0) for begin, end, _ in trajectory["steps"]]


def make_net(hidden, seed):
    """Torch's layers with the program's initial weights: uniform in 1/sqrt(inputs), the first layer's shrunk."""
    random = mulberry32(seed)
    draw = lambda *shape, inputs: torch.tensor([(2 * next(random) - 1) / math.sqrt(inputs) for _ in range(math.prod(shape))], dtype=torch.float32).reshape(shape)
    if hidden == 0:
        net = nn.Linear(WIDTH, 1)
        weights = [draw(1, WIDTH, inputs=WIDTH), draw(1, inputs=WIDTH)]
    else:
        net = nn.Sequential(nn.Linear(WIDTH, hidden), nn.ReLU(), nn.Linear(hidden, 1))
        weights = [SHRINK * draw(hidden, WIDTH, inputs=WIDTH), draw(hidden, inputs=WIDTH), draw(1, hidden, inputs=hidden), draw(1, inputs=hidden)]
    with torch.no_grad():
        for parameter, weight in zip(net.parameters(), weights):
            parameter.copy_(weight)
    return net


def train(hidden, x, errors, train_rows, validation_rows):
    """Returns the net of the best epoch, that epoch, and the epochs run. The best one leads by more than rounding."""
    net = make_net(hidden, PROBE_SEED + 7919 * LAYER)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    losses, best = [], None
    loss_on = lambda rows: nn.functional.mse_loss(net(x[rows]).squeeze(-1), errors[rows])
    while len(losses) < EPOCHS and (not losses or len(losses) - int(np.argmin(losses)) <= PATIENCE):
        order = [train_rows[i] for i in permutation(len(train_rows), PROBE_SEED + 1 + len(losses))]
        for at in range(0, len(order), BATCH):
            optimizer.zero_grad()
            loss_on(order[at : at + BATCH]).backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(loss_on(validation_rows).item())
        if losses[-1] == min(losses):
            best = {key: value.clone() for key, value in net.state_dict().items()}
    lead = np.partition(losses, 1)[1] - min(losses)
    assert lead > 1e-5, f"the best epoch leads by {lead}: another seed would be decided by rounding"
    net.load_state_dict(best)
    return net, int(np.argmin(losses)), len(losses)


def agreement(predicted, errors):
    return {"spearman": float(spearmanr(predicted, errors).statistic), "pearson": float(pearsonr(predicted, errors).statistic), "auc": float(roc_auc_score(errors > 0, predicted))}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="test/fixtures/rpe")
    torch.set_num_threads(1)
    trajectories = make_data(np.random.default_rng(SEED))
    features = np.concatenate([features_of(t) for t in trajectories]).astype(np.float32)
    errors = np.array([error for t in trajectories for _, _, error in t["steps"]], dtype=np.float32)
    parts = np.array([t["part"] for t in trajectories for _ in t["steps"]])
    large = np.flatnonzero(np.abs(errors) > THRESHOLD)
    rows = {part: np.flatnonzero(parts[large] == part).tolist() for part in ("train", "validation", "test")}
    moments = features[large][rows["train"]].astype(np.float64)
    x = torch.from_numpy(((features - moments.mean(0)) / moments.std(0)).astype(np.float32))
    real = torch.from_numpy(errors[large])
    dealt = real[permutation(len(large), PROBE_SEED ^ 0x5F3759DF)]
    result = {}
    for name, hidden, target in (("dopamine", HIDDEN, real), ("linear", 0, real), ("shuffled errors", HIDDEN, dealt)):
        net, best, epochs = train(hidden, x[large], target, rows["train"], rows["validation"])
        with torch.no_grad():
            predicted = net(x).squeeze(-1).numpy()
        on = lambda part: (predicted[large][rows[part]], target[rows[part]].numpy())
        assert all(np.diff(np.sort(on(part)[0])).min() > 2e-5 for part in ("validation", "test")), "ranks would be decided by rounding"
        first = (net if hidden == 0 else net[0]).weight.detach().abs().sum(0)
        result[name] = {"bestEpoch": best, "epochs": epochs, "validationSpearman": float(spearmanr(*on("validation")).statistic), "large": agreement(*on("test")), "predictions": [float(f"{v:.6g}") for v in predicted], "l1": [float(f"{v:.6g}") for v in first]}
        print(f"{name:16} best epoch {best} of {epochs}, held out {result[name]['large']}")
    data = {
        "made": {"numpy": np.__version__, "torch": torch.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__},
        "layer": LAYER, "width": WIDTH, "hidden": HIDDEN, "threshold": THRESHOLD, "seed": PROBE_SEED,
        "trajectories": trajectories,
        "probes": result,
    }
    path = Path(parser.parse_args().out) / "probe.json"
    path.write_text(json.dumps(data, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
