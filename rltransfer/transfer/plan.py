"""What a transfer will do: the data of its plan, beside the weights that it needs."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rltransfer.artifact import Encoder
from rltransfer.errors import SourceError
from rltransfer.mapping import IndexMap
from rltransfer.records import Finding, InputMap, LeftOut, PlanEntry, PlanFacts, StatisticsPlan
from rltransfer.strategies import Strategy, dump_strategy, parse_strategy
from rltransfer.transfer.plan_table import plan_table


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

    def facts(self) -> PlanFacts:
        """Returns the data of the plan, without the weights."""
        return PlanFacts(
            strategy=dump_strategy(self.strategy),
            algo=self.algo,
            seed=self.seed,
            source=None if self.encoder is None else self.encoder.source.model_dump(mode="json"),
            other_sources=tuple(encoder.source.model_dump(mode="json") for encoder in self.others),
            statistics=self.statistics,
            critic_warmup_steps=self.critic_warmup_steps,
            quiet_steps=self.quiet_steps,
            statistics_steps=self.statistics_steps,
            totals=self.totals(),
            inputs=dict(self.inputs),
            actions=self.actions,
            findings=self.findings,
            left_out=self.left_out,
            entries=self.entries,
        )

    def to_json(self) -> dict[str, Any]:
        """Returns the plan as plain JSON data, without the weights."""
        return self.facts().model_dump(mode="json")

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
        return plan_table(self.facts(), self.strategy)


def read_plan(path: Path | str) -> Plan:
    """Returns the plan of a run (``<run>/rltransfer/plan.json``), to be held again after a load or a resume.

    Raises:
        SourceError: The file is missing or is not a plan.
    """
    try:
        facts = PlanFacts.model_validate_json(Path(path).read_bytes())
        return Plan(
            strategy=parse_strategy([dict(method) for method in facts.strategy]),
            algo=facts.algo,
            seed=facts.seed,
            entries=facts.entries,
            statistics=facts.statistics,
            critic_warmup_steps=facts.critic_warmup_steps,
            quiet_steps=facts.quiet_steps,
            statistics_steps=facts.statistics_steps,
            inputs=facts.inputs,
            actions=facts.actions,
            findings=facts.findings,
            source_values=facts.totals.get("source_values", 0),
            left_out=facts.left_out,
        )
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise SourceError(f"{path} is not a plan of rltransfer: {error}") from None
