"""Layers held at first and released from the heads down (ULMFiT; Howard & Ruder 2018)."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.records import PlanEntry
from rltransfer.strategies import GradualUnfreeze
from rltransfer.transfer.layer_counts import refuse_idle_steps
from rltransfer.transfer.layer_rules import LayerRules, head_distances
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class GradualUnfreezeMethod(Method[GradualUnfreeze]):
    """Holds each layer until the step of its distance from the heads."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns the rules with a step for each layer before which it is held.

        Raises:
            IncompatibleError: At one of the steps no layer is released.
        """
        at, distances = self.settings.at, head_distances(anatomy)
        refuse_idle_steps(self.settings, anatomy, rules.chosen, distances)
        return rules.with_(held_until={name: at[min(far, len(at)) - 1] for name, far in distances.items()})

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:
        """Returns its kind where it holds one of the layers."""
        return self.settings.kind if any(rules.held_until.get(name, 0) for name in layers) else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:
        """Returns whether one of these layers would be held and released."""
        return any(entry.layer in rules.chosen for entry in frozen)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields layers that changed before their step, and layers that are not held at all."""
        steps = run.transfer.done_steps
        held = run.entries(lambda entry: entry.held_until > steps)
        released = run.entries(lambda entry: 0 < entry.held_until <= steps and entry.trains)
        if not held and not released:
            yield "no layer is held"
        yield from run.not_frozen(held)
        yield from run.not_trained(released)
        if released:
            change, from_the_start = run.change(released)
            if change >= from_the_start:
                yield f"released layers changed by {change:.3g}, and by {from_the_start:.3g} where they never were held"
        for check in run.transfer.checks():
            if check.name == "layers held until they were released" and not check.passed:
                yield f"{check.name}: {check.detail}"
