"""The plan of a run as data, as it lies in ``<run>/rltransfer/plan.json``: an entry for every tensor of the agent."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rltransfer.algorithms import Branch, Role
from rltransfer.errors import RunError
from rltransfer.mapping import IndexMap
from rltransfer.records.names import OWN_FOLDER, PLAN

Origin = Literal["initialised", "copied", "mapped", "rescaled", "set", "synced", "recomputed"]
StatisticsStart = Literal["none", "fresh", "copied", "mapped"]
Column = int | Literal["zero", "random", "fresh", "mean"]
Reason = Literal["strategy", "no_place", "inputs", "norm"]
MOVED = ("copied", "mapped")
"""The origins of tensors that hold numbers of the source."""


class PlanEntry(BaseModel):
    """What happens to one tensor of the target agent.

    Attributes:
        tensor: Its name in the target agent.
        origin: Where its values come from: ``initialised`` (as the agent has them), ``copied`` from the source,
            ``mapped`` (from the source's rows and columns that are named), ``rescaled`` (fresh, at the source's norm),
            ``set`` to ``value``, ``synced`` with its ``twin``, ``recomputed`` on observations of the target (running
            statistics, under the weights that are there).
        source: The source's tensor, where it has another name there.
        source_number: Of several sources, the one that it comes from.
        rows: Of a mapped tensor: the source's row for each row, None for one that is as the agent has it; None if all
            are alike.
        columns: Likewise for the second side (of a vector, its entries): the source's column; ``zero``; ``random`` (a
            tenth of what the agent has), ``fresh`` (what the agent has), or the ``mean`` of the source's columns.
        gain: What the source's numbers are multiplied by.
        permuted: Whether the entries that come from the source are permuted on the way.
        trains: Whether an optimizer may change it; False for buffers and target networks too.
        frozen: Whether it is held bit-identical.
        frozen_by_user: Whether that is since the user froze it on the agent, before the plan was made.
        lr_scale: The factor on the learning rate.
        held_until: The env_steps before which no update changes it.
        shrink: What the source's numbers are multiplied by, before ``perturb`` times the agent's own are added.
        perturb: See ``shrink``.
        pull: What the distance from the source's numbers is multiplied by and added to the gradient.
        decay: Likewise the distance from zero, where there are no numbers of the source.
        importance: Likewise the distance from the source's numbers, times each weight's Fisher information there.
        return_pull: Likewise the distance from what the tensor starts from.
        rank: The rank of the update that moves it (as a matrix of its first side and the others); 0 for any update.
        rank_gain: What the product of that update's two factors is multiplied by.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor: str
    layer: str
    branch: Branch
    role: Role
    shape: tuple[int, ...]
    origin: Origin
    source: str | None = None
    source_number: int = 0
    rows: tuple[int | None, ...] | None = None
    columns: tuple[Column, ...] | None = None
    gain: float = 1.0
    value: float | None = None
    twin: str | None = None
    permuted: bool = False
    trains: bool
    frozen: bool
    frozen_by_user: bool = False
    lr_scale: float = 1.0
    held_until: int = 0
    shrink: float = 1.0
    perturb: float = 0.0
    pull: float = 0.0
    decay: float = 0.0
    importance: float = 0.0
    return_pull: float = 0.0
    rank: int = 0
    rank_gain: float = 1.0

    @property
    def is_mixed(self) -> bool:
        """Whether the source's numbers are mixed with the agent's own."""
        return self.shrink != 1.0 or self.perturb != 0.0

    @property
    def source_tensor(self) -> str:
        """The name of the source's tensor."""
        return self.source or self.tensor

    @property
    def size(self) -> int:
        """The number of values in the tensor."""
        return math.prod(self.shape)

    @property
    def moved_size(self) -> int:
        """The number of values that come from the source: what new inputs and actions start with is not among them."""
        if self.origin not in MOVED:
            return 0
        size = self.size
        if self.rows is not None:
            size = size // len(self.rows) * sum(row is not None for row in self.rows)
        if self.columns is not None:
            size = (
                size // len(self.columns) * sum(isinstance(column, int) or column == "mean" for column in self.columns)
            )
        return size

    @property
    def full_rank(self) -> int:
        """The highest rank of its matrix: first side by the others."""
        return min(self.shape[0], self.size // self.shape[0]) if len(self.shape) > 1 else 1

    @property
    def trained_size(self) -> int:
        """The number of values that are learned: of a low-rank update, those of its factors."""
        if not self.trains:
            return 0
        return self.rank * (self.shape[0] + self.size // self.shape[0]) if self.rank else self.size


class LeftOut(BaseModel):
    """A tensor of the source of which nothing, or not everything, moves.

    Attributes:
        tensor: Its name in the source.
        layer: The source's layer that it belongs to.
        source_number: Of several sources, the one that it belongs to.
        size: The number of its values.
        values: How many of them are left out.
        reason: ``strategy`` leaves it out, the agent has ``no_place`` for it, or lacks the ``inputs`` or actions that
            it goes with; or only its ``norm`` is used.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor: str
    layer: str
    source_number: int = 0
    size: int
    values: int
    reason: Reason


class InputMap(BaseModel):
    """Where one part of the observation comes from: the source's key (None: it is new), and its entry for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str | None
    entries: IndexMap | None


class StatisticsPlan(BaseModel):
    """What happens to the VecNormalize statistics of the target agent's environments.

    Of ``mapped`` ones, new entries start at mean 0 and variance 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    observation: StatisticsStart = "none"
    hold_observation: bool = False
    reward: StatisticsStart = "none"


class Finding(BaseModel):
    """Something about a transfer that its user should know, in words for people and by kind and numbers for tools."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    severity: Literal["note", "warning"]
    words: str
    numbers: dict[str, float] = {}

    def __str__(self) -> str:
        return f"{self.severity}: {self.words}"


class PlanFacts(BaseModel):
    """A plan without the weights that it needs; ``rltransfer.transfer.Plan`` explains its fields.

    Attributes:
        strategy: The settings of its methods.
        source: The facts of the source, None for a strategy without one.
        other_sources: Those of further sources.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = 1
    strategy: tuple[dict[str, Any], ...]
    algo: str
    seed: int
    source: dict[str, Any] | None = None
    other_sources: tuple[dict[str, Any], ...] = ()
    statistics: StatisticsPlan
    optimizer_moments: Literal["fresh"] = "fresh"
    critic_warmup_steps: int
    quiet_steps: int | None
    # What has a default from here on, plans of 0.1 may lack.
    statistics_steps: int = 0
    totals: dict[str, int]
    inputs: dict[str, InputMap]
    actions: IndexMap | None = None
    findings: tuple[Finding, ...]
    left_out: tuple[LeftOut, ...] = ()
    entries: tuple[PlanEntry, ...]

    def same_moves(self, other: "PlanFacts") -> bool:
        """Returns whether two plans do the same, whichever source they read and whatever they remark."""
        unrelated = {"seed", "source", "other_sources", "findings"}
        return self.model_dump(exclude=unrelated) == other.model_dump(exclude=unrelated)


def moved_words(totals: Mapping[str, int]) -> str:
    """Returns how many values a plan moves, and of how many of the source's; one of them can go to several places.

    >>> moved_words({"moved": 320, "source_moved": 320, "source_values": 450})
    "320 of the source's 450"
    """
    moved, given, size = (totals.get(name, 0) for name in ("moved", "source_moved", "source_values"))
    if not size:
        return f"{moved:,}"
    if moved == given:
        return f"{moved:,} of the source's {size:,}"
    return f"{moved:,} (from {given:,} of the source's {size:,})"


def read_plan_facts(run_folder: Path) -> PlanFacts | None:
    """Returns what a run's plan says, None for a run that has no plan.

    Raises:
        RunError: The plan cannot be read.
    """
    path = run_folder / OWN_FOLDER / PLAN
    try:
        return PlanFacts.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as a plan: {error}") from None
