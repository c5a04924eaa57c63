"""Lower learning rates for earlier layers (ULMFiT; Howard & Ruder 2018)."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.records import PlanEntry
from rltransfer.strategies import Discriminative
from rltransfer.transfer.layer_rules import LayerRules, head_distances
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class DiscriminativeMethod(Method[Discriminative]):
    """Multiplies each layer's rate by ``decay`` to its distance from the heads."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns the rules with lower rates for earlier layers."""
        decay = self.settings.decay
        rates = {
            name: rules.rates.get(name, 1.0) * decay**distance for name, distance in head_distances(anatomy).items()
        }
        return rules.with_(rates=rates)

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:
        """Returns ``lr_scale`` where it changes the rate of one of the layers."""
        return "lr_scale" if any(rules.rates.get(name, 1.0) != 1.0 for name in layers) else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:
        """Returns whether one of these layers would learn at another rate."""
        return any(entry.layer in rules.chosen for entry in frozen)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields layers that moved as far as at the full rate."""
        slowed = run.entries(lambda entry: entry.trains and entry.lr_scale < 1.0)
        if not slowed:
            yield "no layer learns at a lower rate"
            return
        change, at_full_rate = run.change(slowed)
        if change >= at_full_rate:
            yield f"layers with lower rates changed by {change:.3g}, and by {at_full_rate:.3g} at the full rate"
        yield from run.not_trained(slowed)
