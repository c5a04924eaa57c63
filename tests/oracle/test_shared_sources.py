"""Intervals where one source agent serves several runs, of one task or of several: they are over new sources too."""

import numpy as np
import pytest
import scipy.stats

from rltransfer import stats

SOURCES = [str(i) for i in range(10)]
TWICE = [source for source in SOURCES for _ in range(2)]
TASKS = 4
STUDIES = 250
NOISE = 3 * np.sqrt(0.95 * 0.05 / STUDIES)


def covered(estimates, truth):
    return np.mean([estimate.low <= truth <= estimate.high for estimate in estimates])


def of_profile(tasks, sources):
    """The estimate of the share of runs above 0."""
    estimate = stats.profile(tasks, np.array([0.0]), sources)
    return stats.Estimate(float(estimate.share[0]), float(estimate.low[0]), float(estimate.high[0]))


def serving_tasks(rng):
    """An arm whose sources serve every task, and a baseline without sources: tasks x runs."""
    arm = 2 * rng.normal(size=len(SOURCES)) + rng.normal(size=(TASKS, len(SOURCES)))
    return list(arm), list(np.sqrt(5) * rng.normal(size=(TASKS, len(SOURCES))))


def serving_twice(rng):
    """An arm whose sources serve two runs each, its control from the same sources, and a baseline without sources."""
    common = np.repeat(2 * rng.normal(size=len(SOURCES)), 2)
    arm, control = (size + pull * common + rng.normal(size=len(TWICE)) for size, pull in ((20, 1), (10, 2)))
    return common + rng.normal(size=len(TWICE)), np.sqrt(5) * rng.normal(size=len(TWICE)), arm, control


SHARED, NONE = [SOURCES] * TASKS, [None] * TASKS
OVER_TASKS = {
    "mean": lambda arm, _: stats.mean_over_tasks(arm, SHARED),
    "difference": lambda arm, base: stats.difference_over_tasks(arm, base, SHARED, NONE),
    "IQM": lambda arm, _: stats.iqm_estimate(arm, seed=0, sources=SHARED, resamples=500),
    "median": lambda arm, _: stats.median_over_tasks(arm, seed=0, sources=SHARED, resamples=500),
    "improvement": lambda arm, base: stats.improvement_over_tasks(arm, base, SHARED, NONE),
    "profile": lambda arm, _: of_profile(arm, SHARED),
}
OF_A_TASK = {
    "mean": lambda arm, *_: stats.mean(arm, TWICE),
    "median": lambda arm, *_: stats.median(arm, TWICE),
    "improvement": lambda arm, base, *_: stats.probability_of_improvement(arm, base, TWICE),
    "profile": lambda arm, *_: of_profile([arm], [TWICE]),
    "time": lambda arm, *_: stats.censored_mean(arm + 50, [True] * 20, horizon=100, sources=TWICE).restricted_mean,
    "share": lambda _, base, arm, control: stats.share_of_gain(arm, control, base / 4, paired=True, sources=TWICE),
}
TRUTHS = {"improvement": 0.5, "profile": 0.5, "share": 0.5, "time": 50.0}


@pytest.mark.parametrize("name", OVER_TASKS)
def test_intervals_over_tasks_hold_the_truth_where_one_source_serves_all_tasks(name):
    rng = np.random.default_rng(1)
    results = [OVER_TASKS[name](*serving_tasks(rng)) for _ in range(STUDIES)]
    assert covered(results, TRUTHS.get(name, 0.0)) >= 0.93 - NOISE


@pytest.mark.parametrize("name", OF_A_TASK)
def test_intervals_of_a_task_hold_the_truth_where_one_source_serves_two_runs(name):
    rng = np.random.default_rng(2)
    results = [OF_A_TASK[name](*serving_twice(rng)) for _ in range(STUDIES)]
    assert covered(results, TRUTHS.get(name, 0.0)) >= 0.93 - NOISE


def test_over_tasks_a_source_is_averaged_first_and_then_the_interval_is_students():
    arm, base = serving_tasks(np.random.default_rng(3))
    averages = np.mean(arm, axis=0)
    expected = scipy.stats.t.interval(0.95, 9, averages.mean(), scipy.stats.sem(averages))
    estimate = stats.mean_over_tasks(arm, SHARED)
    assert (estimate.low, estimate.high) == pytest.approx(expected)
    paired = stats.difference_over_tasks(arm, base, SHARED, SHARED)
    apart = averages - np.mean(base, axis=0)
    assert (paired.low, paired.high) == pytest.approx(
        scipy.stats.t.interval(0.95, 9, apart.mean(), scipy.stats.sem(apart))
    )


@pytest.mark.parametrize("name", OVER_TASKS)
def test_neither_the_order_of_runs_nor_the_names_of_sources_matter(name, monkeypatch):
    rng = np.random.default_rng(4)
    arm, base = serving_tasks(rng)
    expected = OVER_TASKS[name](arm, base)
    orders = [rng.permutation(10) for _ in arm]
    monkeypatch.setitem(globals(), "SHARED", [[f"agent {9 - i}" for i in order] for order in orders])
    result = OVER_TASKS[name]([item[order] for item, order in zip(arm, orders, strict=True)], base)
    assert (result.low, result.high) == pytest.approx((expected.low, expected.high))


def test_sources_that_serve_one_run_each_change_nothing():
    arm, base, *_ = serving_twice(np.random.default_rng(5))
    alone = [str(i) for i in range(20)]
    assert stats.median(arm, alone) == stats.median(arm)
    assert stats.probability_of_improvement(arm, base, alone) == stats.probability_of_improvement(arm, base)
    assert of_profile([arm], [alone]) == of_profile([arm], None)
    assert stats.mean_over_tasks([arm, base], [alone, None]) == stats.mean_over_tasks([arm, base])
    one_agent = [["a"] * 20] * 2
    assert stats.mean_over_tasks([arm, base], one_agent) == stats.mean_over_tasks([arm, base])


def test_a_complete_separation_is_as_uncertain_as_its_sources_are_few():
    estimate = stats.probability_of_improvement([9.0] * 10, [1.0] * 10, [source for source in "ab" for _ in range(5)])
    assert estimate.value == estimate.high == 1
    assert estimate.low == pytest.approx(2 / (2 + scipy.stats.norm.ppf(0.975) ** 2))


def test_a_source_that_one_task_lacks_leaves_wider_intervals():
    arm, _ = serving_tasks(np.random.default_rng(6))
    fewer = [arm[0], arm[1][:3]]
    estimate = stats.mean_over_tasks(fewer, [SOURCES, SOURCES[:3]])
    whole = stats.mean_over_tasks(arm[:2], [SOURCES] * 2)
    assert estimate.high - estimate.low > whole.high - whole.low
    median = stats.median_over_tasks(fewer, seed=0, sources=[SOURCES, SOURCES[:3]], resamples=500)
    assert median.low < median.value < median.high


def test_a_task_with_one_of_several_shared_sources_leaves_no_interval():
    assert stats.mean_over_tasks([[1.0, 2.0], [3.0, 4.0]], [["a", "b"], ["a", "a"]]).low is None
    assert stats.iqm_estimate([[1.0, 2.0], [3.0, 4.0]], seed=0, sources=[["a", "b"], ["a", "a"]]).low is None


def test_what_runs_fall_short_of_keeps_their_order_for_their_sources():
    assert stats.shortfall([0.75, 0.25]).tolist() == [0.25, 0.75]
