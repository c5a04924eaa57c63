"""Nothing moves: the baseline that every claim is measured against."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import Scratch
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.matching.pair import Pair


class ScratchMethod(Method[Scratch]):
    """Leaves every tensor as the agent was built, but for the running statistics of a network that was drawn."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns the rules as they are: no layer is chosen. A network's running statistics are recomputed."""
        if self.settings.arch is None:
            return rules
        return rules.with_(chosen=frozenset(layer.name for layer in anatomy.encoders()), recomputes=True)

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if the architecture is to be that of a source that is an agent."""
        if self.settings.arch is not None and plan.encoder is not None and plan.encoder.source.network is None:
            raise IncompatibleError(
                f"scratch with arch {self.settings.arch!r} is of a pretrained network, and {plan.encoder.source.path} "
                "is an agent, whose architecture 'scratch' has already. Leave arch out."
            )

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields what did not start as the agent was built, apart from heads that another method sets."""
        yield from run.not_as_built(run.entries(lambda entry: entry.origin == "initialised"))
        expected = ("initialised", "set") if self.settings.arch is None else ("initialised", "set", "recomputed")
        for entry in run.entries(lambda entry: entry.origin not in expected):
            yield f"{entry.tensor} is {entry.origin}"
