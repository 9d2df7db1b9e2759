"""Reference values for the statistics and rankings, by scikit-learn, SciPy and direct double sums in NumPy.

    python tools/stats/make_fixtures.py [--out test/fixtures/stats]

Needs numpy, scipy and scikit-learn (versions in the file). Writes reference.json; byte-identical when run again with the
same versions. Nothing here is fast: variances are computed from the m x n matrix of comparisons.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.stats import mstats, norm
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import calibration_curve
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LinearRegression
from sklearn.metrics import brier_score_loss, mean_squared_error, roc_auc_score

SEED = 20260
BOOTSTRAPS = 4000


def comparisons(scores, labels):
    """psi[i, j]: 1 when success i scores above failure j, 0.5 when equal."""
    up, down = scores[labels], scores[~labels]
    return (up[:, None] > down) + 0.5 * (up[:, None] == down)


def delong_covariance(columns, labels):
    """AUCs and their covariance matrix, DeLong et al. (1988), equations 4 to 6, by structural components."""
    psis = [comparisons(column, labels) for column in columns]
    v10 = np.stack([psi.mean(axis=1) for psi in psis])
    v01 = np.stack([psi.mean(axis=0) for psi in psis])
    covariance = np.cov(v10, ddof=1) / v10.shape[1] + np.cov(v01, ddof=1) / v01.shape[1]
    return [psi.mean() for psi in psis], np.atleast_2d(covariance)


def obuchowski_covariance(columns, labels, clusters):
    """The same for clustered items, Obuchowski (1997): a loop over clusters, covariance for every pair of columns."""
    names = sorted(set(clusters))
    m, n = labels.sum(), (~labels).sum()
    aucs, deviations = [], []
    for column in columns:
        psi = comparisons(column, labels)
        auc = psi.mean()
        v10, v01 = np.zeros(len(labels)), np.zeros(len(labels))
        v10[labels] = psi.mean(axis=1)
        v01[~labels] = psi.mean(axis=0)
        rows = []
        for name in names:
            own = np.array([c == name for c in clusters])
            x, y = own & labels, own & ~labels
            rows.append((v10[x].sum() - x.sum() * auc, v01[y].sum() - y.sum() * auc))
        aucs.append(auc)
        deviations.append(np.array(rows))
    with_up = len({c for c, label in zip(clusters, labels) if label})
    with_down = len({c for c, label in zip(clusters, labels) if not label})
    both = len(names)
    size = len(columns)
    covariance = np.zeros((size, size))
    for r in range(size):
        for s in range(size):
            (a10, a01), (b10, b01) = deviations[r].T, deviations[s].T
            s10 = with_up / ((with_up - 1) * m) * (a10 * b10).sum()
            s01 = with_down / ((with_down - 1) * n) * (a01 * b01).sum()
            s11 = both / (both - 1) * (a10 * b01).sum()
            s11_swapped = both / (both - 1) * (b10 * a01).sum()
            covariance[r, s] = s10 / m + s01 / n + (s11 + s11_swapped) / (m * n)
    return aucs, covariance


def cluster_bootstrap_sd(columns, labels, clusters, rng):
    """Standard deviations of the AUC of the first column, and of the difference, over resampled clusters."""
    names = sorted(set(clusters))
    members = [np.flatnonzero([c == name for c in clusters]) for name in names]
    values, differences = [], []
    for _ in range(BOOTSTRAPS):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(names), len(names))])
        if labels[rows].all() or not labels[rows].any():
            continue
        aucs = [roc_auc_score(labels[rows], column[rows]) for column in columns]
        values.append(aucs[0])
        differences.append(aucs[0] - aucs[1])
    return np.std(values), np.std(differences)


def auc_case(name, columns, rewards, clusters, rng, bootstrap=False):
    labels = rewards > 0.5
    aucs, delong = delong_covariance(columns, labels)
    _, obuchowski = obuchowski_covariance(columns, labels, clusters)
    contrast = np.array([1, -1])
    case = {
        "name": name,
        "a": columns[0].tolist(),
        "b": columns[1].tolist(),
        "rewards": rewards.tolist(),
        "clusters": list(clusters),
        "auc": [roc_auc_score(labels, column) for column in columns],
        "delong": {"variance": delong[0, 0], "differenceVariance": contrast @ delong @ contrast},
        "obuchowski": {"variance": obuchowski[0, 0], "differenceVariance": contrast @ obuchowski @ contrast},
    }
    assert np.allclose(case["auc"], aucs)
    if bootstrap:
        sd, difference_sd = cluster_bootstrap_sd(columns, labels, clusters, rng)
        case["bootstrap"] = {"sd": sd, "differenceSd": difference_sd}
    return case


def auc_cases(rng):
    labels = rng.random(40) < 0.4
    smooth = np.stack([labels * 0.8, labels * 0.3]) + rng.normal(0, 1, (2, 40)).round(3)
    yield auc_case("no ties", smooth, labels.astype(float), [f"p{i % 17}" for i in range(40)], rng)
    tied = np.floor(2 * smooth)
    yield auc_case("ties, fractional rewards", tied, np.where(labels, 0.75, 0.5), [f"p{i // 3}" for i in range(40)], rng)
    # 60 problems of 4 samples, the problem decides much of the score and of the reward
    difficulty = np.repeat(rng.normal(0, 1, 60), 4)
    rewards = (difficulty + rng.normal(0, 0.7, 240) > 0).astype(float)
    scores = np.stack([difficulty, 0.3 * difficulty]) + rng.normal(0, 1, (2, 240))
    yield auc_case("clusters", scores.round(3), rewards, [f"p{i // 4}" for i in range(240)], rng, bootstrap=True)


def published_case():
    """Hanley & McNeil (1982), table 1: ratings 1 to 5 of 109 CT images. Counts only; the test has the published results."""
    return {"normal": [33, 6, 6, 11, 2], "abnormal": [3, 2, 2, 11, 33]}


def calibration_case(rng):
    truth = rng.random(300)
    predicted = (truth**1.5).round(4)
    rewards = (rng.random(300) < truth).astype(float)
    observed, mean_predicted = calibration_curve(rewards, predicted, n_bins=10, strategy="uniform")
    counts = np.bincount(np.searchsorted(np.linspace(0, 1, 11)[1:-1], predicted), minlength=10)  # the bins of scikit-learn's curve
    fractional = rng.random(300).round(2)
    return {
        "predicted": predicted.tolist(),
        "rewards": rewards.tolist(),
        "fractional": fractional.tolist(),
        "brier": brier_score_loss(rewards, predicted),
        "brierFractional": mean_squared_error(fractional, predicted),
        "observed": observed.tolist(),
        "meanPredicted": mean_predicted.tolist(),
        "expectedError": float(counts[counts > 0] @ np.abs(observed - mean_predicted) / 300),
    }


def moments_case(rng):
    rows = (rng.normal(0, 1, (57, 4)) * [1, 0.01, 100, 3] + [0, 5, 0, 1000]).astype(np.float32)
    quantiles = [0, 0.025, 0.31, 0.5, 0.975, 1]
    return {
        "rows": rows.ravel().tolist(),
        "mean": rows.mean(axis=0, dtype=np.float64).tolist(),
        "std": rows.std(axis=0, dtype=np.float64).tolist(),
        "rms": np.sqrt((rows.astype(np.float64) ** 2).mean(axis=0)).tolist(),
        "maxAbs": np.abs(rows).max(axis=0).tolist(),
        "shares": quantiles,
        "quantiles": mstats.mquantiles(rows[:, 0].astype(np.float64), quantiles, alphap=1, betap=1).tolist(),
        "normal975": norm.ppf(0.975),
    }


class Linear(ClassifierMixin, BaseEstimator):
    """A least-squares fit that scikit-learn takes for a classifier with a decision function."""

    def fit(self, x, y):
        self.classes_ = np.array([0.0, 1.0])
        self.model_ = LinearRegression().fit(x, y)
        return self

    def decision_function(self, x):
        return self.model_.predict(x)


def ranking_case(rng):
    """Rows, univariate AUCs, and permutation importance by AUC with the predictions that it saw."""
    x = rng.normal(0, 1, (80, 6)).round(3)
    x[:, 3] = np.round(x[:, 3])
    rewards = (x @ [2, 0, -1, 0.5, 0, 0] + rng.normal(0, 1, 80) > 0).astype(float)
    model = Linear().fit(x, rewards)
    seen = []

    def scorer(estimator, rows, y):
        seen.append(estimator.decision_function(rows).round(6))
        return roc_auc_score(y, seen[-1])

    importance = permutation_importance(model, x, rewards, scoring=scorer, n_repeats=1, random_state=SEED)
    reference, *permuted = seen
    return {
        "rows": x.ravel().tolist(),
        "rewards": rewards.tolist(),
        "univariate": [roc_auc_score(rewards, column) for column in x.T],
        "reference": reference.tolist(),
        "permuted": np.stack(permuted).ravel().tolist(),
        "aucDrop": importance.importances_mean.tolist(),
        "brierRise": [mean_squared_error(rewards, p) - mean_squared_error(rewards, reference) for p in permuted],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/stats"))
    out = parser.parse_args().out
    rng = np.random.default_rng(SEED)
    fixture = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "scikit-learn": sklearn.__version__},
        "auc": list(auc_cases(rng)),
        "published": published_case(),
        "calibration": calibration_case(rng),
        "moments": moments_case(rng),
        "ranking": ranking_case(rng),
    }
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(fixture, separators=(",", ":"))
    (out / "reference.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
