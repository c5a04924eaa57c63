"""All weights move, the heads too."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import Extra, LearningSource, WarmUpSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.full import FullMethod


class Full(WarmUpSettings):
    """All weights, heads too: fits when the meaning of actions and reward is kept, ruins the target when it is not.

    With ``exploration: continue`` an off-policy agent acts by what it knows from the first step on: no random actions
    (updates still wait for ``learning_starts``), and DQN's epsilon starts at its final value.
    """

    method: ClassVar[type["FullMethod"]]
    kind: Literal["full"] = "full"
    learning: ClassVar[LearningSource] = "values"
    copies_weights: ClassVar[bool] = True
    critic: Literal["copy", "reset"] = "copy"
    exploration: Literal["continue", "restart"] = "continue"
    log_std: Extra = "copy"
    log_ent_coef: Extra = "copy"

    def description(self) -> Sequence[str]:
        """Returns nothing: rows and the lines of warm-up and exploration say all."""
        return ()
