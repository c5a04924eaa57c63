"""The encoder moves, and is frozen."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import Extra, LayerSettings, WarmUpSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.frozen import FrozenMethod


class Frozen(LayerSettings, WarmUpSettings):
    """The encoder under new heads, the encoder held bit-identical (feature extraction)."""

    method: ClassVar[type["FrozenMethod"]]
    kind: Literal["frozen"] = "frozen"
    copies_weights: ClassVar[bool] = True
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
