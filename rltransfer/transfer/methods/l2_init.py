"""Every weight is pulled towards its initial value (L2 Init; Kumar et al. 2023)."""

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.records import PlanEntry
from rltransfer.strategies import L2Init
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method

if TYPE_CHECKING:
    from rltransfer.transfer.effects import TrainedRun


class L2InitMethod(Method[L2Init]):
    """Adds ``alpha * (w - w_start)`` to the gradient."""

    works_on_features = True
    acts_on_chosen_layers = False

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules with the pull."""
        return rules.with_(return_pull=self.settings.alpha)

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:  # noqa: ARG002
        """Returns its kind where it pulls."""
        return self.settings.kind if rules.return_pull else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:  # noqa: ARG002
        """Returns True: it pulls every weight that learns."""
        return True

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that weights are no nearer to their initial values than without the pull."""
        pulled = run.entries(lambda entry: entry.return_pull > 0)
        distance, without = run.distance(pulled, run.applied)
        if not pulled or distance >= without:
            yield f"weights are {distance:.3g} from their start, and {without:.3g} without the pull"
