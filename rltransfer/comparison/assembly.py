"""Assembles the comparison: finds the runs, groups them, scores them, tests the arms, collects what must be said."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rltransfer import stats
from rltransfer.comparison import notes, scores, verdicts
from rltransfer.comparison.groups import ArmRuns, TaskGroup, control_of, find, group
from rltransfer.comparison.names import safe_names
from rltransfer.comparison.scores import PRIMARY_METRICS, Measuring
from rltransfer.comparison.tables import Arm, Comparison, FailedCheck, Origin, RunScores, TaskComparison
from rltransfer.comparison.verdicts import Contrast
from rltransfer.errors import unknown
from rltransfer.metrics import Undefined
from rltransfer.stats import Estimate

DEFAULT_BASELINE = "scratch"


def compare(
    root: Path | str | Sequence[Path | str],
    *,
    metric: str = "auc",
    threshold: float | None = None,
    baseline: str = DEFAULT_BASELINE,
    seed: int = 0,
    arms: Mapping[str, str] | None = None,
) -> Comparison:
    """Returns the tables of a report on all finished target runs below one or more folders.

    Args:
        root: A study folder, RL Zoo's ``logs``, a single run, or several of these.
        metric: The primary metric, chosen before the runs: ``auc``, ``success_auc`` or ``final``.
        threshold: Return that counts as solved, for the time to threshold; by default what the runs' study or
            environment says. It is never taken from the results.
        baseline: The arm that the others are compared with.
        seed: Seed of every random number of the analysis (bootstrap, Monte Carlo permutations).
        arms: For runs of RL Zoo, which do not say which arm they are: a glob for each arm, relative to the folder, such
            as ``{"scratch": "ppo/CartPole-v1_*"}``. An arm's runs are the matched folders, and those below them.

    Raises:
        RunError: There is no such folder, no finished target run in it, or none that an arm's glob matches.
        UnknownNameError: The metric or a baseline that is not the default does not exist.
    """
    if metric not in PRIMARY_METRICS:
        raise unknown("metric", metric, PRIMARY_METRICS)
    roots = tuple(Path(one) for one in ([root] if isinstance(root, Path | str) else root))
    found = find(roots, arms)
    groups = group(found.finished)
    labels = {arm.label for one in groups for arm in one.arms}
    if baseline != DEFAULT_BASELINE and baseline not in labels:
        raise unknown("arm", baseline, labels)
    names = safe_names([one.task_name for one in groups], [one.title for one in groups])
    tasks = tuple(
        _compare_task(one, name, metric=metric, threshold=threshold, baseline=baseline, seed=seed)
        for one, name in zip(groups, names, strict=True)
    )
    return Comparison(
        roots, metric, baseline, threshold, seed, tasks, dict(arms or {}), found.skipped, found.source_runs
    )


@dataclasses.dataclass(frozen=True)
class _Task:
    """One group with its runs scored: what every step below reads."""

    group: TaskGroup
    measuring: Measuring
    runs: Mapping[str, tuple[RunScores, ...]]
    failed: tuple[FailedCheck, ...]
    baseline: str | None
    baseline_problem: str
    random_returns: tuple[float, ...]
    seed: int

    @property
    def baseline_runs(self) -> tuple[RunScores, ...] | None:
        return None if self.baseline is None else self.runs[self.baseline]

    @property
    def controls(self) -> dict[str, str]:
        """The shuffled control of each arm that has one, by the names of both."""
        pairs = [(control_of(arm, self.group.arms), arm) for arm in self.group.arms]
        return {of.name: control.name for of, control in reversed(pairs) if of is not None}


def _compare_task(
    one: TaskGroup, name: str, *, metric: str, threshold: float | None, baseline: str, seed: int
) -> TaskComparison:
    runs = [run for arm in one.arms for run in arm.runs]
    budget = one.settings.n_timesteps
    level, level_from = _threshold(one, threshold)
    measuring = Measuring(metric, budget, level, scores.grid(runs, budget))
    found, problem = _find_baseline(one, baseline)
    task = _Task(
        group=one,
        measuring=measuring,
        runs={arm.name: tuple(scores.score_run(run, measuring) for run in arm.runs) for arm in one.arms},
        failed=_failed_checks(one),
        baseline=found,
        baseline_problem=problem,
        random_returns=tuple(run.record.random.mean_return for run in runs if run.record.random),
        seed=seed,
    )
    against_baseline = _against_baseline(task)
    against_control = _against_control(task)
    arms = [
        _arm(task, arm, against_baseline[arm.name], _origin(task, arm, against_baseline, against_control))
        for arm in one.arms
    ]
    return TaskComparison(
        name=name,
        title=one.title,
        settings=one.settings,
        arms=tuple(sorted(arms, key=_reading_order)),
        baseline=found,
        threshold=level,
        threshold_from=level_from,
        random_return=float(np.mean(task.random_returns)) if task.random_returns else None,
        grid_steps=measuring.grid_steps,
        failed_checks=task.failed,
        notes=notes.task_notes(one, arms, problem),
        versions=_versions(one),
    )


def _reading_order(arm: Arm) -> tuple[bool, bool, str, bool, str]:
    """Sorts the baseline first, then each arm with its own control behind it, then the other controls."""
    return (
        arm.kind != "baseline",
        arm.kind == "control" and arm.control_of is None,
        arm.control_of or arm.name,
        bool(arm.control_of),
        arm.name,
    )


def _threshold(one: TaskGroup, argument: float | None) -> tuple[float | None, str]:
    if argument is not None:
        return argument, "as given"
    found = [run.record.reward_threshold for arm in one.arms for run in arm.runs]
    levels = {level for level in found if level is not None}
    if len(levels) > 1:
        return None, f"none: the runs disagree ({', '.join(map(str, sorted(levels)))})"
    if not levels:
        return None, "none: neither the command, the study nor the environment names one"
    return levels.pop(), "from the study or the environment"


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


def _family(task: _Task, opponents: Mapping[str, str]) -> dict[str, Contrast]:
    """Returns the contrasts of one Holm family: each arm against its opponent."""
    pairs: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    refused: dict[str, str] = {}
    for name, opponent in opponents.items():
        mine, theirs = _usable(task, name), _usable(task, opponent)
        if isinstance(mine, str) or isinstance(theirs, str):
            refused[name] = mine if isinstance(mine, str) else str(theirs)
        else:
            pairs[name] = (mine, theirs)
    return verdicts.contrast_family(pairs, refused, seed=task.seed)


def _against_baseline(task: _Task) -> dict[str, Contrast]:
    if task.baseline is None:
        return {name: verdicts.untested(task.baseline_problem) for name in task.runs}
    tested = {name: task.baseline for name in task.runs if name != task.baseline}
    return {task.baseline: verdicts.untested("it is the baseline"), **_family(task, tested)}


def _against_control(task: _Task) -> dict[str, Contrast]:
    return _family(task, task.controls)


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
    return stats.share_of_gain(mine, controls, zero, seed=task.seed)


def _arm(task: _Task, arm: ArmRuns, contrast: Contrast, origin: Origin | None) -> Arm:
    runs, baseline, budget = task.runs[arm.name], task.baseline_runs, task.measuring.budget_steps
    time = scores.time_summary(runs, budget)
    saved = scores.steps_saved(runs, baseline)
    of = control_of(arm, task.group.arms)
    return Arm(
        name=arm.name,
        kind="baseline" if arm.name == task.baseline else "control" if arm.is_control else "transfer",
        strategy=arm.strategy,
        control_of=None if of is None else of.name,
        runs=runs,
        band=stats.iqm_band(np.stack([run.curve for run in runs]), seed=task.seed),
        scores={name: scores.score(runs, baseline, name) for name in scores.METRICS},
        improvement=scores.improvement(runs, baseline, task.measuring.metric, seed=task.seed),
        p_value=contrast.p_value,
        p_adjusted=contrast.p_adjusted,
        smallest_p_adjusted=contrast.smallest_p_adjusted,
        verdict=contrast.verdict,
        reason=contrast.reason,
        origin=origin,
        time=time,
        steps_saved=saved,
        transfer_ratio=scores.transfer_ratio(runs, baseline, task.random_returns),
        forward_transfer=scores.forward_transfer(runs, baseline, task.group.settings.task.env),
        steps=scores.steps_account(runs, saved, time, scores.time_summary(baseline, budget) if baseline else None),
    )
