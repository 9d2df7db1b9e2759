"""Reference values for correlations, by SciPy.

    python tools/stats/make_correlation_fixtures.py [--out test/fixtures/stats]

Needs numpy and scipy (versions in the file). Writes correlation.json; byte-identical when run again with the same versions. Intervals
are SciPy's percentile bootstrap; for clusters the statistic unrolls the clusters that were drawn.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
from scipy.stats import bootstrap, pearsonr, rankdata, spearmanr

SEED = 20262


def round_list(values):
    return [float(f"{v:.6g}") for v in values]


def case(name, x, y, clusters=None, interval=True):
    x, y = np.array(round_list(x)), np.array(round_list(y))
    result = {
        "name": name,
        "x": x.tolist(),
        "y": y.tolist(),
        "ranksOfX": rankdata(x).tolist(),
        "pearson": float(pearsonr(x, y).statistic),
        "spearman": float(spearmanr(x, y).statistic),
    }
    if clusters is not None:
        result["clusters"] = [int(c) for c in clusters]
    if interval:
        ids = np.arange(len(x)) if clusters is None else np.asarray(clusters)
        groups = [np.flatnonzero(ids == c) for c in np.unique(ids)]

        def interval_of(statistic):
            def of(drawn):
                at = np.concatenate([groups[int(c)] for c in drawn])
                return statistic(x[at], y[at]).statistic

            found = bootstrap((np.arange(len(groups)),), of, vectorized=False, n_resamples=20_000, method="percentile", rng=np.random.default_rng(SEED))
            return [float(found.confidence_interval.low), float(found.confidence_interval.high)]

        result["pearsonInterval"] = interval_of(pearsonr)
        result["spearmanInterval"] = interval_of(spearmanr)
    return result


def cases(rng):
    x = rng.normal(size=60)
    yield case("linear with noise", x, 0.5 * x + rng.normal(size=60))
    x = rng.normal(size=40)
    yield case("monotone, far from linear", x, np.exp(3 * x))
    yield case("ties", rng.integers(0, 4, 80), rng.integers(0, 3, 80))
    effect = rng.normal(size=15)
    ids = np.repeat(np.arange(15), 4)
    yield case("clusters that move together", effect[ids] + 0.2 * rng.normal(size=60), effect[ids] + 0.5 * rng.normal(size=60), ids)
    yield case("large offset", 1e6 + rng.normal(size=30), rng.normal(size=30), interval=False)
    yield case("three values", [1, 2, 3], [3, 1, 2], interval=False)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default="test/fixtures/stats")
    path = Path(parser.parse_args().out) / "correlation.json"
    data = {"made": {"numpy": np.__version__, "scipy": scipy.__version__}, "cases": list(cases(np.random.default_rng(SEED)))}
    path.write_text(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main()
