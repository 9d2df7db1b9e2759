"""Reference values for overlaps, risk-coverage curves and Platt scaling, by SciPy, NumPy and scikit-learn.

    python tools/stats/make_apply_fixtures.py [--out test/fixtures/stats]

Needs numpy, scipy and scikit-learn (versions in the file). Writes apply.json; byte-identical when run again with the same versions.
"""

import argparse
import json
from itertools import permutations
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.stats import bootstrap, hypergeom
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

SEED = 20265


def hypergeometric_cases():
    for population, marked, drawn, overlap in [
        (64, 4, 4, 1), (192, 10, 10, 3), (896, 45, 45, 12), (3584, 36, 36, 0), (3584, 36, 36, 1), (3584, 179, 179, 30), (3584, 179, 179, 170),
        (5120, 512, 51, 40), (100, 60, 70, 31), (100, 60, 70, 45), (10, 10, 4, 4), (8192, 82, 82, 82), (7, 3, 2, 3),
    ]:
        yield {"population": population, "marked": marked, "drawn": drawn, "overlap": overlap, "p": float(hypergeom.sf(overlap - 1, population, marked, drawn))}


def stratified_cases():
    for overlap, strata in [
        (3, [(16, 4, 2), (16, 0, 3), (16, 5, 5), (16, 1, 0)]),
        (0, [(5, 2, 2)]),
        (9, [(16, 16, 4), (20, 3, 6), (16, 8, 9)]),
        (30, [(40, 20, 15), (40, 18, 22), (40, 2, 1)]),
        (12, [(16, 3, 3)] * 4),
    ]:
        pmf = np.ones(1)
        for population, marked, drawn in strata:
            pmf = np.convolve(pmf, hypergeom.pmf(np.arange(drawn + 1), population, marked, drawn))
        yield {"overlap": overlap, "strata": [dict(zip(("population", "marked", "drawn"), s)) for s in strata], "p": float(pmf[overlap:].sum())}


def risk_case(name, confidence, rewards):
    """Risk after each item in order of confidence; with ties the mean over all orders, by brute force over permutations of the tied items."""
    confidence, rewards = np.asarray(confidence, float), np.asarray(rewards, float)
    n = len(rewards)
    curve = np.zeros(n)
    orders = [[]]
    for value in sorted(set(confidence), reverse=True):
        members = np.flatnonzero(confidence == value).tolist()
        orders = [order + list(more) for order in orders for more in permutations(members)]
    for order in orders:
        curve += np.cumsum(1 - rewards[order]) / np.arange(1, n + 1) / len(orders)
    case = {"name": name, "confidence": confidence.tolist(), "rewards": rewards.tolist(), "risk": curve.tolist(), "aurc": float(curve.mean())}
    if set(rewards) == {0.0, 1.0}:
        # precision at every threshold is 1 - risk at the coverage where a group of ties ends
        precision, _, thresholds = precision_recall_curve(rewards, confidence)
        case["precision"] = [[int((confidence >= t).sum()), float(p)] for p, t in zip(precision, thresholds)]
    return case


def aurc_of(confidence, rewards):
    """Mean over coverages of the error of the most confident items; no two equally confident."""
    return float((np.cumsum(1 - rewards[np.argsort(-confidence)]) / np.arange(1, len(rewards) + 1)).mean())


def aurc_interval_case(name, rng, samples):
    """SciPy's percentile bootstrap over 40 problems. Copies of an item are equally confident, but have one reward, so their order does not matter."""
    problems = np.repeat(np.arange(40), samples)
    skill = rng.normal(size=40)[problems]
    confidence = (skill + 0.5 * rng.normal(size=len(problems))).round(6)
    rewards = (skill + rng.normal(size=len(problems)) > 0).astype(float)

    def of(drawn):
        at = np.concatenate([np.flatnonzero(problems == p) for p in drawn])
        return aurc_of(confidence[at], rewards[at])

    found = bootstrap((np.arange(40),), of, vectorized=False, n_resamples=9_999, method="percentile", rng=np.random.default_rng(SEED)).confidence_interval
    return {"name": name, "confidence": confidence.tolist(), "rewards": rewards.tolist(), "clusters": problems.tolist(), "value": aurc_of(confidence, rewards), "low": float(found.low), "high": float(found.high)}


def logistic_case(name, scores, rewards):
    scores = np.asarray(scores, float)
    mean, std = scores.mean(), scores.std()
    model = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000, solver="newton-cholesky").fit(((scores - mean) / std)[:, None], rewards)
    b, a = model.coef_[0, 0], model.intercept_[0]
    return {"name": name, "scores": scores.tolist(), "rewards": np.asarray(rewards, float).tolist(), "slope": b / std, "intercept": a - b * mean / std}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="test/fixtures/stats")
    rng = np.random.default_rng(SEED)
    long = rng.random(60).round(6)
    signal = rng.normal(size=80).round(6)
    fixture = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "sklearn": sklearn.__version__},
        "hypergeometric": list(hypergeometric_cases()),
        "stratified": list(stratified_cases()),
        "risk": [
            risk_case("no ties", long, (rng.random(60) < long).astype(float)),
            risk_case("ties", [0.9, 0.9, 0.9, 0.5, 0.5, 0.1, 0.1, 0.1], [1, 0, 1, 1, 0, 0, 0, 1]),
            risk_case("partial rewards", [3, 2, 1, 0], [0.75, 1, 0.25, 0]),
            risk_case("all equal", [2, 2, 2, 2, 2], [1, 0, 0, 1, 1]),
        ],
        "logistic": [
            logistic_case("signal", signal, (signal + rng.normal(size=80) > 0).astype(int)),
            logistic_case("against, large units", 1000 * signal + 5e4, (signal + rng.normal(size=80) < 0.5).astype(int)),
            logistic_case("separable", [1, 2, 3, 4, 5, 6], [0, 0, 0, 1, 1, 1]),
        ],
        "aurcInterval": [aurc_interval_case("one answer a problem", rng, 1), aurc_interval_case("three answers a problem", rng, 3)],
    }
    path = Path(parser.parse_args().out) / "apply.json"
    path.write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
