"""Activation patching in PyTorch: the reference that `rewardlens patch` has to reproduce.

    python tools/patch/make_fixture.py [--out test/fixtures/patch] [--only llama,gemma2]

Runs the tiny models of tools/oracle in transformers (needs no llama.cpp) and patches with forward hooks, one
site, layer and position (or group of neurons) at a time. Metrics at the last position, in double precision
from the model's float32 logits: logit(answer) - logit(wrong); probability of the answer; KL(clean || run).

The file is JSON: `pairs` (token ids), `base` (metrics of the unedited runs), and `maps`, each with mode, site,
kind, `columns` (positions, or lists of neurons with "all" or "last" positions) and
`values[pair][layer][column] = [logit difference, probability, KL]`.
"""

import argparse
import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "oracle"))

import numpy as np
import torch
import transformers

from architectures import VOCAB
from make_models import build_model, selected, set_deterministic
from sites import run

LENGTHS = (11, 9)
"""Tokens of the prompts of each pair."""
SITES = ("residPre", "attnOut", "residMid", "mlpOut", "residPost")
GROUP_SITES = ("residPost", "mlpPost")
MODES = ("denoising", "noising")
GROUP_SIZE = 24


def draw_pairs(seed: int) -> list[dict]:
    """Prompts that differ in two tokens, neither first nor last."""
    rng = np.random.default_rng([seed, 4])
    pairs = []
    for length in LENGTHS:
        clean = rng.integers(0, VOCAB, length)
        corrupted = clean.copy()
        for at in (2, length // 2):
            corrupted[at] = (clean[at] + 1 + rng.integers(0, VOCAB - 1)) % VOCAB
        pairs.append({"clean": clean.tolist(), "corrupted": corrupted.tolist()})
    return pairs


def choose_answers(pair: dict, clean: torch.Tensor, corrupted: torch.Tensor) -> None:
    """The answer is what the clean run prefers, the wrong one what the corrupted run prefers besides it."""
    pair["answer"] = int(clean.argmax())
    pair["wrong"] = next(int(token) for token in corrupted.argsort(descending=True) if int(token) != pair["answer"])


def measure(logits: torch.Tensor, clean: torch.Tensor, pair: dict) -> list[float]:
    """The three metrics of the last position's logits against the clean run's."""
    log_p, log_clean = (torch.log_softmax(row.double(), 0) for row in (logits, clean))
    row = logits.double()
    return [float(row[pair["answer"]] - row[pair["wrong"]]), float(log_p[pair["answer"]].exp()),
            float((log_clean.exp() * (log_clean - log_p)).sum())]


def patched(model, architecture, tokens: list[int], source: torch.Tensor, place: tuple[str, int],
            positions: list[int], neurons: list[int] | None) -> torch.Tensor:
    """Logits at the last position with rows of `source` put in at one site and layer."""
    def edit(site: str, layer: int, rows: torch.Tensor) -> None:
        if (site, layer) == place:
            index = torch.tensor(positions)[:, None]
            columns = torch.tensor(neurons or range(rows.shape[1]))[None, :]
            rows[index, columns] = source[index, columns]
    return run(model, architecture, tokens, edit)["logits"][-1]


def make_fixture(architecture) -> dict:
    """The whole reference of one architecture as plain data."""
    model = build_model(architecture)
    layers = model.config.num_hidden_layers
    pairs = draw_pairs(architecture.seed)
    runs = [{side: run(model, architecture, pair[side]) for side in ("clean", "corrupted")} for pair in pairs]
    clean_logits = [each["clean"]["logits"][-1] for each in runs]
    for pair, each, clean in zip(pairs, runs, clean_logits):
        choose_answers(pair, clean, each["corrupted"]["logits"][-1])
    base = [{side: measure(each[side]["logits"][-1], clean, pair) for side in each}
            for pair, each, clean in zip(pairs, runs, clean_logits)]
    maps = []
    for mode in MODES:
        source, target = ("clean", "corrupted") if mode == "denoising" else ("corrupted", "clean")
        plans = [(site, "positions", [list(range(len(pair["clean"]))) for pair in pairs], None) for site in SITES]
        for site in GROUP_SITES:
            width = runs[0]["clean"][f"{site}.0"].shape[1]
            groups = [list(range(start, min(start + GROUP_SIZE, width))) for start in range(0, width, GROUP_SIZE)]
            plans += [(site, positions, [groups for _ in pairs], positions) for positions in ("all", "last")]
        for site, kind, columns, which in plans:
            values = []
            for pair, each, clean, own in zip(pairs, runs, clean_logits, columns):
                length = len(pair["clean"])
                rows = []
                for layer in range(layers):
                    cells = []
                    for column in own:
                        positions = [column] if which is None else list(range(length)) if which == "all" else [length - 1]
                        logits = patched(model, architecture, pair[target], each[source][f"{site}.{layer}"], (site, layer),
                                         positions, None if which is None else column)
                        cells.append(measure(logits, clean, pair))
                    rows.append(cells)
                values.append(rows)
            maps.append({"mode": mode, "site": site, "kind": "positions" if which is None else "groups",
                         "positions": which, "groups": None if which is None else columns[0], "values": values})
    return {"architecture": architecture.name, "layerCount": layers, "pairs": pairs, "base": base, "maps": maps,
            "madeWith": {"torch": torch.__version__.split("+")[0], "transformers": transformers.__version__}}


def main() -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "test" / "fixtures" / "patch")
    parser.add_argument("--only", default="llama,gemma2", help="comma-separated architecture names")
    args = parser.parse_args()
    set_deterministic()
    args.out.mkdir(parents=True, exist_ok=True)
    for architecture in selected(args.only):
        path = args.out / f"{architecture.name}.json"
        path.write_text(json.dumps(make_fixture(architecture), separators=(",", ":")) + "\n")
        print(f"{path.name}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
