"""Reduces each run to its scores, and the runs of an arm to estimates."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from rltransfer import metrics, stats
from rltransfer.comparison.tables import RunScores, Score, StepsAccount
from rltransfer.errors import RunError
from rltransfer.metrics import Undefined
from rltransfer.records import Curve, Run, read_training_episodes
from rltransfer.stats import CensoredMean, Estimate

PRIMARY_METRICS = ("auc", "success_auc", "final")
METRICS = ("auc", "success_auc", "final", "final_success", "initial", "training_auc")
_GRID_POINTS = 400
# Return scales that are 0 to 1 by the environment's definition: MiniGrid pays 1 - 0.9 * steps / limit at the goal.
_NORMALISED = ("minigrid", "babyai")


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What the runs of one task are measured by."""

    metric: str
    budget_steps: int
    threshold: float | None
    grid_steps: Int[np.ndarray, " points"]


def curve_of(run: Run) -> Curve:
    """Returns the run's curve; groups hold only runs that have one."""
    if run.curve is None:
        raise RunError(f"{run.folder} has no evaluation curve.")
    return run.curve


def grid(runs: Sequence[Run], budget_steps: int) -> Int[np.ndarray, " points"]:
    """Returns the steps at which curves are drawn: all evaluations of all runs up to the budget, or evenly spaced."""
    steps = np.unique(np.concatenate([curve_of(run).env_steps for run in runs] + [np.array([0, budget_steps])]))
    steps = steps[steps <= budget_steps]
    if len(steps) <= _GRID_POINTS:
        return steps
    return np.linspace(0, budget_steps, _GRID_POINTS).round().astype(int)


def score_run(run: Run, measuring: Measuring) -> RunScores:
    """Returns the scalars of one run."""
    curve, record, budget = curve_of(run), run.record, measuring.budget_steps
    scores = {
        "auc": metrics.auc(curve, budget),
        "success_auc": metrics.success_auc(curve, budget),
        "final": metrics.asymptotic_performance(record.final),
        "final_success": metrics.final_success_rate(record.final),
        "initial": metrics.initial_performance(record.initial),
        "training_auc": _training_auc(run),
    }
    threshold = measuring.threshold
    return RunScores(
        folder=run.folder,
        seed=record.seed,
        source=record.source,
        env_steps=record.env_steps or record.n_timesteps,
        scores=scores,
        time=None if threshold is None else metrics.time_to_threshold(curve, threshold, budget),
        curve=metrics.on_grid(curve, measuring.grid_steps, success=measuring.metric == "success_auc"),
        race=record.race,
    )


def values(runs: Sequence[RunScores], metric: str) -> list[float] | Undefined:
    """Returns the scores of all runs, or why one of them has none: leaving single runs out would bias the arm."""
    found = [run.scores[metric] for run in runs]
    missing = {run.seed: one.reason for run, one in zip(runs, found, strict=True) if isinstance(one, Undefined)}
    if not missing:
        return [one for one in found if not isinstance(one, Undefined)]
    reasons = set(missing.values())
    if len(missing) == len(runs) and len(reasons) == 1:
        return Undefined(reasons.pop())
    return Undefined("; ".join(f"seed {seed}: {reason}" for seed, reason in missing.items()))


def score(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str) -> Score:
    """Returns the mean of a metric over the runs and its difference to the baseline's."""
    mine = values(runs, metric)
    if isinstance(mine, Undefined):
        return Score(None, None, mine.reason)
    theirs = values(baseline, metric) if baseline is not None and baseline is not runs else Undefined("")
    difference = None if isinstance(theirs, Undefined) else stats.mean_difference(mine, theirs)
    return Score(stats.mean(mine), difference)


def improvement(
    runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str, *, seed: int
) -> Estimate | None:
    """Returns the probability that a run of the arm beats a run of the baseline; None without several runs of both."""
    if baseline is None or baseline is runs or min(len(runs), len(baseline)) < 2:
        return None
    mine, theirs = values(runs, metric), values(baseline, metric)
    if isinstance(mine, Undefined) or isinstance(theirs, Undefined):
        return None
    return stats.probability_of_improvement(mine, theirs, seed=seed)


def time_summary(runs: Sequence[RunScores], budget_steps: int) -> CensoredMean | None:
    """Returns the restricted mean time to the threshold, None without a threshold."""
    times = [run.time for run in runs if run.time is not None]
    if not times:
        return None
    return stats.censored_mean(
        [time.env_steps for time in times], [time.reached for time in times], horizon=budget_steps
    )


def steps_saved(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None) -> Estimate | Undefined:
    """Returns how much earlier than the baseline the arm reached the threshold, with times cut at the budget."""
    mine = [run.time.env_steps for run in runs if run.time]
    theirs = [run.time.env_steps for run in baseline or () if run.time]
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    if not mine or not theirs:
        return Undefined("there is no threshold: give one with --threshold or in the study file")
    if not any(run.time.reached for run in (*runs, *baseline) if run.time):
        return Undefined("no run reached the threshold")
    longer = stats.mean_difference(mine, theirs)
    saved = metrics.steps_saved(float(np.mean(mine)), float(np.mean(theirs)))
    if longer.low is None or longer.high is None:
        return Estimate(saved)
    return Estimate(saved, -longer.high, -longer.low)


def transfer_ratio(
    runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, random_returns: Sequence[float]
) -> float | Undefined:
    """Returns the transfer ratio of the arm's AUC above the random policy; refused where scratch's is not positive."""
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    if not random_returns:
        return Undefined("no run measured the random policy")
    mine, theirs = values(runs, "auc"), values(baseline, "auc")
    if isinstance(mine, Undefined) or isinstance(theirs, Undefined):
        return mine if isinstance(mine, Undefined) else Undefined("the baseline has no AUC")
    low = stats.mean_difference(theirs, random_returns).low
    return metrics.transfer_ratio(
        float(np.mean(mine)), float(np.mean(theirs)), random=float(np.mean(random_returns)), baseline_low=low
    )


def forward_transfer(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, env: str) -> float | Undefined:
    """Returns forward transfer on success rates, or on returns where the environment pays from 0 to 1 by definition."""
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    has_success = not isinstance(values([*runs, *baseline], "success_auc"), Undefined)
    if not has_success and not any(word in env.lower() for word in _NORMALISED):
        return Undefined("neither success rates nor returns from 0 to 1 by definition are available")
    metric = "success_auc" if has_success else "auc"
    mine, theirs = values(runs, metric), values(baseline, metric)
    if isinstance(mine, Undefined) or isinstance(theirs, Undefined):
        return mine if isinstance(mine, Undefined) else Undefined("the baseline has no AUC")
    return metrics.forward_transfer(float(np.mean(mine)), float(np.mean(theirs)))


def steps_account(
    runs: Sequence[RunScores],
    saved: Estimate | Undefined,
    time: CensoredMean | None,
    baseline_time: CensoredMean | None,
) -> StepsAccount:
    """Returns target and source steps per seed and the number of targets after which the source has paid off."""
    target = float(np.mean([run.env_steps for run in runs]))
    known = [0 if run.source is None else run.source.env_steps for run in runs]
    counted = [steps for steps in known if steps is not None]
    if len(counted) < len(known):
        return StepsAccount(target, None, Undefined("the source does not say how many steps it was trained for"))
    source = float(np.mean(counted))
    if not source:
        return StepsAccount(target, 0.0, Undefined("nothing was spent on a source"))
    if isinstance(saved, Undefined):
        return StepsAccount(target, source, saved)
    if saved.value <= 0:
        return StepsAccount(target, source, Undefined("the arm saves no target steps"))
    if time is None or time.reached < time.runs:
        return StepsAccount(target, source, Undefined("some seeds of the arm never reached the threshold"))
    cut = baseline_time is None or baseline_time.reached < baseline_time.runs
    return StepsAccount(target, source, int(np.ceil(source / saved.value)), at_most=cut)


def _training_auc(run: Run) -> float | Undefined:
    try:
        return metrics.training_auc(read_training_episodes(run.folder))
    except RunError as error:
        return Undefined(str(error))
