"""Reference values for the score interval of a paired difference of proportions (Tango 1998), by SciPy.

    python tools/stats/make_score_interval_fixture.py [--out test/fixtures/stats]

Needs numpy and scipy (versions in the file). Writes score_interval.json; byte-identical when run again with the same
versions. The constrained maximum of the likelihood is searched for and Rao's statistic U' I^-1 U is formed from the
trinomial's gradient and information: independent of the closed form under test.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm


def rao(delta, b, c, n):
    """Of H0: P(only the arm is right) - P(only the base is right) = delta."""
    counts = np.array([c, b, n - b - c], dtype=float)

    def loss(q):
        p = np.array([q + delta, q, 1 - 2 * q - delta])
        return -np.sum(np.where(counts > 0, counts * np.log(np.maximum(p, 1e-300)), 0.0))

    low, high = max(0.0, -delta), (1 - delta) / 2
    q = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    # a bounded search stops short of an end at which the maximum may lie
    q = min([low + 1e-13, q, high - 1e-13], key=loss)
    p = np.array([q + delta, q, 1 - 2 * q - delta])
    gradient = np.where(counts > 0, counts / p, 0.0)
    u = gradient[:2] - gradient[2]
    inverse = (np.diag(p[:2]) - np.outer(p[:2], p[:2])) / n
    return u @ inverse @ u


def interval(b, c, n):
    z2 = norm.ppf(0.975) ** 2
    centre = (c - b) / n
    f = lambda d: rao(d, b, c, n) - z2
    edge = 1 - 1e-9
    low = brentq(f, -edge, centre - 1e-9, xtol=1e-12) if f(-edge) > 0 else -1.0
    high = brentq(f, centre + 1e-9, edge, xtol=1e-12) if f(edge) > 0 else 1.0
    return low, high


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/stats"))
    out = parser.parse_args().out
    cases = []
    for b, c, n in [(0, 0, 40), (0, 1, 40), (1, 0, 40), (3, 1, 40), (12, 2, 50), (2, 12, 50), (30, 5, 100), (0, 20, 100), (7, 7, 200), (10, 0, 10)]:
        low, high = interval(b, c, n)
        cases.append({"b": b, "c": c, "n": n, "low": low, "high": high})
    text = json.dumps({"numpy": np.__version__, "scipy": scipy.__version__, "cases": cases}, indent=1)
    (out / "score_interval.json").write_text(text + "\n")


main()
