"""Turns one learning curve into one number.

A run is reduced to a scalar here; ``rltransfer.stats`` then works on scalars over seeds, never on cells of curves.

**Curve convention.** An evaluation curve is read as the straight lines between its points, over training steps 0 to
``budget``. SB3 often overshoots the budget by part of a rollout: the curve is cut at the budget, its value there
interpolated. A curve that starts after 0 or ends before the budget is continued with its first or last value;
``covers_budget`` says whether that was needed. A value that cannot be computed is an ``Undefined`` with its reason,
never a NaN that travels on.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from rltransfer.records import Curve, Episodes, TrainingEpisodes


@dataclasses.dataclass(frozen=True)
class Undefined:
    """A value that does not exist, and why."""

    reason: str


@dataclasses.dataclass(frozen=True)
class TimeToThreshold:
    """Training steps until the threshold, right-censored: not ``reached`` means "later than ``env_steps``"."""

    env_steps: float
    reached: bool


def auc(curve: Curve, budget_steps: int) -> float | Undefined:
    """Returns the area under the mean evaluation return over the budget, divided by the budget.

    The unit is that of a return: it is the average of the learning curve ("total reward" of Taylor & Stone, JMLR
    2009, section 2.2, for evaluation returns). Trapezoids over environment steps; see the module's curve convention.

    >>> returns = np.array([[0.0], [10.0]])
    >>> auc(Curve(np.array([0, 100]), returns, np.ones((2, 1), int)), 100)
    5.0
    """
    return _area(curve.env_steps, curve.mean_returns, 0, budget_steps)


def window_auc(curve: Curve, start_steps: float, end_steps: float, *, success: bool = False) -> float | Undefined:
    """Returns the area under the curve from one step to a later one, divided by the steps between them.

    For total accounting: an arm that learns over its target budget T after S source steps is compared with what
    scratch does from its step S to S + T, when it has been trained for as long.

    >>> returns = np.array([[0.0], [10.0], [10.0]])
    >>> window_auc(Curve(np.array([0, 100, 200]), returns, np.ones((3, 1), int)), 100, 200)
    10.0
    """
    values = curve.success_rates if success else curve.mean_returns
    if values is None:
        return Undefined("the environment reports no `is_success`")
    return _area(curve.env_steps, values, start_steps, end_steps)


def success_auc(curve: Curve, budget_steps: int) -> float | Undefined:
    """Returns the area under the success rate over the budget, divided by the budget: a number from 0 to 1.

    This is the per-task score that Continual World averages (Wołczyk et al., NeurIPS 2021, section 4.2).
    """
    rates = curve.success_rates
    if rates is None:
        return Undefined("the environment reports no `is_success`")
    return _area(curve.env_steps, rates, 0, budget_steps)


def training_auc(episodes: TrainingEpisodes) -> float | Undefined:
    """Returns the training return averaged over training steps: each step counts the return of its episode.

    A secondary metric: training returns come from an exploring and changing policy. Steps of episodes that were
    unfinished at the end of training are not counted.
    """
    if not len(episodes.episode_lengths) or not np.sum(episodes.episode_lengths):
        return Undefined("no training episode was finished")
    return _finite(float(np.average(episodes.episode_returns, weights=episodes.episode_lengths)))


def initial_performance(initial: Episodes | None) -> float | Undefined:
    """Returns the mean return at step 0 with sampled actions; the difference to scratch is the jumpstart.

    Jumpstart: Taylor & Stone, JMLR 2009, section 2.2. Sampled, because untrained deterministic policies score by luck.
    """
    return _mean_return(initial, "the run has no evaluation with sampled actions at step 0")


def asymptotic_performance(final: Episodes | None) -> float | Undefined:
    """Returns the mean return of the last agent, on evaluation seeds that no choice of a checkpoint has seen.

    "Asymptotic performance" of Taylor & Stone, JMLR 2009, section 2.2, as far as the budget goes.
    """
    return _mean_return(final, "the run has no final evaluation")


def final_success_rate(final: Episodes | None) -> float | Undefined:
    """Returns the share of successful episodes of the last agent, from the same episodes as the final return."""
    if final is None:
        return Undefined("the run has no final evaluation")
    if not final.successes:
        return Undefined("the environment reports no `is_success`")
    return float(np.mean(final.successes))


def time_to_threshold(curve: Curve, threshold: float, budget_steps: int) -> TimeToThreshold:
    """Returns the steps of the first evaluation whose mean return is at least ``threshold``, censored at the budget.

    Time to threshold: Taylor & Stone, JMLR 2009, section 2.2. An evaluation that was due at the end but made after
    the overshoot of the last rollout counts, at the budget.

    >>> curve = Curve(np.array([0, 50, 100]), np.array([[0.0], [7.0], [9.0]]), np.ones((3, 1), int))
    >>> time_to_threshold(curve, 5, 100), time_to_threshold(curve, 10, 100)
    (TimeToThreshold(env_steps=50.0, reached=True), TimeToThreshold(env_steps=100.0, reached=False))
    """
    hits = np.flatnonzero(curve.mean_returns >= threshold)
    if not len(hits):
        return TimeToThreshold(float(budget_steps), reached=False)
    return TimeToThreshold(float(min(curve.env_steps[hits[0]], budget_steps)), reached=True)


def steps_saved(arm_steps: float, baseline_steps: float) -> float:
    """Returns how many target steps earlier the arm reached the threshold than the baseline did.

    With censored times these are restricted to the budget, and the result is what was saved within the budget.
    """
    return baseline_steps - arm_steps


def transfer_ratio(arm: float, baseline: float, *, random: float) -> float | Undefined:
    """Returns (A - S) / (S - R): the gain in area over scratch, relative to what scratch has learned.

    The transfer ratio of Taylor & Stone, JMLR 2009, section 2.2, on scores above the measured random policy R, since
    a ratio of raw returns depends on where the environment puts its zero. Callers refuse it too where scratch is not
    clearly above the random policy over seeds.

    >>> transfer_ratio(-100.0, -200.0, random=-400.0)
    0.5
    """
    if baseline <= random:
        return Undefined("scratch is not above the random policy, so a ratio to what it learned means nothing")
    return (arm - baseline) / (baseline - random)


def forward_transfer(arm: float, baseline: float) -> float | Undefined:
    """Returns (AUC - AUC_b) / (1 - AUC_b), for areas under scores from 0 to 1.

    Forward transfer of Wołczyk et al., Continual World, NeurIPS 2021, section 4.2, where the score is a success rate.
    It is undefined where the baseline is perfect, and near there it is a small difference over a small difference:
    callers refuse it where the baseline is not clearly below 1 over seeds.

    >>> forward_transfer(0.75, 0.5)
    0.5
    """
    if not (0 <= arm <= 1 and 0 <= baseline <= 1):
        return Undefined("forward transfer needs scores from 0 to 1")
    if baseline == 1:
        return Undefined("scratch is perfect from the first step, so nothing can be transferred")
    return (arm - baseline) / (1 - baseline)


def normalised(score: float, *, random: float, reference: float) -> float | Undefined:
    """Returns a return on the scale where a random policy has 0 and the reference 1; more than 1 is better than it.

    The normalisation of Mnih et al., Nature 2015 (there with a human reference), which makes tasks comparable.

    >>> normalised(255.0, random=20.0, reference=490.0)
    0.5
    """
    if reference <= random:
        return Undefined("the reference return is not above that of the random policy")
    return (score - random) / (reference - random)


def retention(after: Episodes | None, problem: str | None = None) -> float | Undefined:
    """Returns the mean return in the *source* task of the agent that the target training ended with.

    What is lacking to the source agent's own score was forgotten ("backward transfer" and "forgetting" of the
    continual-learning literature, e.g. Wołczyk et al., NeurIPS 2021, section 4.2, from the source's side).

    Args:
        after: Episodes in the source task, after the target training.
        problem: Why there are none.
    """
    return _mean_return(after, problem or "the run was not evaluated in its source task")


def covers_budget(curve: Curve, budget_steps: int) -> bool:
    """Returns whether the curve reaches from step 0 to the budget, so that nothing has to be continued."""
    return len(curve.env_steps) > 0 and curve.env_steps[0] == 0 and curve.env_steps[-1] >= budget_steps


def on_grid(
    curve: Curve, grid_steps: Int[np.ndarray, " points"], *, success: bool = False
) -> Float[np.ndarray, " points"]:
    """Returns the mean returns (or success rates) of a curve at given steps, by the module's curve convention."""
    rates = curve.success_rates
    values = rates if success and rates is not None else curve.mean_returns
    points: Float[np.ndarray, " points"] = np.interp(grid_steps, curve.env_steps, values)
    return points


def _area(steps: np.ndarray, values: np.ndarray, start_steps: float, end_steps: float) -> float | Undefined:
    if not len(steps):
        return Undefined("the evaluation curve is empty")
    if np.any(np.diff(steps) <= 0):
        return Undefined("the evaluations are not in increasing order of steps")
    if end_steps <= start_steps:
        return Undefined("the budget is not positive")
    inside = steps[(steps > start_steps) & (steps < end_steps)]
    grid = np.concatenate([[start_steps], inside, [end_steps]])
    return _finite(float(np.trapezoid(np.interp(grid, steps, values), grid) / (end_steps - start_steps)))


def _mean_return(episodes: Episodes | None, missing: str) -> float | Undefined:
    if episodes is None or not episodes.episode_returns:
        return Undefined(missing)
    return _finite(episodes.mean_return)


def _finite(value: float) -> float | Undefined:
    return value if np.isfinite(value) else Undefined("a return is not a finite number")
