"""Puts arms that share several tasks together, on normalised scores."""

from collections.abc import Sequence

from rltransfer import stats
from rltransfer.comparison import coverage
from rltransfer.comparison.scores import NORMALISED, sources_of, values
from rltransfer.comparison.tables import Arm, ArmAcrossTasks, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.stats import Numbers


def across_tasks(tasks: Sequence[TaskComparison], *, seed: int) -> tuple[tuple[ArmAcrossTasks, ...], str]:
    """Returns the arms that are on all tasks with normalised scores, and what these lack.

    That is: why there are none, why tasks were left out, which intervals hold less often than they say.

    Arms that lack one of these tasks are left out: their average would be over other tasks than the others'.
    """
    if len(tasks) < 2:
        return (), "there is one task"
    usable, reasons = [], []
    for task in tasks:
        reason = _unusable(task)
        if reason:
            reasons.append(f"{task.title}: {reason}")
        else:
            usable.append(task)
    if len(usable) < 2:
        return (), "fewer than two tasks have normalised scores and a baseline: " + "; ".join(reasons)
    shared = set.intersection(*({arm.name for arm in task.arms if _scores(arm) is not None} for task in usable))
    names = [arm.name for arm in usable[0].arms if arm.name in shared]
    if len(names) < 2:
        return (), "no arm beside the baseline is on all tasks"
    across_arms = tuple(_arm(name, usable, seed=seed) for name in names)
    baselines = [task.arm(str(task.baseline)) for task in usable]
    weak = coverage.over_tasks([[task.arm(name) for task in usable] for name in names], baselines)
    return across_arms, ". ".join(filter(None, [f"left out: {'; '.join(reasons)}" if reasons else "", weak]))


def _unusable(task: TaskComparison) -> str:
    """Returns why a task cannot be averaged with others, or an empty text."""
    if task.baseline is None:
        return "it has no baseline"
    scores = values(task.arm(task.baseline).runs, NORMALISED)
    return scores.reason if isinstance(scores, Undefined) else ""


def _scores(arm: Arm) -> Numbers | None:
    scores = values(arm.runs, NORMALISED)
    return None if isinstance(scores, Undefined) else scores


def _arm(name: str, tasks: Sequence[TaskComparison], *, seed: int) -> ArmAcrossTasks:
    arms = [task.arm(name) for task in tasks]
    arm_scores = [scores for arm in arms if (scores := _scores(arm)) is not None]
    baselines = [task.arm(str(task.baseline)) for task in tasks]
    baseline_scores = [scores for arm in baselines if (scores := _scores(arm)) is not None]
    is_baseline = all(arm.kind == "baseline" for arm in arms)
    every = [scores for task in tasks for arm in task.arms if (scores := _scores(arm)) is not None]
    sources, their_sources = ([sources_of(arm.runs) for arm in some] for some in (arms, baselines))
    return ArmAcrossTasks(
        name=name,
        tasks=tuple(task.name for task in tasks),
        mean=stats.mean_over_tasks(arm_scores, sources),
        median=stats.median_over_tasks(arm_scores, seed=seed, sources=sources),
        iqm=stats.iqm_estimate(arm_scores, seed=seed, sources=sources),
        optimality_gap=stats.mean_over_tasks([stats.shortfall(scores) for scores in arm_scores], sources),
        mean_difference=None
        if is_baseline
        else stats.difference_over_tasks(arm_scores, baseline_scores, sources, their_sources),
        improvement=None
        if is_baseline
        else stats.improvement_over_tasks(arm_scores, baseline_scores, sources, their_sources),
        profile=stats.profile(arm_scores, stats.profile_points(every), sources),
    )
