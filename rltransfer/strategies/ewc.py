"""Moved weights are pulled towards the source's, each by its importance."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from rltransfer.strategies.base import LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.ewc import EWCMethod


class EWC(ModifierSettings):
    """Moved weights pulled towards the source's, each by what it matters there (EWC; Kirkpatrick et al. 2017, eq. 3).

    Adds ``strength * F * (w - w_source)`` to the gradient, where F is the diagonal of the Fisher information of the
    source's policy and values, over ``steps`` env_steps of its own, which count. For targets in which what the source
    can do must not be lost, and what it does not need may change.
    """

    method: ClassVar[type["EWCMethod"]]
    kind: Literal["ewc"] = "ewc"
    needs_learning: ClassVar[LearningSource] = "values"
    plays_source: ClassVar[bool] = True
    strength: NonNegativeFloat = Field(default=100.0, description="of the pull: lambda of the paper")
    steps: PositiveInt = Field(default=1000, description="env_steps that the source plays, to know what matters")
    states: Literal["source", "target"] = Field(
        default="source", description="where it plays: in its own task, or in the target where that is not known"
    )

    def description(self) -> Sequence[str]:
        """Returns over which steps importance is measured."""
        where = "its own task" if self.states == "source" else "the target"
        steps = f"{self.steps:,} env_steps of the source in {where}, counted"
        return (f"importance: Fisher information over {steps}",)

    @property
    def steps_before_training(self) -> int:
        """The env_steps that the source plays before the agent trains."""
        return self.steps
