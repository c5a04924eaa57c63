"""Statistics against closed forms, other implementations, and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from rltransfer import stats

RNG_SEEDS = range(5)


def enumerated_p(arm, baseline):
    """The two-sided permutation p-value by going through every split, written from its definition."""
    pooled = [*arm, *baseline]
    observed = np.mean(arm) - np.mean(baseline)
    differences = []
    for chosen in itertools.combinations(range(len(pooled)), len(arm)):
        inside = [pooled[i] for i in chosen]
        outside = [pooled[i] for i in range(len(pooled)) if i not in chosen]
        differences.append(np.mean(inside) - np.mean(outside))
    above = np.mean(np.array(differences) >= observed - 1e-12)
    below = np.mean(np.array(differences) <= observed + 1e-12)
    return min(1.0, 2 * min(above, below))


@pytest.mark.parametrize("seed", RNG_SEEDS)
@pytest.mark.parametrize("runs", [(3, 3), (3, 5), (5, 4), (2, 6)])
def test_the_permutation_test_equals_enumeration(seed, runs):
    rng = np.random.default_rng(seed)
    arm, baseline = rng.normal(size=runs[0]).round(1), rng.normal(0.8, 2, size=runs[1]).round(1)
    assert stats.permutation_p(arm, baseline, seed=0) == pytest.approx(enumerated_p(arm, baseline))


def test_monte_carlo_agrees_with_the_exact_test(monkeypatch):
    rng = np.random.default_rng(0)
    arm, baseline = rng.normal(size=8), rng.normal(1, 1, size=8)
    exact = stats.permutation_p(arm, baseline, seed=0)
    monkeypatch.setattr(stats, "EXACT_SPLITS", 10)
    monkeypatch.setattr(stats, "MONTE_CARLO_SPLITS", 9_999)
    sampled = stats.permutation_p(arm, baseline, seed=0)
    assert sampled != exact
    assert sampled == pytest.approx(exact, abs=5 * math.sqrt(exact / 9_999))
    assert sampled == stats.permutation_p(arm, baseline, seed=0)
    assert sampled != stats.permutation_p(arm, baseline, seed=1)


@pytest.mark.parametrize("seed", RNG_SEEDS)
def test_the_interval_of_a_difference_is_welchs(seed):
    rng = np.random.default_rng(seed)
    arm, baseline = rng.normal(size=5), rng.normal(1, 4, size=9)
    estimate = stats.mean_difference(arm, baseline)
    welch = scipy.stats.ttest_ind(arm, baseline, equal_var=False).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((welch.low, welch.high))


def test_the_interval_of_a_difference_by_hand():
    # Variances 4 and 1, so the standard error is sqrt(4/3 + 1/3) and Welch-Satterthwaite gives 50/17 degrees.
    estimate = stats.mean_difference([0.0, 2.0, 4.0], [0.0, 1.0, 2.0])
    margin = scipy.stats.t.ppf(0.975, 50 / 17) * math.sqrt(5 / 3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1 - margin, 1 + margin))


@pytest.mark.parametrize("runs", range(1, 14))
def test_iqm_equals_the_trimmed_mean(runs):
    values = np.random.default_rng(runs).normal(size=(runs, 4))
    assert stats.iqm(values, axis=0) == pytest.approx(scipy.stats.trim_mean(values, 0.25, axis=0))


def test_holm_equals_a_table_by_hand():
    # Sorted: 0.005 0.01 0.02 0.03 0.9, times 5 4 3 2 1: 0.025 0.04 0.06 0.06 0.9 (each at least the one before).
    assert stats.holm([0.01, 0.9, 0.03, 0.005, 0.02]) == pytest.approx((0.04, 0.9, 0.06, 0.025, 0.06))


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_welch_covers_the_difference_of_means(runs):
    rng = np.random.default_rng(runs)
    studies = 1_500
    hits = 0
    for _ in range(studies):
        estimate = stats.mean_difference(rng.normal(1, 3, runs), rng.normal(0, 1, runs))
        hits += estimate.low <= 1 <= estimate.high
    assert 0.93 < hits / studies < 0.985


def test_the_probability_of_improvement_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    arm, baseline = rng.normal(size=6).round(1), rng.normal(0.5, 1, size=7).round(1)
    expected = scipy.stats.mannwhitneyu(arm, baseline).statistic / (6 * 7)
    assert stats.probability_of_improvement(arm, baseline, seed=0).value == pytest.approx(expected)


def test_the_share_of_the_gain_is_covered_by_its_interval():
    rng = np.random.default_rng(1)
    hits = 0
    studies = 150
    for _ in range(studies):
        arm, control, zero = (rng.normal(level, 1, 10) for level in (10, 5, 0))
        share = stats.share_of_gain(arm, control, zero, seed=0)
        hits += share.low <= 0.5 <= share.high
    assert hits / studies > 0.86
