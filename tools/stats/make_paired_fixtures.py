"""Reference values for paired comparisons, by SciPy and statsmodels.

    python tools/stats/make_paired_fixtures.py [--out test/fixtures/stats]

Needs numpy, scipy and statsmodels (versions in the file). Writes paired.json; byte-identical when run again with the same
versions. Power is summed over every outcome, boundaries are solved on SciPy's multivariate normal: slow (a minute) and
independent of the recursions under test.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import scipy
import statsmodels
from scipy.optimize import brentq
from scipy.stats import binom, binomtest, bootstrap, multivariate_normal, norm, permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

SEED = 20261


def mcnemar_cases():
    for b, c in [(0, 0), (1, 0), (5, 5), (3, 9), (40, 12), (0, 30), (120, 95), (900, 1100), (1, 400)]:
        p = mcnemar([[7, b], [c, 11]], exact=True).pvalue
        if b + c > 0:
            assert np.isclose(p, binomtest(b, b + c).pvalue)
        yield {"b": b, "c": c, "p": float(p)}


def change_case(name, base, arm, items, resamples=200_000):
    """Means by item, SciPy's percentile bootstrap at the level of Hesterberg's expanded percentiles."""
    names = list(dict.fromkeys(items))
    items = np.array(items)
    changes = np.array([arm[items == n].mean() - base[items == n].mean() for n in names])
    n = len(changes)
    tail = norm.cdf(-np.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
    result = bootstrap(
        (changes,), np.mean, n_resamples=resamples, batch=1000, confidence_level=1 - 2 * tail, method="percentile",
        rng=np.random.default_rng(SEED),
    )
    flips = permutation_test(
        (changes, np.zeros(n)), lambda x, y, axis: (x - y).mean(axis=axis), permutation_type="samples",
        n_resamples=resamples, batch=1000, rng=np.random.default_rng(SEED),
    )
    return {
        "name": name,
        "base": base.tolist(),
        "arm": arm.tolist(),
        "items": items.tolist(),
        "value": changes.mean(),
        "low": result.confidence_interval.low,
        "high": result.confidence_interval.high,
        "standardError": result.standard_error,
        "signFlipP": flips.pvalue,
        "n": n,
    }


def change_cases(rng):
    base = rng.random(12).round(2)
    yield change_case("few items, fractional", base, (base * rng.random(12)).round(2), [f"p{i}" for i in range(12)])
    base = (rng.random(100) < 0.7).astype(float)
    arm = np.where(rng.random(100) < 0.25, rng.random(100) < 0.3, base).astype(float)
    yield change_case("right or wrong", base, arm, list(range(100)))
    # 40 problems of 4 samples and 10 of one; the problem decides most
    items = [i // 4 for i in range(160)] + list(range(40, 50))
    skill = rng.beta(0.6, 0.6, 50)[items]
    base = (rng.random(170) < skill).astype(float)
    arm = (rng.random(170) < 0.6 * skill).astype(float)
    order = rng.permutation(170)
    yield change_case("clusters", base[order], arm[order], [f"q{items[i]}" for i in order])


def exact_power(n, effect, discordance, alpha):
    """Every (m, k): chance of m discordant items, k of them up, times whether binomtest rejects."""
    up = (1 + effect / discordance) / 2
    total = 0.0
    for m in range(n + 1):
        ks = np.arange(m + 1)
        p = np.array([binomtest(k, m).pvalue if m else 1.0 for k in ks])
        total += binom.pmf(m, n, discordance) * binom.pmf(ks[p <= alpha], m, up).sum()
    return float(total)


def power_cases():
    for n, effect, discordance, alpha in [
        (5, 0.5, 0.5, 0.05), (30, 0.2, 0.3, 0.05), (100, 0.1, 0.2, 0.05), (100, -0.1, 0.2, 0.05), (100, 0.1, 0.1, 0.05),
        (60, 0.0, 0.4, 0.05), (150, 0.15, 0.3, 0.05 / 60),
    ]:
        power = exact_power(n, effect, discordance, alpha)
        yield {"n": n, "effect": effect, "discordance": discordance, "alpha": alpha, "power": power}


def connor(effect, discordance, alpha, power):
    """Connor (1987), two-sided: number of pairs by the normal approximation."""
    za, zb = norm.ppf(1 - alpha / 2), norm.ppf(power)
    return float((za * np.sqrt(discordance) + zb * np.sqrt(discordance - effect**2)) ** 2 / effect**2)


def connor_cases():
    for effect, discordance, alpha, power in [(0.1, 0.2, 0.05, 0.8), (0.05, 0.15, 0.05, 0.9), (0.2, 0.3, 0.001, 0.8)]:
        plan = {"effect": effect, "discordance": discordance, "alpha": alpha, "power": power}
        yield {**plan, "items": connor(effect, discordance, alpha, power)}


def holm_cases(rng):
    for p in [[0.01, 0.04, 0.03, 0.005], [0.2], [0.02, 0.02, 0.02], rng.beta(0.4, 3, 40).round(5).tolist(), [0, 1, 0.5]]:
        yield {"p": p, "adjusted": multipletests(p, method="holm")[1].tolist()}


def rank_case(rng, direction):
    """permutation_test with the draws as its null distribution: SciPy's own (1 + b)/(1 + N) and its tie rule."""
    draws = rng.normal(0, 1, 99).round(1).tolist()
    observed = -0.9 if direction == "less" else 0.9
    feed = iter(draws)
    first = [True]

    def statistic(*_):
        if first[0]:
            first[0] = False
            return observed
        return next(feed)

    result = permutation_test(
        (np.arange(30), np.arange(30)), statistic, n_resamples=99, vectorized=False, alternative=direction,
        rng=np.random.default_rng(0),
    )
    assert sorted(result.null_distribution) == sorted(draws)
    z = (observed - np.mean(draws)) / np.std(draws, ddof=1)
    return {"direction": direction, "observed": observed, "draws": draws, "p": float(result.pvalue), "z": float(z)}


def boundaries(looks, alpha):
    """z of each look by root finding on the probability of the rectangle, spending 2(1 - Phi(z_{alpha/4}/sqrt t)) a side."""
    shares = np.array(looks) / looks[-1]
    found = []
    for k, share in enumerate(shares):
        spent = 4 * norm.sf(norm.isf(alpha / 4) / np.sqrt(share))
        root = np.sqrt(shares[: k + 1])
        correlation = np.minimum.outer(root, root) / np.maximum.outer(root, root)

        def excess(z):
            upper = np.array([*found, z])
            normal = multivariate_normal(np.zeros(k + 1), correlation, allow_singular=True, seed=SEED)
            normal.maxpts, normal.abseps, normal.releps = 2_000_000, 1e-9, 1e-9
            return 1 - normal.cdf(upper, lower_limit=-upper) - spent

        found.append(norm.isf(spent / 2) if k == 0 else brentq(excess, 0.5, 8, xtol=1e-6))
    return [float(z) for z in found]


def sequential_cases():
    for looks, alpha in [([100], 0.05), ([50, 100], 0.05), ([20, 40, 60, 80, 100], 0.05), ([30, 45, 120], 0.01)]:
        yield {"looks": looks, "alpha": alpha, "z": boundaries(looks, alpha)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("test/fixtures/stats"))
    out = parser.parse_args().out
    rng = np.random.default_rng(SEED)
    fixture = {
        "versions": {"numpy": np.__version__, "scipy": scipy.__version__, "statsmodels": statsmodels.__version__},
        "mcnemar": list(mcnemar_cases()),
        "change": list(change_cases(rng)),
        "power": list(power_cases()),
        "connor": list(connor_cases()),
        "holm": list(holm_cases(rng)),
        "rank": [rank_case(rng, direction) for direction in ("less", "greater")],
        "sequential": list(sequential_cases()),
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "paired.json").write_text(json.dumps(fixture, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
