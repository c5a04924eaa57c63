"""The parts that change what an agent experiences: what its actions do, what it remembers, what it sees.

They stand beside any part that says which weights move; where none is named, ``scratch`` is meant.
"""

import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, field_validator, model_validator

from rltransfer.strategies.weights import Reads, StrategyPart

_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _low_first(value: tuple[float, float]) -> tuple[float, float]:
    if value[0] > value[1]:
        raise ValueError("the smaller number comes first")
    return value


Factor = Annotated[tuple[PositiveFloat, PositiveFloat], AfterValidator(_low_first)]
"""From which number to which a factor is drawn uniformly."""


class Residual(StrategyPart):
    """The source acts, and the agent learns what is added to its actions (Silver et al. 2018; Johannink et al. 2019).

    The environment receives ``source + scale * agent``, clipped to its bounds. The agent's last layer starts at zero,
    so that it begins with the source's behaviour. For actions that are numbers, and a source that is nearly right.
    """

    kind: Literal["residual"] = "residual"
    scale: PositiveFloat = Field(default=1.0, description="of the agent's actions before they are added")


class Replay(StrategyPart):
    """A share of each minibatch comes from the source's replay buffer (as in RLPD; Ball et al. 2023).

    For off-policy agents whose source left its replay buffer. Its rewards are the source's own, unless ``reward`` names
    the target's: a function of arrays, ``f(observations, actions, next_observations) -> rewards``.
    """

    kind: Literal["replay"] = "replay"
    ratio: float = Field(default=0.5, ge=0, le=1, description="the source's share of each minibatch")
    until: PositiveInt | None = Field(default=None, description="env_steps by which the share is zero, on a line")
    reward: str | None = Field(default=None, description="the target's reward function, as module:function")
    size: PositiveInt | None = Field(default=None, description="how many of the latest transitions; all if not given")

    @field_validator("reward")
    @classmethod
    def _is_import_path(cls, value: str | None) -> str | None:
        if value is not None and not _IMPORT_PATH.fullmatch(value):
            raise ValueError("write it as module:function")
        return value


class Augment(StrategyPart):
    """The agent learns from observations that are changed at random (RAD, Laskin et al. 2020; DrQ, Kostrikov 2021).

    On-policy agents see them so in training; off-policy agents learn from them so, and remember them unchanged.
    Evaluation changes nothing. Settings for images come first and are done in their order, then those for vectors.
    """

    kind: Literal["augment"] = "augment"
    reads_source: ClassVar[Reads] = "never"
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


IMAGE_OPERATIONS = ("crop", "shift", "cutout", "brightness", "contrast")
VECTOR_OPERATIONS = ("amplitude", "noise")
