"""Counts what transfer costs with its source: break-even, and scratch that was trained for as many steps in all."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from rltransfer import metrics, stats
from rltransfer.comparison.groups import ArmRuns, covers_total
from rltransfer.comparison.scores import all_of, curve_of, sources_of, values
from rltransfer.comparison.tables import RunScores, StepsAccount, ThresholdTime, TotalAccount
from rltransfer.metrics import Undefined
from rltransfer.records import Run
from rltransfer.stats import CensoredMean, Estimate

_FAR = 1e9


@dataclasses.dataclass(frozen=True)
class LongScratch:
    """The runs of scratch with a larger budget, as read and as scored over that budget."""

    arm: ArmRuns
    scores: tuple[RunScores, ...]
    budget_steps: int


def steps_account(
    runs: Sequence[RunScores], times: Sequence[ThresholdTime], baseline_time: CensoredMean | None
) -> StepsAccount:
    """Returns target and source steps per seed and the number of targets after which the source has paid off."""
    target = float(np.mean([run.env_steps for run in runs]))
    source = source_steps(runs)
    if isinstance(source, Undefined):
        return StepsAccount(target, None, source)
    saved = _paying(source, times)
    if isinstance(saved, Undefined):
        return StepsAccount(target, source, saved)
    cut = baseline_time is None or baseline_time.reached < baseline_time.runs
    targets = int(np.ceil(source / saved.value))
    return StepsAccount(target, source, targets, at_most=cut, break_even_range=_range(source, saved))


def source_steps(runs: Sequence[RunScores]) -> float | Undefined:
    """Returns the mean env_steps of the runs' sources, 0 where there is none."""
    steps_of_runs = [0 if run.source is None else run.source.env_steps for run in runs]
    counted = [steps for steps in steps_of_runs if steps is not None]
    if len(counted) < len(steps_of_runs):
        return Undefined("the source does not say how many steps it was trained for")
    return float(np.mean(counted))


def total_account(
    runs: Sequence[RunScores], budget_steps: int, long: LongScratch | None, metric: str
) -> TotalAccount | Undefined:
    """Returns the arm's primary metric beside that of scratch over the same total steps.

    The arm learns from total step S, when its source was ready, to S + budget. So scratch's area is taken over these
    steps of its own curve; its final score counts where it was trained for as long.

    Args:
        runs: The arm's runs.
        budget_steps: The target budget.
        long: Scratch with a larger budget, if any was run.
        metric: The primary metric.
    """
    source = source_steps(runs)
    if isinstance(source, Undefined):
        return source
    total = source + budget_steps
    problem = _why_no_total(source, total, long, metric)
    if long is None or problem:
        return Undefined(problem)
    run_values, long_values = values(runs, metric), _long_values(long, metric, source, budget_steps)
    if isinstance(run_values, Undefined):
        return run_values
    if isinstance(long_values, Undefined):
        return long_values
    sources = sources_of(runs)
    return TotalAccount(
        total,
        stats.mean(run_values, sources),
        stats.mean(long_values),
        stats.mean_difference(run_values, long_values, sources),
    )


def _paying(source: float, times: Sequence[ThresholdTime]) -> Estimate | Undefined:
    """Returns the target steps that an arm saves, where these can pay off its source."""
    if not source:
        return Undefined("nothing was spent on a source")
    if not times:
        return Undefined("there is no threshold: give one with --threshold or in the study file")
    saved, time = times[0].steps_saved, times[0].time
    if isinstance(saved, Undefined):
        return saved
    if saved.value <= 0:
        return Undefined("the arm saves no target steps")
    return saved if time.reached == time.runs else Undefined("some seeds of the arm never reached the threshold")


def _why_no_total(source: float, total: float, long: LongScratch | None, metric: str) -> str:
    """Returns why there is nothing to compare an arm with at its total steps, or an empty text."""
    if not source:
        return "nothing was spent on a source"
    if long is None:
        return "no scratch with the budget of source and target was run: `scratch_long: true` in the study"
    trained = f"scratch_long was trained for {long.budget_steps:,} steps, source and target took {round(total):,}"
    # A final score is of the end of a budget, so that it must not be longer either.
    too_long = metric == "final" and not covers_total(round(total), long.budget_steps)
    return "" if covers_total(long.budget_steps, total) and not too_long else trained


def _long_values(long: LongScratch, metric: str, source: float, budget_steps: int) -> list[float] | Undefined:
    if metric == "final":
        return values(long.scores, metric)
    # Up to the end of its budget, where the source's last rollout overshot what was asked of it.
    end = min(source + budget_steps, float(long.budget_steps))
    start = max(end - budget_steps, 0.0)
    return all_of(long.scores, [_window(run, start, end, metric) for run in long.arm.runs])


def _window(run: Run, start: float, end: float, metric: str) -> float | Undefined:
    return metrics.window_auc(curve_of(run), start, end, success=metric == "success_auc")


def _range(source: float, saved: Estimate) -> tuple[int, int | None] | None:
    if saved.low is None or saved.high is None:
        return None
    least = int(np.ceil(source / saved.high))
    return least, int(np.ceil(source / saved.low)) if saved.low > source / _FAR else None
