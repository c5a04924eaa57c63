"""The encoder moves under new heads, and is frozen (feature extraction)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.records import MOVED
from rltransfer.strategies import Frozen
from rltransfer.transfer.layer_counts import LayerCount, layer_counts
from rltransfer.transfer.layer_rules import LayerRules, moved_encoder
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class FrozenMethod(Method[Frozen]):
    """Moves encoder layers and holds them bit-identical."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which the chosen encoder layers move and are frozen."""
        moved = moved_encoder(rules, self.settings, anatomy)
        return moved.with_(frozen=True, rates=dict.fromkeys(moved.chosen, 1.0))

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that are to move."""
        yield from layer_counts(self.settings)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields moved layers that do not start with the source's numbers or changed, and heads that did not learn."""
        moved = run.entries(lambda entry: entry.origin in MOVED and entry.role != "head")
        yield from run.not_from_source(moved) if moved else ("no encoder layer moved",)
        # First layers of Q(s, a) that keep their observation columns only have to learn the others.
        partly = {entry.layer for entry in moved if {"fresh", "random"} & {*(entry.columns or ())}}
        yield from run.not_frozen(entry for entry in moved if entry.layer not in partly)
        yield from run.not_trained(run.entries(lambda entry: entry.trains))
