"""Control: fresh encoder weights at the source's norm."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from rltransfer.strategies.base import LayerSettings, LearningSource

if TYPE_CHECKING:
    from rltransfer.transfer.methods.rescaled import RescaledMethod


class Rescaled(LayerSettings):
    """Control: fresh encoder weights at the source's norm, tensor by tensor. What the scale alone gives."""

    method: ClassVar[type["RescaledMethod"]]
    kind: Literal["rescaled"] = "rescaled"
    learning: ClassVar[LearningSource] = "norms"

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
