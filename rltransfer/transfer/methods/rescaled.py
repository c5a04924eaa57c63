"""Control: the agent's own encoder weights at the source's norm."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import Rescaled
from rltransfer.transfer.layer_counts import LayerCount, layer_counts
from rltransfer.transfer.layer_rules import LayerRules, chosen_layers
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.values import source_of

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class RescaledMethod(Method[Rescaled]):
    """Multiplies the agent's own weights so that each tensor has the norm of the source's."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which the chosen encoder layers are rescaled."""
        return rules.with_(
            chosen=chosen_layers(self.settings, anatomy),
            origin="rescaled",
            copies_statistics=True,
            source_branch=self.settings.source_branch,
        )

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the numbers of layers that are to be rescaled."""
        yield from layer_counts(self.settings)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields tensors of another norm than the source's, or of another direction than the agent's own."""
        rescaled = run.entries(lambda entry: entry.origin == "rescaled")
        if not rescaled:
            yield "nothing is rescaled"
        for entry in rescaled:
            now, built = run.applied[entry.tensor].flatten(), run.initial[entry.tensor].flatten()
            source = source_of(run.plan, entry)[entry.source_tensor]
            if not torch.isclose(now.norm().cpu(), source.norm().cpu(), rtol=1e-4):
                yield f"{entry.tensor} does not have the source's norm"
            if built.any() and torch.nn.functional.cosine_similarity(now, built, dim=0) < 0.9999:
                yield f"{entry.tensor} does not have its own direction"
        yield from run.not_trained(rescaled)
