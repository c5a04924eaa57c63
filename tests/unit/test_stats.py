import math

import numpy as np
import pytest

from rltransfer import stats
from rltransfer.errors import UnknownNameError
from rltransfer.stats.tests import MONTE_CARLO_SPLITS

A = [3.0, 7.0, 1.0, 9.0, 4.0]
B = [2.0, 5.0, 0.5, 3.0]
C = [2.5, 4.0, 1.5]


@pytest.fixture(params=[0, 1, 2])
def shuffle(request):
    return lambda values: list(np.random.default_rng(request.param).permutation(values))


def test_no_statistic_depends_on_the_order_of_runs(shuffle):
    big = [float(value) for value in range(12)]
    assert stats.mean(A) == stats.mean(shuffle(A))
    assert stats.mean_difference(A, B) == stats.mean_difference(shuffle(A), shuffle(B))
    assert stats.permutation_p(A, B, seed=0) == stats.permutation_p(shuffle(A), shuffle(B), seed=0)
    assert stats.permutation_p(big, A, seed=0) == stats.permutation_p(shuffle(big), shuffle(A), seed=0)
    gained = [x + 20 for x in A]
    assert stats.share_of_gain(gained, A, C, paired=False) == stats.share_of_gain(
        shuffle(gained), shuffle(A), shuffle(C), paired=False
    )
    assert stats.probability_of_improvement(A, B) == stats.probability_of_improvement(shuffle(A), shuffle(B))
    assert stats.median(A) == stats.median(shuffle(A))
    assert stats.iqm_estimate([A, B], seed=0) == stats.iqm_estimate([shuffle(A), shuffle(B)], seed=0)
    assert stats.median_over_tasks([A, B], seed=0) == stats.median_over_tasks([shuffle(A), shuffle(B)], seed=0)
    assert stats.mean_over_tasks([A, B]) == stats.mean_over_tasks([shuffle(A), shuffle(B)])


def test_runs_that_share_something_are_shuffled_together(shuffle):
    order = shuffle(range(5))
    other, sources = [2.0, 6.5, 1.0, 7.0, 4.0], ["a", "a", "b", "c", "b"]
    mixed = [[values[i] for i in order] for values in (A, other, sources)]
    assert stats.paired_difference(A, other) == stats.paired_difference(mixed[0], mixed[1])
    assert stats.mean(A, sources) == stats.mean(mixed[0], mixed[2])
    assert stats.iqm_estimate([A], seed=0, sources=[sources]) == stats.iqm_estimate(
        [mixed[0]], seed=0, sources=[mixed[2]]
    )
    curves = np.array([A, other]).T
    first = stats.iqm_band(curves, seed=0, sources=sources)
    two = stats.iqm_band(np.array(mixed[:2]).T, seed=0, sources=mixed[2])
    assert np.array_equal(first.low, two.low)


def test_the_band_does_not_depend_on_the_order_of_runs(shuffle):
    curves = np.random.default_rng(5).normal(size=(6, 4))
    first, two = stats.iqm_band(curves, seed=1), stats.iqm_band(curves[shuffle(range(6))], seed=1)
    assert np.array_equal(first.low, two.low)
    assert np.array_equal(first.middle, two.middle)


def test_the_band_resamples_whole_runs_and_never_cells():
    # Every run is constant, so every resampled curve has to be constant too.
    curves = np.repeat([[0.0], [0.3], [1.0], [1.1], [2.7]], 50, axis=1)
    band = stats.iqm_band(curves, seed=0)
    assert len(set(band.low)) == 1
    assert len(set(band.high)) == 1
    assert band.low[0] < band.middle[0] < band.high[0]


def test_the_band_comes_from_its_seed():
    curves = np.random.default_rng(5).normal(size=(6, 4))
    assert np.array_equal(stats.iqm_band(curves, seed=1).low, stats.iqm_band(curves, seed=1).low)
    assert not np.array_equal(stats.iqm_band(curves, seed=1).low, stats.iqm_band(curves, seed=2).low)


def test_a_missing_number_is_not_trimmed_away_as_if_it_were_high():
    assert np.isnan(stats.iqm(np.array([1.0, 2.0, 3.0, np.nan, 4.0])))


def test_one_run_has_no_interval():
    assert stats.mean([1.0]) == stats.Estimate(1.0, None, None)
    assert stats.mean_difference([1.0], B).low is None
    assert stats.iqm_band(np.ones((1, 3)), seed=0).low is None
    assert stats.probability_of_improvement([9.0], B) == stats.Estimate(1.0)
    assert stats.share_of_gain([9.0], A, B, paired=False) is None
    assert stats.median([1.0]) == stats.iqm_estimate([[1.0]], seed=0) == stats.Estimate(1.0)
    assert stats.iqm_difference([1.0], B, seed=0).low is None
    assert stats.mean_over_tasks([A, [1.0]]).low is None
    assert stats.profile([[1.0]], np.array([0.0])).low is None


def test_runs_that_all_agree_have_an_interval_without_width():
    assert stats.mean_difference([500.0] * 3, [500.0] * 3) == stats.Estimate(0.0, 0.0, 0.0)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [float("inf")]])
def test_missing_numbers_are_refused_instead_of_travelling_on(values):
    with pytest.raises(ValueError, match="finite"):
        stats.mean(values)


def test_the_permutation_test_sees_ties_in_spite_of_rounding():
    # Every split that swaps equal values has the observed difference; far from 0 rounding would hide that.
    arm, baseline = [1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3], [1e9 + 0.1, 1e9 + 0.2, 1e9 + 0.3]
    assert stats.permutation_p(arm, baseline, seed=0) == 1.0
    assert stats.permutation_p([5.0] * 4, [5.0] * 4, seed=0) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_the_permutation_test_does_not_depend_on_the_unit_or_the_zero_of_scores(seed):
    arm, baseline = np.random.default_rng(seed).integers(0, 8, size=(2, 5))
    p = stats.permutation_p(arm, baseline, seed=0)
    for zero in (300, -0.35, 1e6):
        assert stats.permutation_p(arm / 10 + zero, baseline / 10 + zero, seed=0) == p
    assert stats.permutation_p(arm / 7e6 - 1, baseline / 7e6 - 1, seed=0) == p


def test_ties_are_seen_where_the_scores_of_an_arm_sum_to_zero():
    # 1 + 2 + 3 = 1 + 1 + 4 is among the lowest of all sums, and moved so that it is 0 up to rounding.
    arm, baseline = np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 9.0, 9.0, 9.0])
    moved = stats.permutation_p(arm / 10 - 0.2, baseline / 10 - 0.2, seed=0)
    assert moved == stats.permutation_p(arm, baseline, seed=0)


def test_many_runs_use_monte_carlo_with_the_correction_that_never_gives_zero():
    arm, baseline = np.arange(20.0) + 100, np.arange(20.0)
    assert stats.permutation_p(arm, baseline, seed=0) == 2 / (MONTE_CARLO_SPLITS + 1)
    assert stats.smallest_p(20, 20) == 2 / (MONTE_CARLO_SPLITS + 1)


@pytest.mark.parametrize("runs", [(2, 2), (3, 3), (3, 5), (5, 5)])
def test_the_smallest_p_is_what_full_separation_gives(runs):
    arm, baseline = [100.0 + i for i in range(runs[0])], [float(i) for i in range(runs[1])]
    assert stats.permutation_p(arm, baseline, seed=0) == pytest.approx(stats.smallest_p(*runs))


def test_holm_bounds_at_one_and_keeps_the_order_given():
    assert stats.holm([0.9, 0.001, 0.8]) == (1.0, 0.003, 1.0)
    assert stats.holm([]) == ()


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [(1.0, 0.05, "positive"), (-1.0, 0.05, "negative"), (1.0, 0.0501, "inconclusive"), (0.0, 0.01, "inconclusive")],
)
def test_verdict(difference, p, said):
    assert stats.verdict(difference, p) == said


def test_censored_runs_stay_in_the_mean():
    summary = stats.censored_mean([100.0, 300.0, 300.0], [True, False, False], horizon=300)
    assert summary.restricted_mean.value == pytest.approx(700 / 3)
    assert summary.restricted_mean.high == 300
    assert (summary.reached, summary.runs) == (1, 3)


def test_the_share_is_that_of_the_means_with_an_interval_around_it():
    share = stats.share_of_gain([19.0, 20.0, 21.0], [9.0, 10.0, 11.0], [0.0, 0.1, -0.1], paired=False)
    assert share.value == pytest.approx(0.5)
    assert share.low < 0.5 < share.high


@pytest.mark.parametrize("arm", [[0.0, 1.0, 2.0], [-5.0, 1.0, 8.0], [-20.0, -21.0, -22.0]])
def test_the_share_of_a_gain_that_may_be_none_is_undefined(arm):
    assert stats.share_of_gain(arm, [1.0, 2.0, 3.0], [0.0, 1.0, 2.0], paired=False) is None


def test_what_a_source_gives_to_arm_and_control_alike_does_not_blur_the_share():
    source = np.array([-6.0, -3.0, 0.0, 3.0, 6.0])
    arm, control = 20 + source + [0.2, -0.1, 0, -0.2, 0.1], 19 + source + [-0.1, 0.1, 0.2, 0, -0.2]
    baseline = [0.0, 0.1, -0.1, 0.2, -0.2]
    apart, paired = (stats.share_of_gain(arm, control, baseline, paired=item) for item in (False, True))
    assert apart.value == paired.value == pytest.approx(0.95)
    assert paired.high - paired.low < 0.2 * (apart.high - apart.low)


def test_the_probability_of_improvement_counts_ties_half():
    assert stats.probability_of_improvement([1.0, 1.0], [1.0, 1.0]).value == 0.5


def test_no_share_of_a_few_pairs_is_certain():
    every, none = (stats.probability_of_improvement(*pair) for pair in (([2.0] * 5, [1.0] * 5), ([1.0] * 5, [2.0] * 5)))
    assert (every.value, every.high) == (1.0, 1.0)
    assert 0.5 < every.low < 0.8
    assert (none.value, none.low, none.high) == pytest.approx((0.0, 0.0, 1 - every.low))


def test_runs_that_share_their_sources_count_as_their_sources():
    values, sources = [1.0, 1.2, 5.0, 5.2, 9.0, 9.2], ["a", "a", "b", "b", "c", "c"]
    means = [1.1, 5.1, 9.1]
    assert stats.mean(values, sources).low == pytest.approx(stats.mean(means).low)
    assert stats.mean(values, sources).low < stats.mean(values).low
    shared = stats.iqm_estimate([values], seed=0, sources=[sources])
    assert (shared.low, shared.high) == (1.1, 9.1)


@pytest.mark.parametrize("sources", [["a"] * 4, ["a", "b", "c", "d"], None])
def test_one_source_for_all_or_one_for_each_leaves_runs_the_unit(sources):
    values = [1.0, 2.0, 4.0, 8.0]
    assert stats.mean(values, sources) == stats.mean(values)
    assert stats.iqm_estimate([values], seed=0, sources=[sources]) == stats.iqm_estimate([values], seed=0)


def test_an_arm_and_its_baseline_are_resampled_independently():
    # With the same draws in both the difference of equal arms would be 0 in every resample.
    difference = stats.iqm_difference(A, A, seed=0)
    assert difference.value == 0
    assert difference.low < -1 < 1 < difference.high


def test_tasks_are_resampled_independently():
    together, alone = stats.iqm_estimate([A, A], seed=0), stats.iqm_estimate([A], seed=0)
    assert together.high - together.low < 0.85 * (alone.high - alone.low)


def test_more_runs_of_one_arm_than_of_the_other_do_not_make_a_wide_arm_differ():
    """By the permutation test alone the small arm's wide spread would be a finding in every fourth study."""
    rng = np.random.default_rng(3)
    estimate = [stats.permutation_p(10 * rng.normal(size=4), rng.normal(size=12), seed=0) for _ in range(400)]
    assert np.mean(np.array(estimate) <= 0.05) < 0.09


def test_a_profile_steps_down_through_the_scores_with_a_band_also_at_its_ends():
    estimate = stats.profile([[1.0, 2.0, 3.0, 4.0, 5.0]], np.array([0.0, 2.0, 2.5, 5.0]))
    assert estimate.share.tolist() == [1.0, 0.6, 0.6, 0.0]
    assert estimate.high[0] == 1.0
    assert 0 < estimate.low[0] < 1
    assert 0 < estimate.high[-1] < 1


def test_a_profile_over_tasks_gives_each_task_one_voice():
    estimate = stats.profile([[0.0] * 9, [1.0]], np.array([0.5]))
    assert estimate.share.tolist() == [0.5]


def test_the_points_of_a_profile_are_the_scores_and_one_below():
    assert stats.profile_points([[1.0, 2.0], [2.0, 3.0]]).tolist() == pytest.approx([0.9, 1.0, 2.0, 3.0])
    assert len(stats.profile_points([np.arange(1000.0)], most=50)) == 51


def test_coverage_is_that_of_the_next_smaller_number_of_runs_and_of_the_worst_scores():
    assert stats.measured_coverage("mean", 13).runs == 10
    assert stats.measured_coverage("mean", 2).runs == 2
    assert stats.measured_coverage("mean", 5).least == min(stats.measured_coverage("mean", 5).shares.values()) < 0.9
    with pytest.raises(UnknownNameError, match="Did you mean 'median'"):
        stats.measured_coverage("medan", 5)
    unknown = stats.measured_coverage("mean", 1)
    assert not unknown.shares
    assert math.isnan(unknown.least)
