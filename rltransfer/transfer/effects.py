"""What a run of training shows of a method's effect: tensors before and after it, beside a run without the method."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from rltransfer.records import MOVED, PlanEntry, RunRecord
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.values import anchored

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.hold import Transfer

Tensors = Mapping[str, torch.Tensor]
CallbackT = TypeVar("CallbackT")


@dataclasses.dataclass(frozen=True)
class TrainedRun:
    """An agent that was trained with a strategy, and what is needed to see what the strategy did.

    Attributes:
        plan: The plan.
        transfer: The plan as it is held on the agent.
        agent: The agent after training.
        initial: Its tensors as it was built.
        applied: Its tensors when the plan was applied.
        trained: Its tensors after training.
        control: The tensors of an agent of the same seed that was trained alike, without the method.
        statistics: The means of VecNormalize's observation statistics when the plan was applied, by key.
        record: The run's record, where ``auto`` trained it.
    """

    plan: Plan
    transfer: "Transfer"
    agent: "BaseAlgorithm"
    initial: Tensors
    applied: Tensors
    trained: Tensors
    control: Tensors
    statistics: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    record: RunRecord | None = None

    def entries(self, condition: Callable[[PlanEntry], Any] = lambda _: True) -> list[PlanEntry]:
        """Returns the entries of the online networks that meet a condition."""
        return [entry for entry in self.plan.entries if entry.twin is None and condition(entry)]

    def callback(self, kind: type[CallbackT]) -> CallbackT | None:
        """Returns the transfer's callback of a kind, None if it has none."""
        return next((callback for callback in self.transfer.callbacks if isinstance(callback, kind)), None)

    def is_changed(self, entry: PlanEntry) -> bool:
        """Returns whether training changed a tensor."""
        return not torch.equal(self.trained[entry.tensor], self.applied[entry.tensor])

    def change(self, entries: Iterable[PlanEntry]) -> tuple[float, float]:
        """Returns how far tensors are from where they started, in all: here, and without the method."""
        return self.distance(entries, self.applied)

    def distance(self, entries: Iterable[PlanEntry], anchors: Tensors) -> tuple[float, float]:
        """Returns how far tensors are from some numbers in all, after training: here, and without the method."""
        listed = list(entries)
        here, without = (
            sum(float((tensors[entry.tensor] - anchors[entry.tensor]).double().square().sum()) for entry in listed)
            for tensors in (self.trained, self.control)
        )
        return here**0.5, without**0.5

    def source_numbers(self, entries: Iterable[PlanEntry]) -> dict[str, torch.Tensor]:
        """Returns the source's numbers in their places in tensors, zero elsewhere."""
        return {entry.tensor: anchored(self.plan, entry, self.applied[entry.tensor])[0] for entry in entries}

    def not_from_source(self, entries: Iterable[PlanEntry]) -> Iterator[str]:
        """Yields the tensors that do not start with the source's numbers, where they should."""
        for entry in entries:
            numbers, places = anchored(self.plan, entry, self.applied[entry.tensor])
            if entry.origin not in MOVED or not torch.equal(self.applied[entry.tensor] * places, numbers):
                yield f"{entry.tensor} does not start with the source's numbers"

    def not_as_built(self, entries: Iterable[PlanEntry]) -> Iterator[str]:
        """Yields the tensors that do not start as the agent was built."""
        for entry in entries:
            if not torch.equal(self.applied[entry.tensor], self.initial[entry.tensor]):
                yield f"{entry.tensor} does not start as the agent was built"

    def not_frozen(self, entries: Iterable[PlanEntry]) -> Iterator[str]:
        """Yields the tensors that training changed."""
        yield from (f"{entry.tensor} changed in training" for entry in entries if self.is_changed(entry))

    def not_trained(self, entries: Iterable[PlanEntry]) -> Iterator[str]:
        """Yields a line if training changed none of some tensors."""
        listed = list(entries)
        if listed and not any(map(self.is_changed, listed)):
            yield f"none of {', '.join(entry.tensor for entry in listed)} changed in training"
