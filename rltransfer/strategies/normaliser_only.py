"""Control: fresh weights under the source's observation statistics."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import WeightsSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.normaliser_only import NormaliserOnlyMethod


class NormaliserOnly(WeightsSettings):
    """Control: fresh weights under the source's observation statistics. What the statistics alone give."""

    method: ClassVar[type["NormaliserOnlyMethod"]]
    kind: Literal["normaliser_only"] = "normaliser_only"

    def description(self) -> Sequence[str]:
        """Returns nothing: the line of the statistics says all."""
        return ()
