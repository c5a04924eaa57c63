"""What a transfer will do, as data: one entry for every tensor of the target agent, and what is not weights."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from rltransfer.anatomy import Branch, Role
from rltransfer.artifact import Encoder
from rltransfer.errors import SourceError
from rltransfer.mapping import IndexMap
from rltransfer.strategies import Strategy, dump_strategy, parse_strategy

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
        size = 1
        for length in self.shape:
            size *= length
        return size

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


@dataclasses.dataclass(frozen=True)
class Plan:
    """A decided transfer; print it to read it, ``apply_plan`` to do it.

    ``encoder`` holds the source's weights; it is None for strategies without a source and for a plan read from a file,
    which can be held but not applied. ``others`` are further sources, where there are several.

    ``inputs`` says where each part of the observation comes from, by key (empty where it is no dictionary); ``actions``
    the source's action for each of the target's, None where they are alike.
    ``critic_warmup_steps`` are the env_steps during which the actor is held while the critic learns.
    ``quiet_steps`` are those at the start of an off-policy agent that acts by what it knows: they take the place of
    random actions, and no update counts in them. None: the agent explores as SB3 starts it.
    ``statistics_steps`` are the env_steps of a random policy that running statistics are recomputed on.
    ``fresh`` holds the agent's own weights as it was planned for, where a pull leads back to what they make; None in a
    plan read from a file.
    ``source_values`` is how many values the sources' online networks have, where the strategy moves weights, and
    ``left_out`` names the tensors of which some do not move.
    """

    strategy: Strategy
    algo: str
    seed: int
    entries: tuple[PlanEntry, ...]
    statistics: StatisticsPlan
    critic_warmup_steps: int = 0
    quiet_steps: int | None = None
    statistics_steps: int = 0
    inputs: Mapping[str, InputMap] = dataclasses.field(default_factory=dict)
    actions: IndexMap | None = None
    findings: tuple[Finding, ...] = ()
    encoder: Encoder | None = dataclasses.field(default=None, repr=False, compare=False)
    others: tuple[Encoder, ...] = dataclasses.field(default=(), repr=False, compare=False)
    fresh: Mapping[str, torch.Tensor] | None = dataclasses.field(default=None, repr=False, compare=False)
    source_values: int = 0
    left_out: tuple[LeftOut, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """The findings in words."""
        return tuple(finding.words for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as plain JSON data, without the weights."""
        return {
            "schema_version": 1,
            "strategy": list(dump_strategy(self.strategy)),
            "algo": self.algo,
            "seed": self.seed,
            "source": None if self.encoder is None else self.encoder.source.model_dump(mode="json"),
            "other_sources": [encoder.source.model_dump(mode="json") for encoder in self.others],
            "statistics": self.statistics.model_dump(mode="json"),
            "optimizer_moments": "fresh",
            "critic_warmup_steps": self.critic_warmup_steps,
            "quiet_steps": self.quiet_steps,
            "statistics_steps": self.statistics_steps,
            "totals": self.totals(),
            "inputs": {key: part.model_dump(mode="json") for key, part in self.inputs.items()},
            "actions": self.actions,
            "findings": [finding.model_dump(mode="json") for finding in self.findings],
            "left_out": [tensor.model_dump(mode="json") for tensor in self.left_out],
            "entries": [entry.model_dump(mode="json") for entry in self.entries],
        }

    def totals(self) -> dict[str, int]:
        """Returns how many values of the online networks are moved, frozen, trained, and how many there are.

        ``source_values`` are those of the sources where weights move, ``source_moved`` those of them that move.
        """
        online = [entry for entry in self.entries if entry.branch != "target"]
        return {
            "values": sum(entry.size for entry in online),
            "moved": sum(entry.moved_size for entry in online),
            "frozen": sum(entry.size for entry in online if entry.frozen),
            "trained": sum(entry.trained_size for entry in online),
            "source_values": self.source_values,
            "source_moved": self.source_values - sum(tensor.values for tensor in self.left_out),
        }

    def __str__(self) -> str:
        """Returns the plan as a table: a line for each tensor, what is not weights, and the totals."""
        from rltransfer.transfer.plan_table import plan_table

        return plan_table(self)


def read_plan(path: Path | str) -> Plan:
    """Returns the plan of a run (``<run>/rltransfer/plan.json``), to be held again after a load or a resume.

    Raises:
        SourceError: The file is missing or is not a plan.
    """
    try:
        content = json.loads(Path(path).read_text())
        return Plan(
            strategy=parse_strategy(content["strategy"]),
            algo=content["algo"],
            seed=content["seed"],
            entries=tuple(PlanEntry.model_validate(entry) for entry in content["entries"]),
            statistics=StatisticsPlan.model_validate(content["statistics"]),
            critic_warmup_steps=content["critic_warmup_steps"],
            quiet_steps=content["quiet_steps"],
            statistics_steps=content.get("statistics_steps", 0),
            inputs={key: InputMap.model_validate(part) for key, part in content["inputs"].items()},
            actions=None if content.get("actions") is None else tuple(content["actions"]),
            findings=tuple(Finding.model_validate(finding) for finding in content["findings"]),
            # Plans of 0.1 do not tell.
            source_values=content["totals"].get("source_values", 0),
            left_out=tuple(LeftOut.model_validate(tensor) for tensor in content.get("left_out", ())),
        )
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    except (KeyError, TypeError, ValidationError, ValueError) as error:
        raise SourceError(f"{path} is not a plan of rltransfer: {error}") from None
