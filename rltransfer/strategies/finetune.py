"""The encoder moves, and everything is trained."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from rltransfer.strategies.base import Extra, LayerSettings, LearningSource, WarmUpSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.finetune import FinetuneMethod


class Finetune(LayerSettings, WarmUpSettings):
    """The encoder under new heads, everything trained; the encoder at ``lr_scale`` times the learning rate.

    Where ``lr_scale`` is not stated, a pretrained network learns at a tenth of the rate.
    """

    method: ClassVar[type["FinetuneMethod"]]
    kind: Literal["finetune"] = "finetune"
    learning: ClassVar[LearningSource] = "values"
    copies_weights: ClassVar[bool] = True
    lr_scale: float = Field(default=1.0, gt=0)
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"

    @model_serializer(mode="wrap")
    def _leave_unstated_rate_out(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = serialise(self)
        if "lr_scale" not in self.model_fields_set:
            # Whoever reads it has to see that it is not stated.
            settings.pop("lr_scale", None)
        return settings

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
