"""Control: another strategy with the entries of what moves permuted."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from rltransfer.anatomy import Anatomy
from rltransfer.records import Finding
from rltransfer.strategies import Shuffled
from rltransfer.transfer.layer_counts import LayerCount
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.values import gathered, source_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.matching.pair import Pair


class ShuffledMethod(Method[Shuffled]):
    """Does what another strategy does, with the same numbers in random places."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns the rules of the strategy that it is a control of, with permuted entries."""
        for method in self.inner[0]:
            rules = method.layer_rules(rules, anatomy)
        return rules.with_(permuted=True, recomputes=True, seed=self.settings.seed)

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that the strategy names."""
        for method in self.inner[0]:
            yield from method.layer_counts()

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields that this is a control."""
        words = "what moves is permuted: this is a control of another strategy"
        yield Finding(kind="shuffled", severity="note", words=words)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields tensors that do not hold the source's numbers in other places."""
        permuted = run.entries(lambda entry: entry.permuted and not entry.is_mixed)
        if not permuted:
            yield "nothing is permuted"
        for entry in permuted:
            source = gathered(entry, source_of(run.plan, entry)[entry.source_tensor]).flatten()
            now = run.applied[entry.tensor].flatten().to(source.device)
            if entry.origin == "copied" and not torch.equal(now.sort().values, source.sort().values):
                yield f"{entry.tensor} does not hold the source's numbers"
            elif entry.origin == "copied" and len(set(source.tolist())) > 4 and torch.equal(now, source):
                yield f"{entry.tensor} holds the source's numbers in their own places"
