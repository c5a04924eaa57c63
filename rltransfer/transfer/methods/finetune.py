"""The encoder moves under new heads, and everything is trained."""

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.records import MOVED
from rltransfer.strategies import Finetune
from rltransfer.transfer.layer_counts import LayerCount, layer_counts
from rltransfer.transfer.layer_rules import LayerRules, chosen_layers, moved_encoder
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class FinetuneMethod(Method[Finetune]):
    """Moves encoder layers, which learn at ``lr_scale`` times the agent's rate."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which the chosen encoder layers move."""
        rates = dict.fromkeys(chosen_layers(self.settings, anatomy), self.settings.lr_scale)
        return moved_encoder(rules, self.settings, anatomy).with_(rates=rates)

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that are to move."""
        yield from layer_counts(self.settings)

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:
        """Returns ``lr_scale`` where it changes the rate of one of the layers."""
        return "lr_scale" if any(rules.rates.get(name, 1.0) != 1.0 for name in layers) else ""

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields moved layers that do not start with the source's numbers, or did not learn, and heads that moved."""
        moved = run.entries(lambda entry: entry.origin in MOVED and entry.role != "head")
        yield from run.not_from_source(moved) if moved else ("no encoder layer moved",)
        yield from run.not_trained(entry for entry in moved if entry.trains)
        yield from run.not_as_built(
            run.entries(lambda entry: entry.role == "head" and entry.origin != "set" and "log_" not in entry.tensor)
        )
