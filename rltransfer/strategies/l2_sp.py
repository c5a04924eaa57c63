"""Moved weights are pulled towards the source's."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from rltransfer.strategies.base import LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.l2_sp import L2SPMethod


class L2SP(ModifierSettings):
    """Moved weights pulled towards the source's (L2-SP; Li, Grandvalet & Davoine 2018), new ones towards zero.

    Adds ``alpha * (w - w_source)`` to the gradient of what moved and ``beta * w`` to that of the other layers, after
    SB3 clipped it and before the optimizer's own scaling. For few steps in a target that is close to the source.
    """

    method: ClassVar[type["L2SPMethod"]]
    kind: Literal["l2_sp"] = "l2_sp"
    needs_learning: ClassVar[LearningSource] = "values"
    alpha: NonNegativeFloat = Field(default=0.01, description="the pull of what moved towards the source")
    beta: NonNegativeFloat = Field(default=0.01, description="the pull of new weights towards zero")

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
