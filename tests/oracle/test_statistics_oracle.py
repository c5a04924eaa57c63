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
    expected = enumerated_p(arm, baseline)
    if runs[0] != runs[1]:
        expected = max(expected, scipy.stats.ttest_ind(arm, baseline, equal_var=False).pvalue)
    assert stats.permutation_p(arm, baseline, seed=0) == pytest.approx(expected)


def test_monte_carlo_agrees_with_the_exact_test(monkeypatch):
    rng = np.random.default_rng(0)
    arm, baseline = rng.normal(size=8), rng.normal(1, 1, size=8)
    exact = stats.permutation_p(arm, baseline, seed=0)
    monkeypatch.setattr(stats.tests, "EXACT_SPLITS", 10)
    monkeypatch.setattr(stats.tests, "MONTE_CARLO_SPLITS", 9_999)
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


def test_the_probability_of_improvement_is_the_mann_whitney_statistic():
    rng = np.random.default_rng(0)
    arm, baseline = rng.normal(size=6).round(1), rng.normal(0.5, 1, size=7).round(1)
    expected = scipy.stats.mannwhitneyu(arm, baseline).statistic / (6 * 7)
    assert stats.probability_of_improvement(arm, baseline).value == pytest.approx(expected)


@pytest.mark.parametrize("shift", [-0.5, 0.0, 1.0, 9.0])
def test_the_ends_of_the_probability_of_improvement_solve_newcombes_equation(shift):
    rng = np.random.default_rng(2)
    estimate = stats.probability_of_improvement(rng.normal(shift, 1, size=6), rng.normal(size=8))
    ends = [end for end in (estimate.low, estimate.high) if 0 < end < 1]
    assert ends
    for end in ends:
        variance = end * (1 - end) * (1 + 6 * ((1 - end) / (2 - end) + end / (1 + end))) / 48
        assert abs(estimate.value - end) == pytest.approx(scipy.stats.norm.ppf(0.975) * math.sqrt(variance))


@pytest.mark.parametrize("runs", range(6, 16))
def test_the_interval_of_the_median_lies_between_the_order_statistics_around_95_percent(runs):
    estimate = stats.median(np.arange(runs, dtype=float))
    outer = next(depth for depth in range(runs, 0, -1) if 1 - 2 * scipy.stats.binom.cdf(depth - 1, runs, 0.5) >= 0.95)
    assert outer - 1 <= estimate.low <= outer
    assert estimate.high == pytest.approx(runs - 1 - estimate.low)


def test_the_interval_of_the_median_is_that_of_hettmansperger_and_sheather():
    # 10 runs: the second order statistics cover 1 - 2 * 11/1024, the third 1 - 2 * 56/1024. By hand:
    outer, inner = 1 - 22 / 1024, 1 - 112 / 1024
    way = (outer - 0.95) / (outer - inner)
    weight = 8 * way / (2 + 6 * way)
    assert stats.median(np.arange(1.0, 11.0)).low == pytest.approx(2 + weight)


@pytest.mark.parametrize("hits", range(6))
def test_the_band_of_a_profile_is_wilsons(hits):
    estimate = stats.profile([[1.0] * hits + [0.0] * (5 - hits)], np.array([0.5]))
    expected = scipy.stats.binomtest(hits, 5).proportion_ci(method="wilson")
    assert (estimate.low[0], estimate.high[0]) == pytest.approx((expected.low, expected.high))


def test_a_share_far_from_a_vanishing_gain_is_fiellers():
    # With a denominator that is known, Fieller's interval is the t interval of the numerator, divided by it.
    control, zero = [4.0, 5.0, 6.0, 5.5], [0.0, 0.5, -0.5, 0.2]
    exact = stats.MeanFacts(10.0, 0.0, math.inf)
    estimate = stats.ratio(
        [(1.0, 0.0, stats.mean_facts(control)), (-1.0, 0.0, stats.mean_facts(zero)), (0.0, 1.0, exact)]
    )
    difference = stats.mean_difference(control, zero)
    assert [10 * value for value in (estimate.value, estimate.low, estimate.high)] == pytest.approx(
        [difference.value, difference.low, difference.high]
    )


@pytest.mark.parametrize("seed", RNG_SEEDS)
def test_at_the_ends_of_a_share_the_contrast_is_as_far_from_0_as_its_t_interval(seed):
    rng = np.random.default_rng(seed)
    arm, control, zero = (rng.normal(level, 1, 6) for level in (10, 5, 0))
    estimate = stats.share_of_gain(arm, control, zero, paired=False)
    squares = [x.var(ddof=1) / 6 for x in (control, arm, zero)]

    def contrast(r):
        return control.mean() - r * arm.mean() - (1 - r) * zero.mean()

    def weights(r):
        return [squares[0], r**2 * squares[1], (1 - r) ** 2 * squares[2]]

    freedom = sum(weights(estimate.value)) ** 2 / sum(square**2 / 5 for square in weights(estimate.value))
    for end in (estimate.low, estimate.high):
        assert contrast(end) ** 2 / sum(weights(end)) == pytest.approx(scipy.stats.t.ppf(0.975, freedom) ** 2)


def test_one_source_per_run_and_balanced_sources_by_hand():
    # Three sources with means 2, 5, 8: their variance is 9, that of their mean 3, with 2 degrees of freedom.
    estimate = stats.mean([1.0, 3.0, 4.0, 6.0, 7.0, 9.0], ["a", "a", "b", "b", "c", "c"])
    margin = scipy.stats.t.ppf(0.975, 2) * math.sqrt(3)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((5, 5 - margin, 5 + margin))


def test_means_over_tasks_add_their_variances():
    tasks = [[1.0, 2.0, 3.0], [10.0, 14.0]]
    squares = [1 / 3 / 4, 8 / 2 / 4]
    freedom = sum(squares) ** 2 / (squares[0] ** 2 / 2 + squares[1] ** 2)
    margin = scipy.stats.t.ppf(0.975, freedom) * math.sqrt(sum(squares))
    estimate = stats.mean_over_tasks(tasks)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((7, 7 - margin, 7 + margin))
    assert stats.difference_over_tasks(tasks, [[0.0, 0.0], [1.0, 1.0]]).value == pytest.approx(6.5)


@pytest.mark.parametrize("effect", [0.8, 1.5])
@pytest.mark.parametrize("runs", [10, 25])
def test_the_power_of_many_runs_is_that_of_the_t_test(runs, effect):
    rng = np.random.default_rng(runs)
    draws = rng.normal(size=(20_000, 2, runs))
    draws[:, 0] += effect
    p_values = scipy.stats.ttest_ind(draws[:, 0], draws[:, 1], axis=1).pvalue
    assert stats.power_at(effect, 1.0, runs, runs, tests=3) == pytest.approx(np.mean(p_values <= 0.05 / 3), abs=0.01)


def crossed(rng, n_runs, n_items, level, item_spread, run_spread):
    """Right answers of runs about items: items are easy or hard, runs good or bad (a crossed logistic model)."""
    logits = level + rng.normal(0, item_spread, n_items)[None] + rng.normal(0, run_spread, n_runs)[:, None]
    return rng.random((n_runs, n_items)) < 1 / (1 + np.exp(-logits))


@pytest.mark.parametrize(
    ("n_runs", "n_items", "level", "item_spread", "run_spread"),
    [(1, 60, 2.0, 0.0, 0.0), (5, 60, 2.0, 2.0, 0.3), (3, 200, 3.0, 1.0, 0.0), (5, 200, 0.0, 0.5, 0.8)],
)
def test_accuracy_intervals_hold_the_truth_over_new_items_and_runs(n_runs, n_items, level, item_spread, run_spread):
    rng = np.random.default_rng(0)
    if n_runs == 1:
        truth = 1 / (1 + np.exp(-level))
    else:
        truth = crossed(np.random.default_rng(1), 2000, 2000, level, item_spread, run_spread).mean()
    hits, rejected, n_studies = 0, 0, 600
    for _ in range(n_studies):
        interval = stats.accuracy(crossed(rng, n_runs, n_items, level, item_spread, run_spread))
        hits += interval.low <= truth <= interval.high
        items = rng.normal(0, item_spread, n_items)
        # Two arms without a difference, on the same items.
        pair = [
            rng.random((n_runs, n_items))
            < 1 / (1 + np.exp(-(level + items[None] + rng.normal(0, run_spread, n_runs)[:, None])))
            for _ in range(2)
        ]
        rejected += stats.accuracy_p(*pair) < 0.05
    # Both terms of the variance hold what items and runs share: intervals are rather too wide.
    assert hits / n_studies >= 0.935
    assert rejected / n_studies <= 0.07


def test_the_test_of_accuracies_and_its_interval_agree():
    rng = np.random.default_rng(3)
    for _ in range(50):
        hits, others = crossed(rng, 3, 40, 1.0, 1.0, 0.5), crossed(rng, 4, 40, 0.3, 1.0, 0.5)
        interval = stats.accuracy_difference(hits, others)
        assert (stats.accuracy_p(hits, others) < 0.05) == (not interval.low <= 0 <= interval.high)
        swapped = stats.accuracy_difference(others, hits)
        assert (swapped.low, swapped.high) == pytest.approx((-interval.high, -interval.low))
    alike = np.ones((3, 8), dtype=bool)
    certain = stats.accuracy_difference(alike, ~alike)
    assert certain.value == certain.high == 1
    assert 0.4 < certain.low < 1
    same = stats.accuracy_difference(alike, alike)
    assert same.low < same.value == 0 < same.high
    with pytest.raises(ValueError, match="two of them"):
        stats.accuracy(alike[:, :1])
    one_run = rng.random((1, 30)) < 0.7
    paired = scipy.stats.ttest_1samp(one_run[0].astype(float) - np.arange(30) % 2, 0)
    assert stats.accuracy_p(one_run, (np.arange(30) % 2 == 1)[None]) == pytest.approx(paired.pvalue)
