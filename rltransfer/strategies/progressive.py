"""New layers beside the frozen layers of one source or several."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from rltransfer.strategies.base import Strategy, WeightsSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.progressive import ProgressiveMethod


class Progressive(WeightsSettings):
    """New layers beside the source's frozen ones, which they also read (progressive networks; Rusu et al. 2016).

    The agent has a column of its own, as large as that of ``scratch``; whatever a level of a source's column gives is
    scaled, reduced to ``units`` and projected into the next level of the agent's own, or read by its heads. Of one
    source or several. For targets that ask for other features beside the source's, which must not be lost.
    """

    method: ClassVar[type["ProgressiveMethod"]]
    kind: Literal["progressive"] = "progressive"
    copies_weights: ClassVar[bool] = True
    units: PositiveInt = Field(default=16, description="to how many units each level of a source's column is reduced")
    scale: PositiveFloat = Field(default=0.1, description="what a level is multiplied by at first; this is learned")

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()


def progressive_settings(strategy: Strategy) -> Progressive | None:
    """Returns the settings of the columns that a strategy asks for, also inside a control; None if it asks for none."""
    first = strategy[0]
    if first.control_of is not None:
        return progressive_settings(first.control_of)
    return first if isinstance(first, Progressive) else None
