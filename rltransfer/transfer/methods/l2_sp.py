"""Moved weights are pulled towards the source's, other weights towards zero (L2-SP; Li et al. 2018)."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from rltransfer.anatomy import Anatomy
from rltransfer.records import PlanEntry
from rltransfer.strategies import L2SP
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class L2SPMethod(Method[L2SP]):
    """Adds ``alpha * (w - w_source)`` to the gradient of moved weights, and ``beta * w`` to that of others."""

    works_on_features = True
    acts_on_chosen_layers = False

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules with both pulls."""
        return rules.with_(pull=self.settings.alpha, decay=self.settings.beta)

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:  # noqa: ARG002
        """Returns its kind where it pulls."""
        return self.settings.kind if rules.pull or rules.decay else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:  # noqa: ARG002
        """Returns True: it pulls every weight that learns."""
        return True

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields a pull after which weights are no nearer to where it leads than without it."""
        moved = run.entries(lambda entry: entry.pull > 0)
        others = run.entries(lambda entry: entry.decay > 0 and not entry.pull)
        zeros = {entry.tensor: torch.zeros_like(run.applied[entry.tensor]) for entry in others}
        for entries, anchors, where in ((moved, run.source_numbers(moved), "the source's"), (others, zeros, "zero")):
            distance, without = run.distance(entries, anchors)
            if not entries or distance >= without:
                yield f"weights are {distance:.3g} from {where}, and {without:.3g} without the pull"
