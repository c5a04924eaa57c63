"""Aggregates against the numbers of rliable, which ``make_rliable_numbers.py`` wrote down with their scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from rltransfer import stats
from rltransfer.stats.bootstrap import counts_of, iqm_replicates, median_replicates

NUMBERS = json.loads(Path(__file__).with_name("rliable_numbers.json").read_text())
CASES = NUMBERS["cases"]
# Resampled ties lie on a lattice, where an end jumps by a whole step at any difference.
SMOOTH = {name: case for name, case in CASES.items() if name != "ties"}
# Two bootstraps of 50,000 resamples: their ends differ by about 0.01 of the interval.
MONTE_CARLO = 0.03


def tasks_of(scores):
    return list(np.array(scores).T)


def replicated_mean(scores):
    return np.mean(
        [counts_of(len(task), 50_000, 1, i) @ np.sort(task) / len(task) for i, task in enumerate(scores)], axis=0
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_point_estimates_are_those_of_rliable(case):
    arm, baseline = tasks_of(case["arm"]), tasks_of(case["baseline"])
    better = stats.improvement_over_tasks(arm, baseline, [None] * len(arm), [None] * len(arm))
    profile = stats.profile(arm, np.array(NUMBERS["taus"]))
    results = {
        "mean": stats.mean_over_tasks(arm).value,
        "median": stats.median_over_tasks(arm, seed=0).value,
        "iqm": stats.iqm_estimate(arm, seed=0).value,
        "optimality_gap": stats.mean_over_tasks([stats.shortfall(task) for task in arm]).value,
    }
    for name, value in case["points"].items():
        assert results[name] == pytest.approx(value, abs=1e-12)
    assert better.value == pytest.approx(case["probability_of_improvement"], abs=1e-12)
    assert profile.share == pytest.approx(case["profile"], abs=1e-12)


@pytest.mark.parametrize("case", SMOOTH.values(), ids=SMOOTH)
def test_resamples_are_spread_as_those_of_rliable(case):
    """Its intervals are plain percentiles: the same ends must come out of our resamples before we widen them."""
    arm = tasks_of(case["arm"])
    gaps = [stats.shortfall(task) for task in arm]
    drawn = {
        "iqm": iqm_replicates(arm, seed=1),
        "median": median_replicates(arm, seed=1),
        "mean": replicated_mean(arm),
        "optimality_gap": replicated_mean(gaps),
    }
    for name, (low, high) in case["percentile_intervals"].items():
        assert np.quantile(drawn[name], [0.025, 0.975]) == pytest.approx([low, high], abs=MONTE_CARLO * (high - low))


@pytest.mark.parametrize("case", SMOOTH.values(), ids=SMOOTH)
def test_our_interval_of_the_interquartile_mean_is_wider_by_what_few_runs_hide(case):
    arm = tasks_of(case["arm"])
    estimate = stats.iqm_estimate(arm, seed=1)
    low, high = case["percentile_intervals"]["iqm"]
    assert 1.0 < (estimate.high - estimate.low) / (high - low) < 1.35
