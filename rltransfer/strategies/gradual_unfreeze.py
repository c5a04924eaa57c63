"""Layers are released from the heads down."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt, field_validator

from rltransfer.strategies.base import LearningSource, ModifierSettings

if TYPE_CHECKING:
    from rltransfer.transfer.methods.gradual_unfreeze import GradualUnfreezeMethod


def _single_step_as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class GradualUnfreeze(ModifierSettings):
    """Layers held at first and released from the head down (Howard & Ruder 2018, ULMFiT), for heads that start fresh.

    ``at`` are env_steps: the last encoder layer learns from the first of them on, the one before from the second, ...;
    layers that are deeper than the list is long wait for its last step.
    """

    method: ClassVar[type["GradualUnfreezeMethod"]]
    kind: Literal["gradual_unfreeze"] = "gradual_unfreeze"
    needs_learning: ClassVar[LearningSource] = "norms"
    at: Annotated[tuple[PositiveInt, ...], BeforeValidator(_single_step_as_list)] = Field(
        default=(10_000,), min_length=1, description="env_steps at which one more layer learns, from the head down"
    )

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()

    @field_validator("at")
    @classmethod
    def _increases(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("the steps must increase")
        return value

    @property
    def depends_on_layers(self) -> bool:
        """Whether it counts layers: one step releases all of them."""
        return len(self.at) > 1
