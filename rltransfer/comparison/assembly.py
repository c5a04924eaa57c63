"""Assembles the comparison: finds the runs, groups them, scores them, tests the arms, collects what must be said."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rltransfer import stats
from rltransfer.comparison import coverage, notes, scores, source_costs
from rltransfer.comparison.across import across_tasks
from rltransfer.comparison.families import Tested, detectable_by, origin_of, tests_of
from rltransfer.comparison.groups import ArmRuns, TaskGroup, control_of, find, group
from rltransfer.comparison.names import natural, task_names
from rltransfer.comparison.representation import layers_of
from rltransfer.comparison.scored import DEFAULT_BASELINE, Asked, ScoredTask, score_task
from rltransfer.comparison.scores import PRIMARY_METRICS
from rltransfer.comparison.selection import with_selection
from rltransfer.comparison.studies import settings_of
from rltransfer.comparison.sweeps import pictures
from rltransfer.comparison.tables import (
    Arm,
    Comparison,
    SkippedRun,
    TaskComparison,
)
from rltransfer.config import STUDY_FILE, StudyConfig, Threshold, read_thresholds
from rltransfer.errors import ConfigError, RLTransferError, unknown
from rltransfer.metrics import Undefined


def compare(
    root: Path | str | Sequence[Path | str],
    *,
    metric: str = "auc",
    threshold: Threshold | Sequence[Threshold] | None = None,
    baseline: str = DEFAULT_BASELINE,
    sd: float | None = None,
    effect: float | None = None,
    seed: int = 0,
    arms: Mapping[str, str] | None = None,
) -> Comparison:
    """Returns the tables of a report on all finished target runs below one or more folders.

    Args:
        root: A study folder, RL Zoo's ``logs``, a single run, or several of these.
        metric: The primary metric, chosen before the runs: ``auc``, ``success_auc`` or ``final``.
        threshold: Return that counts as solved, for the time to threshold, a share of the way from the random policy
            to the reference such as "90%", or several of these; by default what the runs' study or environment says.
            It is never taken from the results.
        baseline: The arm that the others are compared with.
        sd: Standard deviation of the primary metric over seeds, known before the runs, that the power of the tests is
            computed from; by default the study's, or else the pooled one of the runs.
        effect: The smallest difference to the baseline worth finding: the report says how likely this study was to find
            it, and how many seeds would be; by default the study's. It is never taken from the results.
        seed: Seed of every random number of the analysis (bootstrap, Monte Carlo permutations).
        arms: For runs of RL Zoo, which do not say which arm they are: a glob for each arm, relative to the folder, such
            as ``{"scratch": "ppo/CartPole-v1_*"}``. An arm's runs are the matched folders, and those below them.

    Raises:
        ConfigError: A threshold, the standard deviation or the effect is none.
        RunError: There is no such folder, no finished target run in it, or none that an arm's glob matches.
        UnknownNameError: The metric or a baseline that is not the default does not exist.
    """
    if metric not in PRIMARY_METRICS:
        raise unknown("metric", metric, PRIMARY_METRICS)
    for name, given in (("sd", sd), ("effect", effect)):
        if given is not None and not 0 < given < np.inf:
            raise ConfigError(f"{name}: expected a number above 0, found {given}.")
    asked = Asked(metric, read_thresholds(threshold), baseline, sd, effect, seed)
    roots = tuple(Path(place) for place in ([root] if isinstance(root, Path | str) else root))
    runs = find(roots, arms)
    groups = group(runs.finished)
    labels = {arm.label for task_group in groups for arm in task_group.arms}
    if baseline != DEFAULT_BASELINE and baseline not in labels:
        raise unknown("arm", baseline, labels)
    names = task_names([task_group.task_name for task_group in groups], [task_group.title for task_group in groups])
    scored = [_scored(task_group, asked, runs.studies) for task_group in groups]
    tested = tests_of(scored, runs.studies)
    confirmation = functools.cache(functools.partial(_confirmation, asked))
    tasks = tuple(
        _with_notes(
            with_selection(_compare_task(task, tests, name, unfinished), runs.studies, confirmation),
            task,
            tests,
            unfinished,
            n_tasks=len(groups),
        )
        for task, tests, name in zip(scored, tested, names, strict=True)
        for unfinished in [_of_task((*runs.skipped, *runs.missing), task.group)]
    )
    across, reason = across_tasks(tasks, seed=seed)
    return Comparison(
        roots=roots,
        metric=metric,
        baseline=baseline,
        thresholds=asked.thresholds,
        sd=sd,
        effect=effect,
        seed=seed,
        tasks=tasks,
        across=across,
        across_reason=reason,
        arms=dict(arms or {}),
        skipped=runs.skipped,
        missing=runs.missing,
        problems=runs.problems,
        source_runs=runs.source_runs,
        sweeps=pictures(tasks, runs.studies),
    )


def _scored(task: TaskGroup, asked: Asked, studies: Mapping[Path, StudyConfig]) -> ScoredTask:
    """Returns a group with its runs scored on the scale that the studies of its own runs name."""
    setting, disagreements = settings_of(task.task_name, [run.folder for arm in task.arms for run in arm.runs], studies)
    return score_task(dataclasses.replace(task, notes=(*task.notes, *disagreements)), asked, setting)


def _confirmation(asked: Asked, folder: Path) -> Comparison | str:
    """Returns what a confirmation found, or why it cannot be read; an empty text where there is none."""
    if not (folder / STUDY_FILE).is_file():
        return ""
    try:
        confirmed = compare(
            folder,
            metric=asked.metric,
            threshold=asked.thresholds,
            baseline=asked.baseline,
            sd=asked.sd,
            effect=asked.effect,
            seed=asked.seed,
        )
    except RLTransferError:
        return "its confirmation has no finished run yet"
    unfinished = len(confirmed.skipped) + len(confirmed.missing)
    return f"{unfinished} runs of its confirmation are not finished" if unfinished else confirmed


def _with_notes(
    task: TaskComparison, scored: ScoredTask, tested: Tested, unfinished: Sequence[SkippedRun], *, n_tasks: int
) -> TaskComparison:
    """Returns the task with what must be known before believing the verdicts as they are claimed."""
    facts = notes.Facts(
        group=scored.group,
        arms=task.arms,
        baseline_problem=scored.baseline_problem,
        metric=scored.measuring.metric,
        coverages=task.coverages,
        unfinished=unfinished,
        tasks=n_tasks,
        tests=tested.tests,
        tested_tasks=tested.tasks,
    )
    return dataclasses.replace(task, notes=(*task.notes, *notes.task_notes(facts)))


def _compare_task(task: ScoredTask, tested: Tested, name: str, unfinished: Sequence[SkippedRun]) -> TaskComparison:
    arms = [_arm(task, arm, tested, unfinished) for arm in task.group.arms]
    return TaskComparison(
        name=name,
        title=task.group.title,
        settings=task.group.settings,
        arms=tuple(sorted(arms, key=_reading_order)),
        baseline=task.baseline,
        thresholds=task.measuring.thresholds,
        threshold_from=task.threshold_from,
        random_return=float(np.mean(task.random_returns)) if task.random_returns else None,
        reference=task.measuring.reference,
        coverages=coverage.of(arms, task.measuring.metric),
        scratch_long=task.long.scores if task.long else (),
        scratch_long_steps=task.long.budget_steps if task.long else None,
        grid_steps=task.measuring.grid_steps,
        failed_checks=task.failed,
        notes=(),
        versions=_versions(task.group),
    )


def _of_task(skipped: Sequence[SkippedRun], task: TaskGroup) -> list[SkippedRun]:
    """Returns the unfinished runs of a task, by the name of the folder that holds its arms, or of the run's record."""
    return [run for run in skipped if run.task_name == task.task_name]


def _reading_order(arm: Arm) -> tuple[object, ...]:
    """Sorts the baseline first, then each arm with its own control behind it, then the other controls."""
    return (
        arm.kind != "baseline",
        arm.kind == "control" and arm.control_of is None,
        natural(arm.control_of or arm.name),
        bool(arm.control_of),
        natural(arm.name),
        arm.name,
    )


def _versions(task: TaskGroup) -> dict[str, tuple[str, ...]]:
    versions: dict[str, set[str]] = {}
    for run in (run for arm in task.arms for run in arm.runs):
        for library, version in run.record.versions.items():
            versions.setdefault(library, set()).add(version)
    return {library: tuple(sorted(versions[library])) for library in sorted(versions)}


def _arm(task: ScoredTask, arm: ArmRuns, tested: Tested, unfinished: Sequence[SkippedRun]) -> Arm:
    runs, baseline, measuring = task.runs[arm.name], task.baseline_runs, task.measuring
    contrast = tested.against_baseline[arm.name]
    times = scores.threshold_times(runs, baseline, measuring)
    baseline_times = scores.threshold_times(baseline, None, measuring) if baseline else ()
    of = control_of(arm, task.group.arms)
    primary = scores.values(runs, measuring.metric)
    return Arm(
        name=arm.name,
        kind="baseline" if arm.name == task.baseline else "control" if arm.is_control else "transfer",
        strategy=arm.strategy,
        control_of=None if of is None else of.name,
        runs=runs,
        band=stats.iqm_band(np.stack([run.curve for run in runs]), seed=task.seed, sources=scores.sources_of(runs)),
        scores={name: scores.score(runs, baseline, name) for name in scores.METRICS},
        robust=scores.robust(runs, baseline, measuring.metric, seed=task.seed),
        profile=None
        if isinstance(primary, Undefined)
        else stats.profile([primary], _profile_points(task), [scores.sources_of(runs)]),
        improvement=scores.improvement(runs, baseline, measuring.metric),
        p_value=contrast.p_value,
        p_adjusted=contrast.p_adjusted,
        smallest_p_adjusted=contrast.smallest_p_adjusted,
        verdict=contrast.verdict,
        reason=contrast.reason,
        detectable=detectable_by(task, arm.name, tested),
        origin=origin_of(task, arm, tested, unfinished),
        times=times,
        transfer_ratio=scores.transfer_ratio(runs, baseline, task.random_returns),
        forward_transfer=scores.forward_transfer(runs, baseline, task.group.settings.task.env),
        steps=source_costs.steps_account(runs, times, baseline_times[0].time if baseline_times else None),
        total=source_costs.total_account(runs, measuring.budget_steps, task.long, measuring.metric),
        retention=scores.retention(runs),
        effort=scores.effort(runs),
        layers=layers_of([run.folder for run in runs], measuring.grid_steps),
    )


def _profile_points(task: ScoredTask) -> np.ndarray:
    """Returns the scores at which the profiles of all arms are drawn."""
    scores_of_arms = [scores.values(runs, task.measuring.metric) for runs in task.runs.values()]
    return stats.profile_points([arm_scores for arm_scores in scores_of_arms if not isinstance(arm_scores, Undefined)])
