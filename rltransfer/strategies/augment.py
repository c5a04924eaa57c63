"""The agent learns from observations that are changed at random."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, model_validator

from rltransfer.strategies.base import DefaultWeights, ModifierSettings, SourceUse

if TYPE_CHECKING:
    from rltransfer.transfer.methods.augment import AugmentMethod

IMAGE_OPERATIONS = ("flip", "crop", "shift", "cutout", "brightness", "contrast")
VECTOR_OPERATIONS = ("amplitude", "noise")


def _low_first(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the smaller number comes first")
    return value


Factor = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_low_first)]
"""From which number to which a factor is drawn uniformly."""


class Augment(ModifierSettings):
    """The agent learns from observations that are changed at random (RAD, Laskin et al. 2020; DrQ, Kostrikov 2021).

    On-policy agents see them so in training; off-policy agents learn from them so, and remember them unchanged.
    Evaluation changes nothing. Settings for images come first and are done in their order, then those for vectors.
    """

    method: ClassVar[type["AugmentMethod"]]
    kind: Literal["augment"] = "augment"
    default_weights: ClassVar[DefaultWeights] = "scratch"
    reads_source: ClassVar[SourceUse] = "never"
    flip: float | None = Field(
        default=None,
        gt=0,
        le=1,
        description="of images: the probability that left and right change places; not where an action means a side",
    )
    crop: float | None = Field(
        default=None, gt=0, lt=1, description="of images: the least share of both sides that is cut out and enlarged"
    )
    shift: PositiveInt | None = Field(default=None, description="of images: the most pixels they are moved by")
    cutout: PositiveInt | None = Field(default=None, description="of images: the side in pixels of a square made black")
    brightness: Factor | None = Field(default=None, description="of images: what they are multiplied by, from and to")
    contrast: Factor | None = Field(
        default=None, description="of images: what the distance from their mean is multiplied by, from and to"
    )
    amplitude: Factor | None = Field(default=None, description="of vectors: what they are multiplied by, from and to")
    noise: PositiveFloat | None = Field(
        default=None, description="of vectors: the deviation of what is added, in the numbers that the agent sees"
    )

    def description(self) -> Sequence[str]:
        """Returns the operations."""
        done = ", ".join(f"{name} {_words(getattr(self, name))}" for name in self.operations)
        return (f"augmentation in training: {done}",)

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not self.operations:
            raise ValueError(
                f"'augment' does nothing: give {', '.join(IMAGE_OPERATIONS)}, {' or '.join(VECTOR_OPERATIONS)}"
            )
        return self

    @property
    def operations(self) -> tuple[str, ...]:
        """The operations that are asked for, in the order in which they are done."""
        return tuple(name for name in (*IMAGE_OPERATIONS, *VECTOR_OPERATIONS) if getattr(self, name) is not None)


def _words(value: float | tuple[float, float]) -> str:
    return " to ".join(f"{number:g}" for number in value) if isinstance(value, tuple) else f"{value:g}"
