"""Control: a frozen encoder with the agent's own random weights."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import RandomFrozen
from rltransfer.transfer.layer_counts import LayerCount, layer_counts
from rltransfer.transfer.layer_rules import LayerRules, chosen_layers
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class RandomFrozenMethod(Method[RandomFrozen]):
    """Freezes encoder layers as they were built; running statistics are recomputed for them."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which the chosen encoder layers are frozen."""
        chosen = chosen_layers(self.settings, anatomy)
        return rules.with_(chosen=chosen, frozen=True, recomputes=True, copies_statistics=True)

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that are to be frozen."""
        yield from layer_counts(self.settings)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields frozen layers that are not as built or changed, and heads that did not learn."""
        frozen = run.entries(lambda entry: entry.frozen)
        yield from run.not_as_built(entry for entry in frozen if entry.origin != "recomputed")
        yield from run.not_frozen(frozen) if frozen else ("nothing is frozen",)
        yield from run.not_trained(run.entries(lambda entry: entry.trains))
