"""Moved weights are shrunk and mixed with fresh ones (Ash & Adams 2020)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import ShrinkPerturb
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class ShrinkPerturbMethod(Method[ShrinkPerturb]):
    """Starts each moved weight at ``shrink * w_source + perturb * w_fresh``."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules with both factors."""
        return rules.with_(shrink=self.settings.shrink, perturb=self.settings.perturb)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields moved weights that are not the mixture."""
        mixed = run.entries(lambda entry: entry.is_mixed and entry.origin == "copied")
        if not mixed:
            yield "nothing is mixed"
        source = run.source_numbers(mixed)
        for entry in mixed:
            mixture = self.settings.shrink * source[entry.tensor] + self.settings.perturb * run.initial[entry.tensor]
            if not torch.allclose(run.applied[entry.tensor], mixture):
                yield f"{entry.tensor} is not the planned mixture"
