"""The encoder moves, and everything is trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from rltransfer.strategies.base import Extra, LayerSettings, LearningSource, WarmUpSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.finetune import FinetuneMethod


class Finetune(LayerSettings, WarmUpSettings):
    """The encoder under new heads, everything trained; the encoder at ``lr_scale`` times the learning rate."""

    method: ClassVar[type["FinetuneMethod"]]
    kind: Literal["finetune"] = "finetune"
    learning: ClassVar[LearningSource] = "values"
    copies_weights: ClassVar[bool] = True
    lr_scale: float = Field(default=1.0, gt=0)
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
