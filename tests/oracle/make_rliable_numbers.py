"""Makes ``rliable_numbers.json``: scores, and what rliable says of them. Not run by the tests.

rliable is archived and does not import beside pandas 3, so it is no dependency:

    python -m venv somewhere && somewhere/bin/pip install "rliable==1.2.0" "pandas<3"
    somewhere/bin/python tests/oracle/make_rliable_numbers.py
"""

import json
from pathlib import Path

import numpy as np

# Where it is not installed the tests, which look for examples in every file, can read this one all the same.
try:
    from rliable import library, metrics
except ModuleNotFoundError:
    library = metrics = None

RESAMPLES = 50_000
TAUS = [-0.2, 0.0, 0.3, 0.5, 0.7, 1.0, 1.4]


def draws() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns arm and baseline of each case, runs x tasks."""
    rng = np.random.default_rng(2021)
    few = rng.normal([0.2, 0.6, 0.9], 0.3, size=(5, 3)), rng.normal(0.5, 0.3, size=(5, 3))
    many = rng.normal([0.1, 0.4, 0.8, 1.1], 0.2, size=(20, 4)), rng.normal(0.6, 0.4, size=(20, 4))
    first = rng.exponential(0.6, size=(10, 1)), rng.exponential(0.4, size=(8, 1))
    ties = rng.integers(0, 4, size=(10, 2)) / 4, rng.integers(0, 4, size=(10, 2)) / 4
    bimodal = rng.normal(0.1, 0.1, size=(10, 2)) + (rng.random((10, 2)) < 0.4), rng.normal(0.3, 0.1, size=(7, 2))
    return {"few runs": few, "many runs": many, "one task": first, "ties": ties, "bimodal": bimodal}


def aggregates(scores: np.ndarray) -> np.ndarray:
    return np.array(
        [
            metrics.aggregate_mean(scores),
            metrics.aggregate_median(scores),
            metrics.aggregate_iqm(scores),
            metrics.aggregate_optimality_gap(scores),
        ]
    )


def numbers(arm: np.ndarray, baseline: np.ndarray) -> dict[str, object]:
    points, ends = library.get_interval_estimates({"arm": arm}, aggregates, reps=RESAMPLES)
    profile, _ = library.create_performance_profile({"arm": arm}, np.array(TAUS), reps=10)
    names = ("mean", "median", "iqm", "optimality_gap")
    return {
        "arm": arm.tolist(),
        "baseline": baseline.tolist(),
        "points": dict(zip(names, points["arm"].tolist(), strict=True)),
        "percentile_intervals": {name: ends["arm"][:, i].tolist() for i, name in enumerate(names)},
        "probability_of_improvement": float(metrics.probability_of_improvement(arm, baseline)),
        "profile": profile["arm"].tolist(),
    }


if __name__ == "__main__":
    np.random.seed(0)
    cases = {name: numbers(*both) for name, both in draws().items()}
    content = {"rliable": "1.2.0", "resamples": RESAMPLES, "taus": TAUS, "cases": cases}
    Path(__file__).with_name("rliable_numbers.json").write_text(json.dumps(content, indent=1) + "\n")
