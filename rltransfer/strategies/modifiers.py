"""The parts that change what happens to the weights that move; a strategy has any number, each kind once.

They act on the layers that the weights part chooses. Without a weights part, ``finetune`` is meant.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, NonNegativeFloat, PositiveInt, field_validator

from rltransfer.strategies.weights import Reads, StrategyPart

_HOWARD_RUDER = 1 / 2.6


def _single_step_as_list(value: Any) -> Any:
    return [value] if isinstance(value, int) and not isinstance(value, bool) else value


class Discriminative(StrategyPart):
    """Lower learning rates for earlier layers (Howard & Ruder 2018, ULMFiT): ``decay`` to the distance from the head.

    The head learns at the full rate, the last encoder layer at ``decay`` times it, the one before at ``decay`` squared;
    ``lr_scale`` of ``finetune`` multiplies all of them. For features that are more general the earlier they come.
    """

    kind: Literal["discriminative"] = "discriminative"
    decay: float = Field(default=_HOWARD_RUDER, gt=0, le=1, description="the factor from each layer to the one before")


class GradualUnfreeze(StrategyPart):
    """Layers held at first and released from the head down (Howard & Ruder 2018, ULMFiT), for heads that start fresh.

    ``at`` are env_steps: the last encoder layer learns from the first of them on, the one before from the second, ...;
    layers that are deeper than the list is long wait for its last step.
    """

    kind: Literal["gradual_unfreeze"] = "gradual_unfreeze"
    at: Annotated[tuple[PositiveInt, ...], BeforeValidator(_single_step_as_list)] = Field(
        default=(10_000,), min_length=1, description="env_steps at which one more layer learns, from the head down"
    )

    @field_validator("at")
    @classmethod
    def _increases(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError("the steps must increase")
        return value


class L2SP(StrategyPart):
    """Moved weights pulled towards the source's (L2-SP; Li, Grandvalet & Davoine 2018), new ones towards zero.

    Adds ``alpha * (w - w_source)`` to the gradient of what moved and ``beta * w`` to that of the other layers, after
    SB3 clipped it and before the optimizer's own scaling. For few steps in a target that is close to the source.
    """

    kind: Literal["l2_sp"] = "l2_sp"
    alpha: NonNegativeFloat = Field(default=0.01, description="the pull of what moved towards the source")
    beta: NonNegativeFloat = Field(default=0.01, description="the pull of new weights towards zero")


class EWC(StrategyPart):
    """Moved weights pulled towards the source's, each by what it matters there (EWC; Kirkpatrick et al. 2017, eq. 3).

    Adds ``strength * F * (w - w_source)`` to the gradient, where F is the diagonal of the Fisher information of the
    source's policy and values, over ``steps`` env_steps of its own, which count. For targets in which what the source
    can do must not be lost, and what it does not need may change.
    """

    kind: Literal["ewc"] = "ewc"
    strength: NonNegativeFloat = Field(default=100.0, description="of the pull: lambda of the paper")
    steps: PositiveInt = Field(default=1000, description="env_steps that the source plays, to know what matters")
    states: Literal["source", "target"] = Field(
        default="source", description="where it plays: in its own task, or in the target where that is not known"
    )


class L2Init(StrategyPart):
    """Every weight pulled towards what it starts from (L2 Init; Kumar, Marklund & Van Roy 2023), new heads included.

    Adds ``alpha * (w - w_start)`` to the gradient. For long runs, in which weights grow until they no longer learn.
    """

    kind: Literal["l2_init"] = "l2_init"
    reads_source: ClassVar[Reads] = "never"
    alpha: NonNegativeFloat = Field(default=0.01, description="of the pull towards the start")


class ReDo(StrategyPart):
    """Units that are dormant start again (ReDo; Sokar et al. 2023): before training, and every so many env_steps.

    A unit is dormant whose mean activation is at most ``threshold`` of its layer's. What it reads is initialised anew,
    what reads it is set to zero. For sources that were trained long, of which many units answer to nothing any more.
    """

    kind: Literal["redo"] = "redo"
    reads_source: ClassVar[Reads] = "never"
    threshold: NonNegativeFloat = Field(default=0.025, description="the share of its layer's mean activation")
    every: PositiveInt | None = Field(
        default=None, description="env_steps between two looks during training; before it alone if not given"
    )
    states: PositiveInt = Field(default=256, description="the agent's own states that units are looked at on")


class ShrinkPerturb(StrategyPart):
    """Moved weights shrunk and mixed with fresh ones (Ash & Adams 2020), so that they learn like new ones again.

    Each becomes ``shrink * w_source + perturb * w_fresh``, where ``w_fresh`` is the target's own initialisation.
    For sources that were trained long, whose weights have lost the ability to change.
    """

    kind: Literal["shrink_perturb"] = "shrink_perturb"
    shrink: float = Field(default=0.5, gt=0, le=1, description="what the source's weights are multiplied by")
    perturb: NonNegativeFloat = Field(
        default=0.5, description="what the fresh weights that are added are multiplied by"
    )
