"""Assembles the comparison: finds the runs, groups them, scores them, tests the arms, collects what must be said."""

import dataclasses
import functools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rltransfer import stats
from rltransfer.comparison import accounts, coverage, notes, scales, scores, verdicts
from rltransfer.comparison.accounts import LongScratch
from rltransfer.comparison.across import across_tasks
from rltransfer.comparison.groups import ArmRuns, TaskGroup, control_of, find, group, study_folder
from rltransfer.comparison.names import safe_names
from rltransfer.comparison.representation import layers_of
from rltransfer.comparison.scores import PRIMARY_METRICS, Measuring
from rltransfer.comparison.selection import with_selection
from rltransfer.comparison.sweeps import pictures
from rltransfer.comparison.tables import (
    Arm,
    Comparison,
    Detectable,
    FailedCheck,
    Origin,
    RunScores,
    SkippedRun,
    TaskComparison,
)
from rltransfer.comparison.verdicts import Contrast, Pair
from rltransfer.config import STUDY_FILE, StudyConfig, StudyTask, Threshold, read_thresholds
from rltransfer.errors import ConfigError, RLTransferError, unknown
from rltransfer.metrics import Undefined
from rltransfer.stats import Estimate, Spread

DEFAULT_BASELINE = "scratch"


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
    asked = _Asked(metric, read_thresholds(threshold), baseline, sd, effect, seed)
    roots = tuple(Path(one) for one in ([root] if isinstance(root, Path | str) else root))
    found = find(roots, arms)
    groups = group(found.finished)
    labels = {arm.label for one in groups for arm in one.arms}
    if baseline != DEFAULT_BASELINE and baseline not in labels:
        raise unknown("arm", baseline, labels)
    names = safe_names([one.task_name for one in groups], [one.title for one in groups])
    scored = [_task(one, asked, found.tasks.get(one.task_name)) for one in groups]
    tested = _tested(scored, found.studies)
    confirmation = functools.cache(functools.partial(_confirmation, asked))
    tasks = tuple(
        with_selection(
            _compare_task(
                task, tests, name, _of_task((*found.skipped, *found.missing), task.group), n_tasks=len(groups)
            ),
            found.studies,
            confirmation,
        )
        for task, tests, name in zip(scored, tested, names, strict=True)
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
        skipped=found.skipped,
        missing=found.missing,
        problems=found.problems,
        source_runs=found.source_runs,
        sweeps=pictures(tasks, found.studies),
    )


@dataclasses.dataclass(frozen=True)
class _Asked:
    """What the caller of ``compare`` asked for."""

    metric: str
    thresholds: tuple[Threshold, ...]
    baseline: str
    sd: float | None
    effect: float | None
    seed: int


def _confirmation(asked: "_Asked", folder: Path) -> Comparison | str:
    """Returns what a confirmation found, or why it cannot be read; an empty text where there is none."""
    if not (folder / STUDY_FILE).is_file():
        return ""
    try:
        found = compare(
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
    unfinished = len(found.skipped) + len(found.missing)
    return f"{unfinished} runs of its confirmation are not finished" if unfinished else found


@dataclasses.dataclass(frozen=True)
class _Tested:
    """The tests of one task: against the baseline, against controls. ``tests`` of ``tasks`` tasks share the level."""

    against_baseline: Mapping[str, Contrast]
    against_control: Mapping[str, Contrast]
    tests: int
    tasks: int


@dataclasses.dataclass(frozen=True)
class _Task:
    """One group with its runs scored: what every step below reads."""

    group: TaskGroup
    measuring: Measuring
    runs: Mapping[str, tuple[RunScores, ...]]
    long: LongScratch | None
    failed: tuple[FailedCheck, ...]
    baseline: str | None
    baseline_problem: str
    threshold_from: str
    random_returns: tuple[float, ...]
    spread: Spread | None
    effect: float | None
    seed: int

    @property
    def baseline_runs(self) -> tuple[RunScores, ...] | None:
        return None if self.baseline is None else self.runs[self.baseline]

    @property
    def controls(self) -> dict[str, str]:
        """The shuffled control of each arm that has one, by the names of both."""
        pairs = [(control_of(arm, self.group.arms), arm) for arm in self.group.arms]
        return {of.name: control.name for of, control in reversed(pairs) if of is not None}


def _task(one: TaskGroup, asked: _Asked, study: StudyTask | None) -> _Task:
    runs = [run for arm in one.arms for run in arm.runs]
    budget = one.settings.n_timesteps
    scale = scales.reference(one, study)
    levels, origin = scales.thresholds(one, asked.thresholds, scale)
    measuring = Measuring(asked.metric, budget, levels, scale, scores.grid(runs, budget))
    found, problem = _find_baseline(one, asked.baseline)
    sd = asked.sd if asked.sd is not None or study is None else study.sd
    return _Task(
        group=one,
        measuring=measuring,
        runs={arm.name: tuple(scores.score_run(run, measuring) for run in arm.runs) for arm in one.arms},
        long=_long(one, measuring),
        failed=_failed_checks(one),
        baseline=found,
        baseline_problem=problem,
        threshold_from=origin,
        random_returns=scales.random_returns(one),
        spread=None if sd is None else Spread(sd),
        effect=asked.effect if asked.effect is not None or study is None else study.effect,
        seed=asked.seed,
    )


def _long(one: TaskGroup, measuring: Measuring) -> LongScratch | None:
    arm = one.scratch_long
    if arm is None:
        return None
    budget = arm.runs[0].record.n_timesteps
    over_it = dataclasses.replace(measuring, budget_steps=budget, grid_steps=scores.grid(arm.runs, budget))
    return LongScratch(arm, tuple(scores.score_run(run, over_it) for run in arm.runs), budget)


def _compare_task(
    task: _Task, tested: _Tested, name: str, unfinished: Sequence[SkippedRun], *, n_tasks: int
) -> TaskComparison:
    arms = [
        _arm(task, arm, tested, _origin(task, arm, tested.against_baseline, tested.against_control))
        for arm in task.group.arms
    ]
    coverages = coverage.of(arms, task.measuring.metric)
    facts = notes.Facts(
        group=task.group,
        arms=arms,
        baseline_problem=task.baseline_problem,
        metric=task.measuring.metric,
        coverages=coverages,
        unfinished=unfinished,
        tasks=n_tasks,
        tests=tested.tests,
        tested_tasks=tested.tasks,
    )
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
        coverages=coverages,
        scratch_long=task.long.scores if task.long else (),
        scratch_long_steps=task.long.budget_steps if task.long else None,
        grid_steps=task.measuring.grid_steps,
        failed_checks=task.failed,
        notes=notes.task_notes(facts),
        versions=_versions(task.group),
    )


def _of_task(skipped: Sequence[SkippedRun], one: TaskGroup) -> list[SkippedRun]:
    """Returns the unfinished runs of a task, by the name of the folder that holds its arms, or of the run's record."""
    return [run for run in skipped if run.task_name == one.task_name]


def _reading_order(arm: Arm) -> tuple[bool, bool, str, bool, str]:
    """Sorts the baseline first, then each arm with its own control behind it, then the other controls."""
    return (
        arm.kind != "baseline",
        arm.kind == "control" and arm.control_of is None,
        arm.control_of or arm.name,
        bool(arm.control_of),
        arm.name,
    )


def _find_baseline(one: TaskGroup, baseline: str) -> tuple[str | None, str]:
    """Returns the name of the baseline arm, or None and why there is none."""
    named = [arm.name for arm in one.arms if arm.label == baseline]
    if not named and baseline == DEFAULT_BASELINE:
        named = [arm.name for arm in one.arms if [part.get("kind") for part in arm.strategy] == [DEFAULT_BASELINE]]
    if not named:
        return None, f"the baseline `{baseline}` has no finished run on this task with these settings"
    if len(named) > 1:
        return None, f"the baseline `{baseline}` is not one arm but {', '.join(f'`{name}`' for name in named)}"
    return named[0], ""


def _failed_checks(one: TaskGroup) -> tuple[FailedCheck, ...]:
    return tuple(
        FailedCheck(run.folder, arm.name, run.record.seed, check.name, check.detail)
        for arm in one.arms
        for run in arm.runs
        for check in run.record.checks
        if not check.passed
    )


def _versions(one: TaskGroup) -> dict[str, tuple[str, ...]]:
    found: dict[str, set[str]] = {}
    for run in (run for arm in one.arms for run in arm.runs):
        for library, version in run.record.versions.items():
            found.setdefault(library, set()).add(version)
    return {library: tuple(sorted(found[library])) for library in sorted(found)}


def _usable(task: _Task, name: str) -> list[float] | str:
    """Returns the primary scores of an arm, or why no test may use them."""
    broken = [check for check in task.failed if check.arm == name]
    if broken:
        return f"`{name}` failed its own check {broken[0].check!r}, so its runs are not what they claim to be"
    numbers = scores.values(task.runs[name], task.measuring.metric)
    if isinstance(numbers, Undefined):
        return f"`{name}` has no {task.measuring.metric} ({numbers.reason})"
    if len(numbers) < 2:
        return (
            f"`{name}` has one seed; an interval and a verdict need at least two, and differences between seeds of "
            "one arm are often larger than between arms"
        )
    return numbers


_Family = tuple[dict[str, Pair], dict[str, str]]


def _tested(tasks: Sequence[_Task], studies: Mapping[Path, StudyConfig]) -> list[_Tested]:
    """Returns the tests of each task; those of all tasks of a transfer matrix share the level, else of one task.

    A matrix is read as a whole: who looks for its best cell looks at every task.
    """
    families: dict[Path | int, list[int]] = defaultdict(list)
    for index, task in enumerate(tasks):
        folder = study_folder(task.group.arms[0].runs[0].folder)
        is_matrix = folder in studies and bool(studies[folder].source_tasks)
        families[folder if is_matrix else index].append(index)
    found: dict[int, _Tested] = {}
    for members in families.values():
        those = [tasks[index] for index in members]
        to_baseline = _together([_to_baseline(task) for task in those], seed=those[0].seed)
        to_control = _together(
            [_pairs(task, task.controls, first) for task, first in zip(those, to_baseline, strict=True)],
            seed=those[0].seed,
        )
        tests = sum(one.p_value is not None for contrasts in to_baseline for one in contrasts.values())
        for index, first, second in zip(members, to_baseline, to_control, strict=True):
            found[index] = _Tested(first, second, tests, len(members))
    return [found[index] for index in range(len(tasks))]


def _together(families: Sequence[_Family], *, seed: int) -> list[dict[str, Contrast]]:
    """Returns the contrasts of several tasks as one Holm family."""
    pairs = {f"{index}/{name}": pair for index, (some, _) in enumerate(families) for name, pair in some.items()}
    refused = {f"{index}/{name}": why for index, (_, some) in enumerate(families) for name, why in some.items()}
    found = verdicts.contrast_family(pairs, refused, seed=seed)
    return [
        {name: found[f"{index}/{name}"] for name in (*some, *others)} for index, (some, others) in enumerate(families)
    ]


def _to_baseline(task: _Task) -> _Family:
    if task.baseline is None:
        return {}, dict.fromkeys(task.runs, task.baseline_problem)
    pairs, refused = _pairs(task, {name: task.baseline for name in task.runs if name != task.baseline})
    return pairs, refused | {task.baseline: "it is the baseline"}


def _pairs(task: _Task, opponents: Mapping[str, str], also: Mapping[str, Contrast] | None = None) -> _Family:
    """Returns what is to be tested, each arm against its opponent, and why others cannot be.

    Args:
        task: The task.
        opponents: For each arm, what it is compared with.
        also: For each arm, another test that the claim needs too.
    """
    pairs: dict[str, Pair] = {}
    refused: dict[str, str] = {}
    for name, opponent in opponents.items():
        mine, theirs = _usable(task, name), _usable(task, opponent)
        other = None if also is None else also[name]
        if isinstance(mine, str) or isinstance(theirs, str):
            refused[name] = mine if isinstance(mine, str) else str(theirs)
        elif other is not None and (other.p_value is None or other.smallest_p is None):
            refused[name] = other.reason
        else:
            difference = scores.difference(task.runs[name], mine, task.runs[opponent], theirs)
            needed = (other.p_value or 0.0, other.smallest_p or 0.0) if other is not None else (0.0, 0.0)
            pairs[name] = Pair(mine, theirs, difference, needed)
    return pairs, refused


def _origin(
    task: _Task, arm: ArmRuns, against_baseline: Mapping[str, Contrast], against_control: Mapping[str, Contrast]
) -> Origin | None:
    """Returns where the gain of an arm comes from; only for arms that gain, and are no controls themselves."""
    if against_baseline[arm.name].verdict != "positive" or arm.is_control:
        return None
    control = task.controls.get(arm.name)
    return verdicts.origin(
        control=control,
        against_baseline=against_baseline.get(control or ""),
        against_control=against_control.get(arm.name),
        share=_share(task, arm.name, control),
        transfers_policy=arm.transfers_policy,
    )


def _share(task: _Task, arm: str, control: str | None) -> Estimate | None:
    if control is None or task.baseline is None:
        return None
    numbers = [_usable(task, name) for name in (arm, control, task.baseline)]
    if any(isinstance(one, str) for one in numbers):
        return None
    mine, controls, zero = (one for one in numbers if not isinstance(one, str))
    paired = scores.is_paired(task.runs[arm], task.runs[control])
    return stats.share_of_gain(mine, controls, zero, paired=paired)


def _arm(task: _Task, arm: ArmRuns, tested: _Tested, origin: Origin | None) -> Arm:
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
        profile=None if isinstance(primary, Undefined) else stats.profile([primary], _profile_points(task)),
        improvement=scores.improvement(runs, baseline, measuring.metric),
        p_value=contrast.p_value,
        p_adjusted=contrast.p_adjusted,
        smallest_p_adjusted=contrast.smallest_p_adjusted,
        verdict=contrast.verdict,
        reason=contrast.reason,
        detectable=_detectable(task, arm.name, tested),
        origin=origin,
        times=times,
        transfer_ratio=scores.transfer_ratio(runs, baseline, task.random_returns),
        forward_transfer=scores.forward_transfer(runs, baseline, task.group.settings.task.env),
        steps=accounts.steps_account(runs, times, baseline_times[0].time if baseline_times else None),
        total=accounts.total_account(runs, measuring.budget_steps, task.long, measuring.metric),
        retention=scores.retention(runs),
        effort=scores.effort(runs),
        layers=layers_of([run.folder for run in runs], measuring.grid_steps),
    )


def _profile_points(task: _Task) -> np.ndarray:
    """Returns the scores at which the profiles of all arms are drawn."""
    found = [scores.values(runs, task.measuring.metric) for runs in task.runs.values()]
    return stats.profile_points([one for one in found if not isinstance(one, Undefined)])


def _detectable(task: _Task, name: str, tested: _Tested) -> Detectable | None:
    mine, zero = _usable(task, name), _usable(task, str(task.baseline)) if task.baseline else ""
    if tested.against_baseline[name].p_value is None or isinstance(mine, str) or isinstance(zero, str):
        return None
    return verdicts.detectable(mine, zero, task.spread, tested.tests, task.effect)
