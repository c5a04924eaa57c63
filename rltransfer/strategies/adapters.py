"""The parts that add parameters of their own to what the source brings."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rltransfer.strategies.weights import LayerChoice, StrategyPart


class Progressive(StrategyPart):
    """New layers beside the source's frozen ones, which they also read (progressive networks; Rusu et al. 2016).

    The agent has a column of its own, as large as that of ``scratch``; whatever a level of a source's column gives is
    scaled, reduced to ``units`` and projected into the next level of the agent's own, or read by its heads. Of one
    source or several. For targets that ask for other features beside the source's, which must not be lost.
    """

    kind: Literal["progressive"] = "progressive"
    units: PositiveInt = Field(default=16, description="to how many units each level of a source's column is reduced")
    scale: PositiveFloat = Field(default=0.1, description="what a level is multiplied by at first; this is learned")


class LoRA(StrategyPart):
    """Moved layers changed by low-rank updates alone (LoRA; Hu et al. 2021): W becomes W + alpha / rank * B A.

    B starts at zero and A at random, so that the agent begins as the source. They have an optimizer of their own, like
    SB3's and at its rate times the layer's ``lr_scale``; the agent's own weights are the merged ones at all times.
    For few steps, and for targets that ask for little that the source does not know.
    """

    kind: Literal["lora"] = "lora"
    rank: PositiveInt = Field(default=4, description="of the update; at most the shorter side of a layer's matrix")
    alpha: PositiveFloat | None = Field(
        default=None, description="the update is multiplied by alpha / rank; as large as the rank if not given"
    )
    layers: LayerChoice = Field(default="all", description="which of the encoder layers that move")
    bias: bool = Field(default=False, description="whether biases and other vectors of these layers train too")

    @property
    def gain(self) -> float:
        """What the product of the factors is multiplied by."""
        return 1.0 if self.alpha is None else self.alpha / self.rank
