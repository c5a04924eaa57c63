"""The strategies as validated data, without torch.

A strategy is a list of parts. Each part is a frozen model with a literal ``kind``; the closed union ``Part`` is the
registry, its validation and its documentation. What the parts do to an agent is decided in ``rltransfer.transfer``.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from rltransfer.errors import ConfigError, UnknownNameError, did_you_mean, unknown


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
Extra = Literal["copy", "reset"] | float


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _MovesLayers(_Part):
    """A part that applies to chosen encoder layers; layers that actor and critic share follow ``layers``."""

    layers: LayerChoice = "all"
    actor: LayerChoice | None = Field(default=None, description="layers of the actor, instead of `layers`")
    critic: Annotated[LayerChoice | None, BeforeValidator(_critic_mode_as_layers)] = Field(
        default=None, description="layers of the critic, instead of `layers`; `copy` is all of them, `reset` none"
    )
    source_branch: Literal["own", "actor", "critic"] = Field(
        default="own", description="the source's branch that both branches' hidden layers come from, or each its own"
    )


class _WarmsUp(_Part):
    """A part whose actor may wait for its critic: an untrained critic ruins a good actor in its first updates."""

    critic_warmup_steps: NonNegativeInt = Field(
        default=0, description="env_steps during which the actor is held while the critic learns"
    )


class Scratch(_Part):
    """Nothing moves: the baseline that every claim is measured against."""

    kind: Literal["scratch"] = "scratch"


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


class Rescaled(_MovesLayers):
    """Control: fresh encoder weights at the source's norm, tensor by tensor. What the scale alone gives."""

    kind: Literal["rescaled"] = "rescaled"


class NormaliserOnly(_Part):
    """Control: fresh weights under the source's observation statistics. What the statistics alone give."""

    kind: Literal["normaliser_only"] = "normaliser_only"


class Shuffled(_Part):
    """Control: another strategy with the entries of each moved tensor permuted: the same numbers, no structure.

    ``seed`` None stands for the agent's seed. Of ``full``, it tests the policy, not the features.
    """

    kind: Literal["shuffled"] = "shuffled"
    of: "StrategyField"
    seed: NonNegativeInt | None = None

    @field_validator("of")
    @classmethod
    def _copies_weights(cls, value: "Strategy") -> "Strategy":
        (part,) = _one_weights_part(value)
        if not isinstance(part, Full | Finetune | Frozen):
            raise ValueError(f"{part.model_dump()['kind']!r} copies no weights that could be shuffled")
        return value


Part = Annotated[
    Scratch | Full | Finetune | Frozen | RandomFrozen | Rescaled | NormaliserOnly | Shuffled,
    Field(discriminator="kind"),
]
KINDS: dict[str, type[_Part]] = {part.model_fields["kind"].default: part for part in get_args(get_args(Part)[0])}


def _as_parts(value: Any) -> Any:
    """Accepts ``"frozen"``, one mapping or one part where a list of parts is expected."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [{"kind": part} if isinstance(part, str) else part for part in parts]


def _one_weights_part(parts: Sequence[_Part]) -> Sequence[_Part]:
    if len(parts) != 1:
        kinds = ", ".join(part.model_dump()["kind"] for part in parts) or "none"
        raise ValueError(f"a strategy needs exactly one part that says which weights move; got {kinds}")
    return parts


Strategy = tuple[Part, ...]
StrategyField = Annotated[Strategy, BeforeValidator(_as_parts), Field(min_length=1)]
Shuffled.model_rebuild()
_ADAPTER: TypeAdapter[Strategy] = TypeAdapter(StrategyField)


def parse_strategy(value: Any, where: str = "strategy") -> Strategy:
    """Returns the strategy that ``value`` describes: a kind, a mapping with its settings, a part, or a list of these.

    Args:
        value: For example ``"frozen"``, ``{"kind": "finetune", "lr_scale": 0.3}`` or ``Finetune(lr_scale=0.3)``.
        where: The place that the error names, such as ``configs/a.yaml: arms.frozen``.

    Raises:
        UnknownNameError: A kind does not exist.
        ConfigError: A setting is unknown or has a wrong value, or the parts contradict each other.

    >>> parse_strategy({"kind": "shuffled", "of": "frozen"})[0].of[0].kind
    'frozen'
    """
    _refuse_unknown_names(value, where)
    try:
        strategy = _ADAPTER.validate_python(value)
        _one_weights_part(strategy)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error)}") from None
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return strategy


def _refuse_unknown_names(value: Any, where: str) -> None:
    for part in _as_parts(value):
        if not isinstance(part, Mapping):
            continue
        kind = part.get("kind")
        if kind is None:
            raise ConfigError(f"{where}: key 'kind' is missing. Known kinds: {', '.join(sorted(KINDS))}.")
        if not isinstance(kind, str) or kind not in KINDS:
            error = unknown("strategy", str(kind), KINDS)
            raise UnknownNameError(f"{where}: {error}" if where != "strategy" else str(error))
        for key in part:
            if key not in KINDS[kind].model_fields:
                fields = [name for name in KINDS[kind].model_fields if name != "kind"]
                known = ", ".join(fields) or "none"
                raise ConfigError(
                    f"{where}: {kind} has no setting {key!r}.{did_you_mean(str(key), fields)} Known: {known}."
                )
        if kind == "shuffled" and "of" in part:
            _refuse_unknown_names(part["of"], where)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    fields = {name for part in KINDS.values() for name in part.model_fields}
    key = ".".join(str(item) for item in problem["loc"] if item in fields)
    found = "" if problem["type"] == "missing" else f", found {problem['input']!r}"
    return f"key {key!r}: {problem['msg']}{found}" if key else f"{problem['msg']}{found}"


def dump_strategy(strategy: Strategy) -> tuple[dict[str, Any], ...]:
    """Returns the strategy as plain JSON data, every setting included."""
    return tuple(part.model_dump(mode="json") for part in strategy)


def strategy_label(strategy: Strategy) -> str:
    """Returns the arm's name that a strategy gets when nobody names it: its kind and the settings that differ.

    >>> strategy_label(parse_strategy("frozen"))
    'frozen'
    >>> strategy_label(parse_strategy({"kind": "shuffled", "of": {"kind": "finetune", "lr_scale": 0.3}}))
    'shuffled_finetune_lr_scale=0.3'
    """
    return "+".join(_part_label(part) for part in strategy)


def _part_label(part: Part) -> str:
    settings = part.model_dump(exclude_defaults=True, exclude={"kind", "of"})
    words: list[str] = [part.kind]
    if isinstance(part, Shuffled):
        words.append(strategy_label(part.of))
    words += [f"{key}={_setting_label(value)}" for key, value in settings.items()]
    return "_".join(words)


def _setting_label(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def needs_source(strategy: Strategy) -> bool:
    """Says whether a strategy reads a source: all but ``scratch``, and ``random_frozen`` which can do without."""
    return any(part.kind not in ("scratch", "random_frozen") for part in strategy)
