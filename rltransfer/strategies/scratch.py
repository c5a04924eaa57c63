"""Nothing moves: the baseline."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import SourceUse, WeightsSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.scratch import ScratchMethod


class Scratch(WeightsSettings):
    """Nothing moves: the baseline that every claim is measured against."""

    method: ClassVar[type["ScratchMethod"]]
    kind: Literal["scratch"] = "scratch"
    reads_source: ClassVar[SourceUse] = "never"

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
