"""Scores the runs of one target task: what its tests and its tables read."""

import dataclasses
from collections.abc import Mapping

from rltransfer.comparison import scales, scores
from rltransfer.comparison.groups import TaskGroup, control_of
from rltransfer.comparison.scores import Measuring
from rltransfer.comparison.source_costs import LongScratch
from rltransfer.comparison.tables import FailedCheck, RunScores
from rltransfer.config import StudyTask, Threshold
from rltransfer.metrics import Undefined
from rltransfer.stats import Spread

DEFAULT_BASELINE = "scratch"


@dataclasses.dataclass(frozen=True)
class Asked:
    """What the caller of ``compare`` asked for; see there."""

    metric: str
    thresholds: tuple[Threshold, ...]
    baseline: str
    sd: float | None
    effect: float | None
    seed: int


@dataclasses.dataclass(frozen=True)
class ScoredTask:
    """One group with its runs scored.

    Attributes:
        group: Its arms and their runs.
        measuring: How they are scored.
        runs: The scores of each arm's runs.
        long: The runs of ``scratch_long``, if there are any.
        failed: Self-checks that did not hold.
        baseline: The arm that the others are compared with; None where ``baseline_problem`` says why there is none.
        baseline_problem: Why there is no baseline.
        threshold_from: Where the thresholds come from.
        random_returns: What a random policy earns, for each seed.
        spread: The spread over seeds that somebody named.
        effect: The difference that somebody wants to be found.
        seed: Seed of the analysis.
    """

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
        """The scores of the baseline's runs."""
        return None if self.baseline is None else self.runs[self.baseline]

    @property
    def controls(self) -> dict[str, str]:
        """The shuffled control of each arm that has one, by the names of both."""
        pairs = [(control_of(arm, self.group.arms), arm) for arm in self.group.arms]
        return {of.name: control.name for of, control in reversed(pairs) if of is not None}


def score_task(task: TaskGroup, asked: Asked, study: StudyTask | None) -> ScoredTask:
    """Returns a group with its runs scored, as asked for, or else as its study says."""
    runs = [run for arm in task.arms for run in arm.runs]
    budget = task.settings.n_timesteps
    scale = scales.reference(task, study)
    levels, origin = scales.thresholds(task, asked.thresholds, scale)
    measuring = Measuring(asked.metric, budget, levels, scale, scores.grid(runs, budget))
    baseline, problem = _find_baseline(task, asked.baseline)
    sd = asked.sd if asked.sd is not None or study is None else study.sd
    return ScoredTask(
        group=task,
        measuring=measuring,
        runs={arm.name: tuple(scores.score_run(run, measuring) for run in arm.runs) for arm in task.arms},
        long=_long(task, measuring),
        failed=_failed_checks(task),
        baseline=baseline,
        baseline_problem=problem,
        threshold_from=origin,
        random_returns=scales.random_returns(task),
        spread=None if sd is None else Spread(sd),
        effect=asked.effect if asked.effect is not None or study is None else study.effect,
        seed=asked.seed,
    )


def _long(task: TaskGroup, measuring: Measuring) -> LongScratch | None:
    arm = task.scratch_long
    if arm is None:
        return None
    budget = arm.runs[0].record.n_timesteps
    over_it = dataclasses.replace(measuring, budget_steps=budget, grid_steps=scores.grid(arm.runs, budget))
    return LongScratch(arm, tuple(scores.score_run(run, over_it) for run in arm.runs), budget)


def _find_baseline(task: TaskGroup, baseline: str) -> tuple[str | None, str]:
    """Returns the name of the baseline arm, or None and why there is none."""
    named = [arm.name for arm in task.arms if arm.label == baseline]
    if not named and baseline == DEFAULT_BASELINE:
        named = [arm.name for arm in task.arms if [part.get("kind") for part in arm.strategy] == [DEFAULT_BASELINE]]
    if not named:
        return None, f"the baseline `{baseline}` has no finished run on this task with these settings"
    if len(named) > 1:
        return None, f"the baseline `{baseline}` is not one arm but {', '.join(f'`{name}`' for name in named)}"
    return named[0], ""


def _failed_checks(task: TaskGroup) -> tuple[FailedCheck, ...]:
    return tuple(
        FailedCheck(run.folder, arm.name, run.record.seed, check.name, check.detail)
        for arm in task.arms
        for run in arm.runs
        for check in run.record.checks
        if not check.passed
    )


def usable(task: ScoredTask, name: str) -> list[float] | str:
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
