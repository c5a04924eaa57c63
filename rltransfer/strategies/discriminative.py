"""Lower learning rates for earlier layers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rltransfer.strategies.base import LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.discriminative import DiscriminativeMethod

_HOWARD_RUDER = 1 / 2.6


class Discriminative(ModifierSettings):
    """Lower learning rates for earlier layers (Howard & Ruder 2018, ULMFiT): ``decay`` to the distance from the head.

    The head learns at the full rate, the last encoder layer at ``decay`` times it, the one before at ``decay`` squared;
    ``lr_scale`` of ``finetune`` multiplies all of them. For features that are more general the earlier they come.
    """

    method: ClassVar[type["DiscriminativeMethod"]]
    kind: Literal["discriminative"] = "discriminative"
    needs_learning: ClassVar[LearningSource] = "norms"
    decay: float = Field(default=_HOWARD_RUDER, gt=0, le=1, description="the factor from each layer to the one before")

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
