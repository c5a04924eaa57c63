import numpy as np
import pytest
from synthetic import episodes

from rltransfer import metrics
from rltransfer.metrics import TimeToThreshold, Undefined
from rltransfer.records import Curve, Episodes, TrainingEpisodes


def curve(steps, returns, successes=None):
    return Curve(
        env_steps=np.array(steps, dtype=int),
        episode_returns=np.array(returns, dtype=float)[:, None],
        episode_lengths=np.ones((len(steps), 1), int),
        successes=None if successes is None else np.array(successes)[:, None],
    )


def test_auc_is_the_average_of_the_curve_in_units_of_return():
    assert metrics.auc(curve([0, 50, 100], [0, 10, 10]), 100) == 7.5


def test_auc_does_not_depend_on_how_often_a_straight_curve_is_evaluated():
    assert metrics.auc(curve([0, 100], [0, 10]), 100) == metrics.auc(curve([0, 10, 70, 100], [0, 1, 7, 10]), 100)


def test_auc_cuts_an_overshoot_at_the_budget():
    overshot = curve([0, 50, 150], [0, 10, 1000])
    assert metrics.auc(overshot, 100) == pytest.approx((250 + (10 + 505) / 2 * 50) / 100)


def test_auc_ignores_all_evaluations_beyond_the_budget():
    assert metrics.auc(curve([0, 100, 150, 200], [0, 10, -500, 7]), 100) == 5


def test_auc_continues_a_curve_that_is_too_short_with_its_ends():
    short = curve([20, 60], [4, 8])
    assert metrics.auc(short, 100) == pytest.approx((4 * 20 + 6 * 40 + 8 * 40) / 100)
    assert not metrics.covers_budget(short, 100)
    assert metrics.covers_budget(curve([0, 120], [0, 1]), 100)


@pytest.mark.parametrize(
    ("steps", "returns", "reason"),
    [
        ([], [], "empty"),
        ([0, 50, 50], [1, 2, 3], "increasing order"),
        ([0, 100, 50], [1, 2, 3], "increasing order"),
        ([0, 50, 100], [1, np.nan, 3], "not a finite number"),
        ([0, 50, 100], [1, np.inf, 3], "not a finite number"),
    ],
)
def test_auc_of_a_broken_curve_is_undefined(steps, returns, reason):
    assert reason in metrics.auc(curve(steps, returns), 100).reason


def test_auc_needs_a_budget():
    assert isinstance(metrics.auc(curve([0, 1], [0, 1]), 0), Undefined)


def test_success_auc_averages_the_success_rate_and_needs_one():
    assert metrics.success_auc(curve([0, 100], [5, 5], [False, True]), 100) == 0.5
    assert "is_success" in metrics.success_auc(curve([0, 100], [5, 5]), 100).reason


def test_training_auc_weighs_episodes_by_their_steps():
    assert metrics.training_auc(TrainingEpisodes(np.array([0.0, 10.0]), np.array([30, 10]))) == 2.5
    assert isinstance(metrics.training_auc(TrainingEpisodes(np.array([]), np.array([], dtype=int))), Undefined)


def test_jumpstart_and_asymptotic_performance_use_their_own_episodes():
    assert metrics.initial_performance(episodes(7.0)) == 7.0
    assert metrics.asymptotic_performance(episodes(9.0)) == 9.0
    assert "step 0" in metrics.initial_performance(None).reason
    assert "final" in metrics.asymptotic_performance(None).reason


def test_final_success_rate():
    mixed = Episodes(
        episode_returns=(1, 0), episode_lengths=(1, 1), successes=(True, False), deterministic=True, seed=0
    )
    assert metrics.final_success_rate(mixed) == 0.5
    assert "is_success" in metrics.final_success_rate(episodes(1.0)).reason
    assert isinstance(metrics.final_success_rate(None), Undefined)


def test_the_area_of_a_window_is_that_of_the_curve_between_its_steps():
    grown = curve([0, 100, 200, 300], [0, 10, 10, 40], [False, False, True, True])
    assert metrics.window_auc(grown, 100, 300) == pytest.approx((10 * 100 + 25 * 100) / 200)
    assert metrics.window_auc(grown, 50, 100) == 7.5
    assert metrics.window_auc(grown, 150, 250, success=True) == pytest.approx((0.75 * 50 + 50) / 100)
    assert metrics.window_auc(grown, 0, 300) == metrics.auc(grown, 300)
    assert "is_success" in metrics.window_auc(curve([0, 1], [0, 1]), 0, 1, success=True).reason
    assert isinstance(metrics.window_auc(grown, 100, 100), Undefined)


def test_normalised_scores_run_from_the_random_policy_to_the_reference():
    scale = {"random": -200.0, "reference": -100.0}
    assert [metrics.normalised(score, **scale) for score in (-200, -100, -150, -50, -250)] == [0, 1, 0.5, 1.5, -0.5]
    assert "not above" in metrics.normalised(0.0, random=1.0, reference=1.0).reason


def test_retention_is_a_mean_return_or_the_reason_why_not():
    assert metrics.retention(episodes(7.0)) == 7.0
    assert metrics.retention(None, "the arm has no source").reason == "the arm has no source"
    assert "not evaluated in its source task" in metrics.retention(None).reason


def test_time_to_threshold_is_the_first_hit_even_if_the_curve_falls_again():
    assert metrics.time_to_threshold(curve([0, 50, 100], [0, 9, 1]), 9, 100) == TimeToThreshold(50, reached=True)


def test_time_to_threshold_is_censored_at_the_budget():
    assert metrics.time_to_threshold(curve([0, 50, 120], [0, 1, 2]), 9, 100) == TimeToThreshold(100, reached=False)
    assert metrics.time_to_threshold(curve([0, 50, 120], [0, 1, 9]), 9, 100) == TimeToThreshold(100, reached=True)


def test_transfer_ratio_is_taken_above_the_random_policy():
    # With raw returns the ratio of these would be -0.5 and change with any shift of the reward.
    assert metrics.transfer_ratio(-100.0, -200.0, random=-400.0) == 0.5


@pytest.mark.parametrize("random", [1.0, 5.0])
def test_transfer_ratio_is_refused_where_scratch_learned_nothing(random):
    assert "not above the random policy" in metrics.transfer_ratio(2.0, 1.0, random=random).reason


def test_forward_transfer_follows_its_formula_and_its_range():
    assert metrics.forward_transfer(0.25, 0.5) == -0.5
    assert "from 0 to 1" in metrics.forward_transfer(20.0, 0.5).reason
    assert "perfect" in metrics.forward_transfer(1.0, 1.0).reason
