"""New layers beside the frozen layers of one source or several, which they also read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import Progressive
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class ProgressiveMethod(Method[Progressive]):
    """Fills the columns of an agent from its sources and holds them; all else is the agent's own."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which the columns are filled and frozen."""
        columns = frozenset(layer.name for layer in anatomy.online if layer.role == "column")
        return rules.with_(chosen=columns, origin="copied", frozen=True, copies_statistics=True)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields columns that do not hold a source's numbers or changed, and own layers that did not learn."""
        columns = run.entries(lambda entry: entry.role == "column")
        yield from run.not_from_source(columns) if columns else ("the agent has no columns",)
        yield from run.not_frozen(columns)
        yield from run.not_trained(run.entries(lambda entry: entry.trains))
