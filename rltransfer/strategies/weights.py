"""The parts that say which weights move, the controls among them; a strategy has exactly one of these."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt


def _single_name_as_list(value: Any) -> Any:
    if isinstance(value, str) and value not in ("all", "none"):
        return [value]
    return value


def _critic_mode_as_layers(value: Any) -> Any:
    """Accepts ``copy`` and ``reset``, the words for a critic's start, where layers of the critic are chosen."""
    return {"copy": "all", "reset": "none"}.get(value, value) if isinstance(value, str) else value


LayerChoice = Annotated[
    Literal["all", "none"] | NonNegativeInt | tuple[str, ...],
    BeforeValidator(_single_name_as_list),
    Field(description="`all`, `none`, the first N from the observations on, or names as `rltransfer plan` prints them"),
]
Reads = Literal["always", "if given", "never"]
"""Whether a part needs a source."""
Extra = Literal["copy", "reset"] | float


class StrategyPart(BaseModel):
    """One part of a strategy; its ``kind`` is its name in files and on the command line."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    reads_source: ClassVar[Reads] = "always"


class _MovesLayers(StrategyPart):
    """A part that applies to chosen encoder layers; layers that actor and critic share follow ``layers``."""

    layers: LayerChoice = "all"
    actor: LayerChoice | None = Field(default=None, description="layers of the actor, instead of `layers`")
    critic: Annotated[LayerChoice | None, BeforeValidator(_critic_mode_as_layers)] = Field(
        default=None, description="layers of the critic, instead of `layers`; `copy` is all of them, `reset` none"
    )
    source_branch: Literal["own", "actor", "critic"] = Field(
        default="own", description="the source's branch that both branches' hidden layers come from, or each its own"
    )


class _WarmsUp(StrategyPart):
    """A part whose actor may wait for its critic: an untrained critic ruins a good actor in its first updates."""

    critic_warmup_steps: NonNegativeInt = Field(
        default=0, description="env_steps during which the actor is held while the critic learns"
    )


class Scratch(StrategyPart):
    """Nothing moves: the baseline that every claim is measured against."""

    kind: Literal["scratch"] = "scratch"
    reads_source: ClassVar[Reads] = "never"


class Full(_WarmsUp):
    """All weights, heads too: fits when the meaning of actions and reward is kept, ruins the target when it is not.

    With ``exploration: continue`` an off-policy agent acts by what it knows from the first step on: no random actions
    (updates still wait for ``learning_starts``), and DQN's epsilon starts at its final value.
    """

    kind: Literal["full"] = "full"
    critic: Literal["copy", "reset"] = "copy"
    exploration: Literal["continue", "restart"] = "continue"
    log_std: Extra = "copy"
    log_ent_coef: Extra = "copy"


class Finetune(_MovesLayers, _WarmsUp):
    """The encoder under new heads, everything trained; the encoder at ``lr_scale`` times the learning rate."""

    kind: Literal["finetune"] = "finetune"
    lr_scale: float = Field(default=1.0, gt=0)
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"


class Frozen(_MovesLayers, _WarmsUp):
    """The encoder under new heads, the encoder held bit-identical (feature extraction)."""

    kind: Literal["frozen"] = "frozen"
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"


class RandomFrozen(_MovesLayers):
    """Control: a frozen encoder with random weights. What frozen features give without any training."""

    kind: Literal["random_frozen"] = "random_frozen"
    reads_source: ClassVar[Reads] = "if given"


class Rescaled(_MovesLayers):
    """Control: fresh encoder weights at the source's norm, tensor by tensor. What the scale alone gives."""

    kind: Literal["rescaled"] = "rescaled"


class NormaliserOnly(StrategyPart):
    """Control: fresh weights under the source's observation statistics. What the statistics alone give."""

    kind: Literal["normaliser_only"] = "normaliser_only"
