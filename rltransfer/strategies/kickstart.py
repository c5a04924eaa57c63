"""The agent is drawn to the source's policy in its own states."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import DistillationSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.kickstart import KickstartMethod


class Kickstart(DistillationSettings):
    """The agent is drawn to what the source's policy would do in the agent's own states (Schmitt et al. 2018).

    Adds the gradient of ``weight * KL(source || agent)`` to each step of the actor (of Q-learning: over
    ``softmax(Q / temperature)``); of a squared distance of actions where their distributions are not of one kind.
    The weight falls with the agent's lag behind the source's own return in the target, to zero when it is caught up.
    For sources that are right in much of the target, also of another architecture or algorithm.
    """

    method: ClassVar[type["KickstartMethod"]]
    kind: Literal["kickstart"] = "kickstart"

    def description(self) -> Sequence[str]:
        """Returns how strongly the agent is drawn."""
        weight = f"{self.weight:g}"
        line = f"kickstart: drawn to the source's policy with weight {weight}, less as the agent catches up"
        return (line + self._until_words(),)
