"""What a comparison says, as plain frozen data: the report only words and draws it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from rltransfer.comparison.representation import Layers
from rltransfer.metrics import TimeToThreshold, Undefined
from rltransfer.records import RaceFacts, RunRecord, SourceFacts
from rltransfer.reference_returns import Reference
from rltransfer.stats import Band, CensoredMean, Coverage, Estimate, Profile, Verdict

UNREADABLE = "cannot be read"
Cause = Literal["features", "policy", "initialisation scale", "undecided"]
Kind = Literal["baseline", "transfer", "control"]


@dataclasses.dataclass(frozen=True)
class RunScores:
    """One run, reduced to scalars, and its curve on the grid of its task for drawing; of ``auto``, what it tried.

    ``times`` are those to the task's thresholds, in their order. ``retention`` is the last agent's mean return in the
    source task. ``n_updates`` is SB3's count, None in records of before it was kept. ``ended`` is when the run ended,
    in seconds since 1970 and as if it had gone on without a pause; 0 where that is not known.
    """

    folder: Path
    seed: int
    source: SourceFacts | None
    env_steps: int
    scores: dict[str, float | Undefined]
    times: tuple[TimeToThreshold, ...]
    curve: Float[np.ndarray, " points"]
    retention: float | Undefined
    wall_seconds: float
    evaluation_seconds: float | None
    n_updates: int | None
    ended: float = 0.0
    race: RaceFacts | None = None

    @property
    def time(self) -> TimeToThreshold | None:
        """The time to the first threshold."""
        return self.times[0] if self.times else None


@dataclasses.dataclass(frozen=True)
class Score:
    """One metric of one arm over seeds, and its difference to the baseline; None with the reason where undefined."""

    mean: Estimate | None
    difference: Estimate | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Robust:
    """The primary metric of an arm without trust in its mean.

    ``iqm`` and ``median`` bear outliers, ``iqm_difference`` is to the baseline's; ``optimality_gap`` is how far runs
    fall short of the reference (0: none does), on normalised scores.
    """

    iqm: Estimate
    iqm_difference: Estimate | None
    median: Estimate
    optimality_gap: Estimate | Undefined


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a gain comes from, by the arm's shuffled control, and the share of the gain that the control has too.

    ``p_adjusted`` is of "the arm beats the baseline and its control": the larger p of the two, after Holm over arms
    with a control.
    """

    cause: Cause
    reason: str
    control: str | None = None
    difference: Estimate | None = None
    p_adjusted: float | None = None
    share: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class ThresholdTime:
    """How long an arm took to one threshold, with times cut at the budget, and how much earlier than the baseline."""

    level: float
    time: CensoredMean
    steps_saved: Estimate | Undefined


@dataclasses.dataclass(frozen=True)
class NamedEffect:
    """How a difference that somebody named, and never the observed one, would be found by a test.

    ``power`` is that of this study's seeds; ``seeds`` an arm are needed for the power of ``Detectable``, None where
    1,000 are too few. ``cautious_seeds`` are needed where the spread is at the upper end of its 80 % interval.
    """

    effect: float
    power: float
    seeds: int | None
    cautious_seeds: int | None


@dataclasses.dataclass(frozen=True)
class Detectable:
    """Which true difference to the baseline an arm's test had ``power`` to find, at ``level`` (0.05 over the tests).

    ``sd`` is the spread over seeds that this was computed from, ``sd_from`` where it comes from. ``effect`` is infinite
    where so few seeds can find none. ``named`` is the difference that was asked for.
    """

    effect: float
    power: float
    level: float
    sd: float
    sd_from: str
    named: NamedEffect | None = None


@dataclasses.dataclass(frozen=True)
class StepsAccount:
    """What an arm costs per seed: target steps alone, and with the source's; targets until the source has paid off.

    ``source_steps`` is None where the source does not say. ``break_even_targets`` is an upper bound where
    ``at_most`` is set, since scratch was cut at the budget. ``break_even_range`` is its 95 % interval from that of the
    steps saved; its end is None where the arm may save nothing.
    """

    target_steps: float
    source_steps: float | None
    break_even_targets: int | Undefined
    at_most: bool = False
    break_even_range: tuple[int, int | None] | None = None

    @property
    def total_steps(self) -> float | None:
        """Source and target steps together."""
        return None if self.source_steps is None else self.source_steps + self.target_steps


@dataclasses.dataclass(frozen=True)
class TotalAccount:
    """An arm against scratch that was trained for as many steps as source and target together.

    The primary metric of the arm, of the long scratch over the same total steps, and their difference (Welch, not
    part of the verdict).
    """

    total_steps: float
    arm: Estimate
    scratch_long: Estimate
    difference: Estimate


@dataclasses.dataclass(frozen=True)
class Retention:
    """What is left of the source task: the last agent's return in it, and its change from the source agent's own."""

    mean: Estimate
    change: Estimate | None


@dataclasses.dataclass(frozen=True)
class Effort:
    """What a run of an arm costs on average.

    ``evaluation_seconds`` are those of ``wall_seconds`` in which agents were evaluated, ``n_updates`` is SB3's count
    (None: not all runs recorded it).
    """

    wall_seconds: float
    evaluation_seconds: float | None
    env_steps: float
    n_updates: float | None


@dataclasses.dataclass(frozen=True)
class Selection:
    """That an arm was picked among the ``among`` arms of a sweep, so that its gain is flattered by the choice.

    ``fresh`` is the same arm on seeds that did not pick it, whose verdict is the arm's own; without it the arm is a
    candidate, and ``reason`` says what is lacking.
    """

    among: int
    fresh: "Arm | None"
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Arm:
    """All runs of one arm on one task, and what they show. ``verdict`` is None where ``reason`` says why.

    ``scores`` are by metric: besides those of the runs ``normalised``, the primary metric on the task's scale from
    random policy to reference. ``detectable`` says what its test could have found, None without a test or a spread.
    ``layers`` is what its layers represented, None where no run recorded it.
    ``selection`` is set where a sweep picked the arm: verdict, p-value and origin are then of its fresh seeds.
    """

    name: str
    kind: Kind
    strategy: tuple[dict[str, Any], ...]
    control_of: str | None
    runs: tuple[RunScores, ...]
    band: Band
    scores: dict[str, Score]
    robust: Robust | None
    profile: Profile | None
    improvement: Estimate | None
    p_value: float | None
    p_adjusted: float | None
    smallest_p_adjusted: float | None
    verdict: Verdict | None
    reason: str
    detectable: Detectable | None
    origin: Origin | None
    times: tuple[ThresholdTime, ...]
    transfer_ratio: Estimate | Undefined
    forward_transfer: Estimate | Undefined
    steps: StepsAccount
    total: TotalAccount | Undefined
    retention: Retention | Undefined
    effort: Effort
    layers: Layers | None = None
    selection: Selection | None = None

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in order."""
        return tuple(run.seed for run in self.runs)

    @property
    def time(self) -> CensoredMean | None:
        """The time to the first threshold."""
        return self.times[0].time if self.times else None

    @property
    def steps_saved(self) -> Estimate | Undefined:
        """How much earlier than the baseline the arm reached the first threshold."""
        if not self.times:
            return Undefined("there is no threshold: give one with --threshold or in the study file")
        return self.times[0].steps_saved


@dataclasses.dataclass(frozen=True)
class FailedCheck:
    """A run that broke a promise it checks itself, for example that frozen tensors are bit-identical."""

    folder: Path
    arm: str
    seed: int
    check: str
    detail: str


@dataclasses.dataclass(frozen=True)
class TaskComparison:
    """The arms of one task under one setting (algorithm, budget, evaluation, hyperparameters).

    ``reference`` is the scale of normalised scores. ``coverages`` say how often intervals of so few runs were measured
    to hold the truth, for each kind of interval that the task has. ``scratch_long`` are the runs of scratch with a
    larger budget that total accounting compares with; their scores are over that budget.
    """

    name: str
    title: str
    settings: RunRecord
    arms: tuple[Arm, ...]
    baseline: str | None
    thresholds: tuple[float, ...]
    threshold_from: str
    random_return: float | None
    reference: Reference | Undefined
    coverages: tuple[Coverage, ...]
    scratch_long: tuple[RunScores, ...]
    scratch_long_steps: int | None
    grid_steps: Int[np.ndarray, " points"]
    failed_checks: tuple[FailedCheck, ...]
    notes: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]

    @property
    def threshold(self) -> float | None:
        """The first threshold, which steps saved and break-even are about."""
        return self.thresholds[0] if self.thresholds else None

    def arm(self, name: str) -> Arm:
        """Returns the arm of that name.

        Raises:
            KeyError: There is none.
        """
        return next((arm for arm in self.arms if arm.name == name), None) or _missing(name, self.arms)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One place in the picture of a sweep: an arm, or the baseline where nothing is moved; None: no finished run."""

    task: str
    arm: Arm | None


@dataclasses.dataclass(frozen=True)
class EffectGrid:
    """Differences to the baseline by two settings: layers moved by how they may change, or sources by targets.

    ``name`` is that of its figure. ``task`` is the one that it is about, None for a matrix of tasks. ``cells`` are row
    by row.
    """

    name: str
    title: str
    task: str | None
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Cell, ...], ...]


@dataclasses.dataclass(frozen=True)
class EffectLine:
    """Differences to the baseline by how long the source was trained, a line for each strategy of the sweep.

    ``points`` are by strategy: the steps that were asked for, and the arm, None where it has no finished run.
    ``source_steps`` is what the longest source run took, ``seeds`` how many there are: what the whole sweep cost.
    """

    name: str
    title: str
    task: str
    points: dict[str, tuple[tuple[int, Arm | None], ...]]
    source_steps: int
    seeds: int


@dataclasses.dataclass(frozen=True)
class SkippedRun:
    """A target run that is not in the tables, and why; ``seed`` is None where it cannot be read.

    ``strategy`` is what it does, or would do, where that is known.
    """

    folder: Path
    arm: str
    seed: int | None
    reason: str
    task_name: str = ""
    strategy: tuple[dict[str, Any], ...] = ()

    @property
    def state(self) -> str:
        """The reason without its details, for counting."""
        return next((state for state in ("failed", UNREADABLE) if self.reason.startswith(state)), self.reason)


@dataclasses.dataclass(frozen=True)
class ArmAcrossTasks:
    """One arm over several tasks, on normalised scores of the primary metric; intervals are over seeds, not tasks.

    ``improvement`` and ``mean_difference`` are against the baseline on the same tasks, None for the baseline.
    """

    name: str
    tasks: tuple[str, ...]
    mean: Estimate
    median: Estimate
    iqm: Estimate
    optimality_gap: Estimate
    mean_difference: Estimate | None
    improvement: Estimate | None
    profile: Profile


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The report's tables: what ``rltransfer.compare`` returns and ``rltransfer.report.write_report`` writes down.

    ``arms`` are the globs by which runs of RL Zoo were given to arms.
    ``thresholds``, ``sd`` and ``effect`` are those that were asked for, as given. ``across`` is empty unless arms share
    several tasks with normalised scores; ``across_reason`` says what is lacking. ``skipped`` lie on disk, ``missing``
    are named by a study and have left nothing yet; ``problems`` are what could not be read of the studies. ``sweeps``
    are the pictures of layer sweeps, transfer matrices and source budgets.
    """

    roots: tuple[Path, ...]
    metric: str
    baseline: str
    thresholds: tuple[float | str, ...]
    sd: float | None
    effect: float | None
    seed: int
    tasks: tuple[TaskComparison, ...]
    arms: Mapping[str, str]
    across: tuple[ArmAcrossTasks, ...]
    across_reason: str
    skipped: tuple[SkippedRun, ...]
    missing: tuple[SkippedRun, ...]
    problems: tuple[str, ...]
    source_runs: int
    sweeps: tuple[EffectGrid | EffectLine, ...] = ()


def _missing(name: str, arms: tuple[Arm, ...]) -> Arm:
    raise KeyError(f"no arm {name!r}; there are {', '.join(arm.name for arm in arms)}")
