"""Moved layers change by low-rank updates alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rltransfer.strategies.base import LayerChoice, LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.lora import LoRAMethod


class LoRA(ModifierSettings):
    """Moved layers changed by low-rank updates alone (LoRA; Hu et al. 2021): W becomes W + alpha / rank * B A.

    B starts at zero and A at random, so that the agent begins as the source. They have an optimizer of their own, like
    SB3's and at its rate times the layer's ``lr_scale``; the agent's own weights are the merged ones at all times.
    For few steps, and for targets that ask for little that the source does not know.
    """

    method: ClassVar[type["LoRAMethod"]]
    kind: Literal["lora"] = "lora"
    needs_learning: ClassVar[LearningSource] = "values"
    rank: PositiveInt = Field(default=4, description="of the update; at most the shorter side of a layer's matrix")
    alpha: PositiveFloat | None = Field(
        default=None, description="the update is multiplied by alpha / rank; as large as the rank if not given"
    )
    layers: LayerChoice = Field(default="all", description="which of the encoder layers that move")
    bias: bool = Field(default=False, description="whether biases and other vectors of these layers train too")

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()

    @property
    def gain(self) -> float:
        """What the product of the factors is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank
