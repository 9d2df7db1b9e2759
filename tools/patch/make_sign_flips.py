"""Reference p-values of the sign-flip tests in src/stats/signFlips.ts.

    python tools/patch/make_sign_flips.py > test/fixtures/patch/sign-flips.json

`single`: the exact one-sample sign-flip test of each column alone by SciPy's permutation_test (two-sided by |mean|).
`adjusted`: single-step max-T over the columns, all 2^n patterns by NumPy.
"""

import itertools
import json

import numpy as np
from scipy.stats import permutation_test


def main() -> None:
    """Print the fixture."""
    rng = np.random.default_rng(7)
    cases = []
    for items, shifts in ((9, (0.0, 0.6, 2.0)), (6, (0.0, 1.5)), (10, (0.0, 0.0, 0.3, 0.9))):
        values = np.round(rng.standard_normal((items, len(shifts))) + np.array(shifts), 3)
        single = [float(permutation_test((column,), lambda x, axis: np.abs(np.mean(x, axis=axis)), permutation_type="samples",
                                         n_resamples=np.inf, alternative="greater", vectorized=True).pvalue) for column in values.T]
        statistic = lambda x: np.abs(x.sum(axis=0)) / np.sqrt((x ** 2).sum(axis=0))
        largest = [statistic(values * np.array(signs)[:, None]).max() for signs in itertools.product((1, -1), repeat=items)]
        adjusted = [float(np.mean(np.array(largest) >= own - 1e-12)) for own in statistic(values)]
        cases.append({"values": values.tolist(), "single": single, "adjusted": adjusted})
    print(json.dumps(cases))


if __name__ == "__main__":
    main()
