"""Nothing moves: the baseline that every claim is measured against."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import Scratch
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class ScratchMethod(Method[Scratch]):
    """Leaves every tensor as the agent was built."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are: no layer is chosen."""
        return rules

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields what did not start as the agent was built, apart from heads that another method sets."""
        yield from run.not_as_built(run.entries(lambda entry: entry.origin == "initialised"))
        for entry in run.entries(lambda entry: entry.origin not in ("initialised", "set")):
            yield f"{entry.tensor} is {entry.origin}"
