"""Moved weights are shrunk and mixed with fresh ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat

from rltransfer.strategies.base import LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.shrink_perturb import ShrinkPerturbMethod


class ShrinkPerturb(ModifierSettings):
    """Moved weights shrunk and mixed with fresh ones (Ash & Adams 2020), so that they learn like new ones again.

    Each becomes ``shrink * w_source + perturb * w_fresh``, where ``w_fresh`` is the target's own initialisation.
    For sources that were trained long, whose weights have lost the ability to change.
    """

    method: ClassVar[type["ShrinkPerturbMethod"]]
    kind: Literal["shrink_perturb"] = "shrink_perturb"
    needs_learning: ClassVar[LearningSource] = "values"
    shrink: float = Field(default=0.5, gt=0, le=1, description="what the source's weights are multiplied by")
    perturb: NonNegativeFloat = Field(
        default=0.5, description="what the fresh weights that are added are multiplied by"
    )

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()
