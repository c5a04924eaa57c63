"""Every weight is pulled towards its initial value."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from rltransfer.strategies.base import ModifierSettings, SourceUse

if TYPE_CHECKING:
    from rltransfer.transfer.methods.l2_init import L2InitMethod


class L2Init(ModifierSettings):
    """Every weight pulled towards what it starts from (L2 Init; Kumar, Marklund & Van Roy 2023), new heads included.

    Adds ``alpha * (w - w_start)`` to the gradient. For long runs, in which weights grow until they no longer learn.
    """

    method: ClassVar[type["L2InitMethod"]]
    kind: Literal["l2_init"] = "l2_init"
    excludes: ClassVar[dict[str, str]] = {"l2_sp": "one pulls new weights to zero, the other to what they start from"}
    reads_source: ClassVar[SourceUse] = "never"
    alpha: NonNegativeFloat = Field(default=0.01, description="of the pull towards the start")

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
