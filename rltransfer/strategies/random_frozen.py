"""Control: a frozen encoder with random weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import LayerSettings, SourceUse

if TYPE_CHECKING:
    from rltransfer.transfer.methods.random_frozen import RandomFrozenMethod


class RandomFrozen(LayerSettings):
    """Control: a frozen encoder with random weights. What frozen features give without any training."""

    method: ClassVar[type["RandomFrozenMethod"]]
    kind: Literal["random_frozen"] = "random_frozen"
    reads_source: ClassVar[SourceUse] = "if given"

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
