import numpy as np
import pytest

from rltransfer import stats

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
    assert stats.share_of_gain([x + 20 for x in A], A, C, seed=0) == stats.share_of_gain(
        shuffle([x + 20 for x in A]), shuffle(A), shuffle(C), seed=0
    )
    assert stats.probability_of_improvement(A, B, seed=0) == stats.probability_of_improvement(
        shuffle(A), shuffle(B), seed=0
    )


def test_the_band_does_not_depend_on_the_order_of_runs(shuffle):
    curves = np.random.default_rng(5).normal(size=(6, 4))
    one, two = stats.iqm_band(curves, seed=1), stats.iqm_band(curves[shuffle(range(6))], seed=1)
    assert np.array_equal(one.low, two.low)
    assert np.array_equal(one.middle, two.middle)


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
    assert stats.probability_of_improvement([9.0], B, seed=0) == stats.Estimate(1.0)
    assert stats.share_of_gain([9.0], A, B, seed=0) is None


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
    assert stats.permutation_p(arm, baseline, seed=0) == 2 / (stats.MONTE_CARLO_SPLITS + 1)
    assert stats.smallest_p(20, 20) == 2 / (stats.MONTE_CARLO_SPLITS + 1)


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
    share = stats.share_of_gain([19.0, 20.0, 21.0], [9.0, 10.0, 11.0], [0.0, 0.1, -0.1], seed=0)
    assert share.value == pytest.approx(0.5)
    assert share.low < 0.5 < share.high


@pytest.mark.parametrize("arm", [[0.0, 1.0, 2.0], [-5.0, 1.0, 8.0], [-20.0, -21.0, -22.0]])
def test_the_share_of_a_gain_that_may_be_none_is_undefined(arm):
    assert stats.share_of_gain(arm, [1.0, 2.0, 3.0], [0.0, 1.0, 2.0], seed=0) is None


def test_a_gain_that_vanishes_in_few_resamples_makes_the_share_unbounded_not_wrong():
    arm, baseline = [0.0, 10.0, 10.0, 10.0, 10.0], [0.0, 1.0, 2.0, 1.0, 0.0]
    share = stats.share_of_gain(arm, [5.0, 6.0, 7.0], baseline, seed=0)
    assert share.low < share.value < share.high
    assert not np.isnan(share.high)


def test_the_probability_of_improvement_counts_ties_half():
    assert stats.probability_of_improvement([1.0, 1.0], [1.0, 1.0], seed=0).value == 0.5
