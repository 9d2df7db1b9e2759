"""Reference values for KL divergence and perplexity from raw scores, by PyTorch in double precision.

    python tools/stats/make_divergence_fixture.py [--out test/fixtures/stats]

Needs torch (version in the file). Writes divergence.json; byte-identical when run again with the same version.
"""

import argparse
import json
from pathlib import Path

import torch
import torch.nn.functional as F


def case(name, base, arm, tokens):
    base, arm = base.to(torch.float32).double(), arm.to(torch.float32).double()
    p, q = F.log_softmax(base, dim=-1), F.log_softmax(arm, dim=-1)
    kl = F.kl_div(q, p, reduction="none", log_target=True).nan_to_num(0.0).sum(-1)
    return {
        "name": name,
        # scores of rows in which some are -inf are written as null
        "base": [[None if v == float("-inf") else v for v in row] for row in base.tolist()],
        "arm": [[None if v == float("-inf") else v for v in row] for row in arm.tolist()],
        "tokens": tokens.tolist(),
        "partition": torch.logsumexp(arm, dim=-1).tolist(),
        "kl": kl.tolist(),
        "meanKl": kl.mean().item(),
        # row t predicts token t + 1
        "perplexity": torch.exp(F.cross_entropy(arm[:-1], tokens[1:])).item(),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/stats"))
    out = parser.parse_args().out
    g = torch.Generator().manual_seed(11)
    draw = lambda *shape: torch.randn(*shape, generator=g)
    base = draw(5, 12)
    tokens = torch.randint(0, 12, (5,), generator=g)
    masked = base.clone()
    masked[:, 3] = float("-inf")
    cases = [
        case("close", base, base + 0.01 * draw(5, 12), tokens),
        case("far", base, 3 * draw(5, 12), tokens),
        case("equal up to a constant", base, base + 7, tokens),
        case("large scores", 200 * base + 1000, 200 * draw(5, 12) - 3000, tokens),
        case("ruled out in both", masked, masked + draw(5, 12), torch.tensor([0, 1, 2, 4, 5])),
    ]
    text = json.dumps({"torch": torch.__version__, "cases": cases}, indent=1)
    (out / "divergence.json").write_text(text + "\n")


main()
