"""Reference values for step features, surprise contrasts and traces, by NumPy and SciPy.

    python tools/rpe/make_fixtures.py [--out test/fixtures/rpe]

Needs numpy and scipy (versions in the file). Writes features.json, contrast.json and traces.json; byte-identical when run again with the same versions.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import bootstrap, pearsonr, permutation_test, zscore

SEED = 20263
MADE = {"numpy": np.__version__, "scipy": scipy.__version__}


def features(rng):
    rows = (rng.normal(size=(14, 5)) * [0.01, 1, 100, 1, 0] + [0, 5, -300, 0, 2]).astype(np.float32)
    steps = [[0, 4], [4, 9], [9, 13], [13, 14]]
    running = np.zeros(rows.shape)
    for t in range(len(rows)):
        so_far = rows[: t + 1].astype(np.float64)
        std = so_far.std(axis=0)
        running[t] = np.where(std > 0, (rows[t] - so_far.mean(axis=0)) / np.where(std > 0, std, 1), 0)
    response = np.nan_to_num(zscore(rows.astype(np.float64), axis=0))

    def pooled(scores):
        out = []
        for begin, end in steps:
            last = min(end, len(rows) - 1)
            out.append(scores[min(begin + 1, last) : last + 1].mean(axis=0).tolist())
        return out

    return {
        "made": MADE,
        "rows": rows.tolist(),
        "steps": steps,
        "running": running.tolist(),
        "response": response.tolist(),
        "pooled": {"running": pooled(running), "response": pooled(response), "none": pooled(rows.astype(np.float64))},
    }


def contrast(rng):
    """Two groups of 6 and 7 rows, 4 columns: differences, and p-values of the maximum over columns by SciPy's permutation test."""
    a = rng.normal(size=(6, 4)) + [1.5, 0, 0, -0.4]
    b = rng.normal(size=(7, 4))

    def statistic(x, y):
        pooled = np.sqrt((((x - x.mean(0)) ** 2).sum(0) + ((y - y.mean(0)) ** 2).sum(0)) / (len(x) + len(y) - 2))
        return (x.mean(0) - y.mean(0)) / pooled

    rows = np.concatenate([a, b])
    difference = statistic(a, b)

    def largest(x, y):
        x, y = np.asarray(x, int), np.asarray(y, int)
        return np.abs(statistic(rows[x], rows[y])).max()

    result = permutation_test((np.arange(6), np.arange(6, 13)), largest, permutation_type="independent", n_resamples=np.inf, vectorized=False)
    p = [float((result.null_distribution >= abs(d) - 1e-12).mean()) for d in difference]
    return {"made": MADE, "rows": rows.tolist(), "a": list(range(6)), "b": list(range(6, 13)), "difference": difference.tolist(), "p": p}


def traces(rng):
    """Averages around events with SciPy's percentile bootstrap over clusters, and correlations of traces with those of a base arm."""
    lengths = rng.integers(7, 12, 14)
    own = [(rng.normal() + np.cumsum(rng.normal(size=n))).astype(np.float32).round(3) for n in lengths]
    clusters = [i // 2 for i in range(14)]
    at = [int(n // 2 if i % 2 else rng.integers(0, n)) for i, n in enumerate(lengths)]  # one event of every cluster has all offsets
    radius = 3
    aligned = np.full((len(own), 2 * radius + 1), np.nan)
    for row, (trace, centre) in enumerate(zip(own, at)):
        for offset in range(-radius, radius + 1):
            if 0 <= centre + offset < len(trace):
                aligned[row, offset + radius] = trace[centre + offset]
    members = [np.flatnonzero(np.array(clusters) == c) for c in range(7)]
    found = [bootstrap((np.arange(7),), lambda drawn: np.nanmean(aligned[np.concatenate([members[int(c)] for c in drawn]), o]), vectorized=False,
                       n_resamples=9_999, method="percentile", rng=np.random.default_rng(SEED)).confidence_interval for o in range(2 * radius + 1)]
    events = {"traces": [t.tolist() for t in own], "at": at, "clusters": clusters, "radius": radius, "mean": np.nanmean(aligned, axis=0).tolist(),
              "n": (~np.isnan(aligned)).sum(axis=0).tolist(), "low": [float(i.low) for i in found], "high": [float(i.high) for i in found]}
    base = [rng.normal(5, 1, size=(2, n)).round(3) for n in (4, 7, 9)]
    arm = [(b + rng.normal(0, 1, b.shape) * [[0.3], [2]]).round(3) for b in base]
    both = [pearsonr(np.concatenate([a[k] for a in arm]), np.concatenate([b[k] for b in base])).statistic for k in range(2)]
    agreement = {"base": [b.tolist() for b in base], "arm": [a.tolist() for a in arm], "correlation": float(np.mean(both))}
    return {"made": MADE, "events": events, "agreement": agreement}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="test/fixtures/rpe")
    out = Path(parser.parse_args().out)
    rng = np.random.default_rng(SEED)
    for name, data in (("features", features(rng)), ("contrast", contrast(rng)), ("traces", traces(rng))):
        (out / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
