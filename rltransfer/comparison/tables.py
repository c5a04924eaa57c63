"""What a comparison says, as plain frozen data: the report only words and draws it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from rltransfer.metrics import TimeToThreshold, Undefined
from rltransfer.records import RaceFacts, RunRecord, SourceFacts
from rltransfer.stats import Band, CensoredMean, Estimate, Verdict

Cause = Literal["features", "policy", "initialisation scale", "undecided"]
Kind = Literal["baseline", "transfer", "control"]


@dataclasses.dataclass(frozen=True)
class RunScores:
    """One run, reduced to scalars, and its curve on the grid of its task for drawing; of ``auto``, what it tried."""

    folder: Path
    seed: int
    source: SourceFacts | None
    env_steps: int
    scores: dict[str, float | Undefined]
    time: TimeToThreshold | None
    curve: Float[np.ndarray, " points"]
    race: RaceFacts | None = None


@dataclasses.dataclass(frozen=True)
class Score:
    """One metric of one arm over seeds, and its difference to the baseline; None with the reason where undefined."""

    mean: Estimate | None
    difference: Estimate | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where a gain comes from, by the arm's shuffled control, and the share of the gain that the control has too."""

    cause: Cause
    reason: str
    control: str | None = None
    difference: Estimate | None = None
    p_adjusted: float | None = None
    share: Estimate | None = None


@dataclasses.dataclass(frozen=True)
class StepsAccount:
    """What an arm costs per seed: target steps alone, and with the source's; targets until the source has paid off.

    ``source_steps`` is None where the source does not say. ``break_even_targets`` is an upper bound where
    ``at_most`` is set, since scratch was cut at the budget.
    """

    target_steps: float
    source_steps: float | None
    break_even_targets: int | Undefined
    at_most: bool = False

    @property
    def total_steps(self) -> float | None:
        """Source and target steps together."""
        return None if self.source_steps is None else self.source_steps + self.target_steps


@dataclasses.dataclass(frozen=True)
class Arm:
    """All runs of one arm on one task, and what they show. ``verdict`` is None where ``reason`` says why."""

    name: str
    kind: Kind
    strategy: tuple[dict[str, Any], ...]
    control_of: str | None
    runs: tuple[RunScores, ...]
    band: Band
    scores: dict[str, Score]
    improvement: Estimate | None
    p_value: float | None
    p_adjusted: float | None
    smallest_p_adjusted: float | None
    verdict: Verdict | None
    reason: str
    origin: Origin | None
    time: CensoredMean | None
    steps_saved: Estimate | Undefined
    transfer_ratio: float | Undefined
    forward_transfer: float | Undefined
    steps: StepsAccount

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, in order."""
        return tuple(run.seed for run in self.runs)


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
    """The arms of one task under one setting (algorithm, budget, evaluation, hyperparameters)."""

    name: str
    title: str
    settings: RunRecord
    arms: tuple[Arm, ...]
    baseline: str | None
    threshold: float | None
    threshold_from: str
    random_return: float | None
    grid_steps: Int[np.ndarray, " points"]
    failed_checks: tuple[FailedCheck, ...]
    notes: tuple[str, ...]
    versions: dict[str, tuple[str, ...]]

    def arm(self, name: str) -> Arm:
        """Returns the arm of that name.

        Raises:
            KeyError: There is none.
        """
        return next((arm for arm in self.arms if arm.name == name), None) or _missing(name, self.arms)


@dataclasses.dataclass(frozen=True)
class SkippedRun:
    """A target run that is not in the tables, and why; ``seed`` is None where it cannot be read."""

    folder: Path
    arm: str
    seed: int | None
    reason: str


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The report's tables: what ``rltransfer.compare`` returns and ``rltransfer.report.write_report`` writes down.

    ``arms`` are the globs by which runs of RL Zoo were given to arms.
    """

    roots: tuple[Path, ...]
    metric: str
    baseline: str
    threshold: float | None
    seed: int
    tasks: tuple[TaskComparison, ...]
    arms: Mapping[str, str]
    skipped: tuple[SkippedRun, ...]
    source_runs: int


def _missing(name: str, arms: tuple[Arm, ...]) -> Arm:
    raise KeyError(f"no arm {name!r}; there are {', '.join(arm.name for arm in arms)}")
