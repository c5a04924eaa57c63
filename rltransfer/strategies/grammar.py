"""How parts make a strategy: their union, what may stand together, and a strategy's forms as data and as a name.

A strategy is a list of parts. Each part is a frozen model with a literal ``kind``; the closed union ``Part`` is the
registry, its validation and its documentation. What the parts do to an agent is decided in ``rltransfer.transfer``.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError, field_validator

from rltransfer.errors import ConfigError, UnknownNameError, did_you_mean, unknown
from rltransfer.strategies.adapters import LoRA, Progressive
from rltransfer.strategies.experience import Augment, Replay, Residual
from rltransfer.strategies.modifiers import EWC, L2SP, Discriminative, GradualUnfreeze, L2Init, ReDo, ShrinkPerturb
from rltransfer.strategies.teachers import JumpStart, Kickstart, QDagger
from rltransfer.strategies.weights import (
    Finetune,
    Frozen,
    Full,
    NormaliserOnly,
    RandomFrozen,
    Rescaled,
    Scratch,
    StrategyPart,
)


def _as_parts(value: Any) -> Any:
    """Accepts ``"frozen"``, one mapping or one part where a list of parts is expected."""
    parts = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    return [{"kind": part} if isinstance(part, str) else part for part in parts]


def _as_strategies(value: Any) -> Any:
    """Accepts ``[full, frozen]``, as a shell gives it, and lists of kinds and settings."""
    if isinstance(value, str):
        return [name.strip() for name in value.strip().strip("[]()").split(",") if name.strip()]
    return value


class Shuffled(StrategyPart):
    """Control: another strategy with the entries of each moved tensor permuted: the same numbers, no structure.

    ``seed`` None stands for the agent's seed. Of ``full``, it tests the policy, not the features.
    """

    kind: Literal["shuffled"] = "shuffled"
    of: "StrategyField"
    seed: NonNegativeInt | None = None

    @field_validator("of")
    @classmethod
    def _copies_weights(cls, value: "Strategy") -> "Strategy":
        composed = compose(value)
        part = weights_part(composed)
        if not isinstance(part, Full | Finetune | Frozen | Progressive):
            raise ValueError(f"{part.kind!r} copies no weights that could be shuffled")
        for other in composed:
            if isinstance(other, TeacherPart | Residual):
                raise ValueError(f"{other.kind!r} uses the source's policy, which is not shuffled")
        return composed


class Auto(StrategyPart):
    """Tries several strategies on the same seeds, stops the hopeless, and spends the rest of the budget on the best.

    Successive halving (Jamieson & Talwalkar 2016): in each round every strategy left trains for a slice, then the
    better half goes on to a slice up to twice as long, within ``share`` of the budget, judging included. ``scratch``
    is always in the race and stays to the last round, so that a harmful source costs little. Every step of every trial
    counts.
    """

    kind: Literal["auto"] = "auto"
    of: Annotated[tuple["StrategyField", ...] | None, BeforeValidator(_as_strategies)] = Field(
        default=None, description="the strategies beside `scratch`; by default those of `full finetune frozen` that fit"
    )
    share: float = Field(default=0.3, gt=0, lt=1, description="of the budget, what choosing may cost")
    episodes: PositiveInt = Field(
        default=3, description="by which a strategy is judged after each slice, fewer where they are long; they count"
    )

    @field_validator("of")
    @classmethod
    def _can_race(cls, value: "tuple[Strategy, ...] | None") -> "tuple[Strategy, ...] | None":
        if value is None:
            return None
        composed = tuple(compose(one) for one in value)
        if any(isinstance(weights_part(one), Auto) for one in composed):
            raise ValueError("'auto' cannot be an arm of 'auto'")
        labels = [strategy_label(one) for one in composed]
        if len(set(labels)) < len(labels):
            raise ValueError("an arm is listed twice")
        return tuple(one for one in composed if one != (Scratch(),))

    @property
    def candidates(self) -> "tuple[Strategy, ...]":
        """The strategies that race, ``scratch`` first."""
        others = ((Full(),), (Finetune(),), (Frozen(),)) if self.of is None else self.of
        return ((Scratch(),), *others)


WeightsPart = (
    Scratch | Full | Finetune | Frozen | Progressive | RandomFrozen | Rescaled | NormaliserOnly | Shuffled | Auto
)
TeacherPart = JumpStart | Kickstart | QDagger
ExperiencePart = Residual | Replay | Augment
Modifier = (
    Discriminative | GradualUnfreeze | L2SP | EWC | L2Init | ReDo | ShrinkPerturb | LoRA | TeacherPart | ExperiencePart
)
Part = Annotated[WeightsPart | Modifier, Field(discriminator="kind")]
KINDS: dict[str, type[StrategyPart]] = {
    part.model_fields["kind"].default: part for part in (*get_args(WeightsPart), *get_args(Modifier))
}
# What a modifier cannot stand beside, and why.
_FIRST_LEARNS = "needs weights of the source that learn, and {first} leaves none"
_ACTS_TWICE = "adds the agent's actions to the source's, which {first} would give once more: use 'finetune' or 'frozen'"
_NOTHING_LEARNS = (Scratch, NormaliserOnly, RandomFrozen, Frozen, Progressive)
_CONTRADICTIONS: dict[type[StrategyPart], tuple[str, tuple[type[StrategyPart], ...]]] = {
    Discriminative: (_FIRST_LEARNS, _NOTHING_LEARNS),
    GradualUnfreeze: (_FIRST_LEARNS, _NOTHING_LEARNS),
    L2SP: (_FIRST_LEARNS, (*_NOTHING_LEARNS, Rescaled)),
    EWC: (_FIRST_LEARNS, (*_NOTHING_LEARNS, Rescaled)),
    ShrinkPerturb: (_FIRST_LEARNS, (*_NOTHING_LEARNS, Rescaled)),
    LoRA: (_FIRST_LEARNS, (*_NOTHING_LEARNS, Rescaled)),
    Residual: (_ACTS_TWICE, (Full,)),
}
# Modifiers of which a strategy has one, and why.
_OPPOSITES: tuple[tuple[tuple[type[StrategyPart], ...], str], ...] = (
    ((Kickstart, QDagger), "both draw the agent to the source, with a weight each"),
    ((JumpStart, QDagger), "both let the source act first"),
    ((L2SP, L2Init), "one pulls new weights to zero, the other to what they start from"),
    ((JumpStart, Residual), "the source acts in every step already"),
    ((Kickstart, Residual), "one draws the agent to the source's actions, the other adds them to its own"),
    ((Residual, Replay), "the source remembers whole actions, and the agent's are added to them"),
    ((QDagger, Residual), "one draws the agent to the source's actions, the other adds them to its own"),
)


def compose(parts: Sequence[Part]) -> "Strategy":
    """Returns the strategy that parts make together, its weights part first.

    Where none is named, ``finetune`` is meant; ``scratch`` if no other part is about weights that move.

    Raises:
        ValueError: The parts contradict each other.
    """
    weights = [part for part in parts if isinstance(part, WeightsPart)]
    others = [part for part in parts if not isinstance(part, WeightsPart)]
    if len(weights) > 1 or not parts:
        kinds = ", ".join(part.kind for part in weights) or "none"
        raise ValueError(f"a strategy needs exactly one part that says which weights move; got {kinds}")
    order = list(KINDS)
    others.sort(key=lambda part: order.index(part.kind))
    for part, following in itertools.pairwise(others):
        if part.kind == following.kind:
            raise ValueError(f"{part.kind!r} stands twice in one strategy")
    first = weights[0] if weights else _meant(others)
    if isinstance(first, Shuffled) and others:
        raise ValueError("what 'shuffled' is a control of stands inside it: put the other parts under 'of'")
    if isinstance(first, Auto) and others:
        raise ValueError("what 'auto' tries stands inside it: put the other parts under 'of'")
    for part in others:
        reason, excluded = _CONTRADICTIONS.get(type(part), ("", ()))
        if isinstance(first, excluded):
            raise ValueError(f"{part.kind!r} {reason.format(first=repr(first.kind))}")
    _refuse_opposites(others)
    return (first, *others)


def _refuse_opposites(others: Sequence[Part]) -> None:
    for kinds, reason in _OPPOSITES:
        named = [part.kind for part in others if isinstance(part, kinds)]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(map(repr, named))} contradict each other: {reason}")


def _meant(others: Sequence[Part]) -> WeightsPart:
    """Returns the weights part that is meant where none is named."""
    moves_nothing = all(isinstance(part, TeacherPart | ExperiencePart) for part in others)
    return Scratch() if moves_nothing else Finetune()


def weights_part(strategy: "Strategy") -> WeightsPart:
    """Returns the part that says which weights move."""
    part = strategy[0]
    assert isinstance(part, WeightsPart)
    return part


def modifiers(strategy: "Strategy") -> tuple[Modifier, ...]:
    """Returns the parts behind the one that says which weights move."""
    return tuple(part for part in strategy if not isinstance(part, WeightsPart))


def progressive_part(strategy: "Strategy") -> Progressive | None:
    """Returns the part that asks for columns, also inside ``shuffled``; None if there is none."""
    first = strategy[0]
    if isinstance(first, Shuffled):
        return progressive_part(first.of)
    return first if isinstance(first, Progressive) else None


def held_parts(strategy: "Strategy") -> tuple[Modifier, ...]:
    """Returns the parts that act during training, those of what ``shuffled`` is a control of included."""
    first = strategy[0]
    return held_parts(first.of) if isinstance(first, Shuffled) else modifiers(strategy)


def teachers(strategy: "Strategy") -> tuple[TeacherPart, ...]:
    """Returns the parts by which the source's policy teaches the agent."""
    return tuple(part for part in strategy if isinstance(part, TeacherPart))


def uses_replay(strategy: "Strategy") -> bool:
    """Says whether a strategy needs the source's replay buffer; ``auto`` does if one that it tries does."""
    first = strategy[0]
    if isinstance(first, Auto):
        return any(uses_replay(one) for one in first.candidates)
    return any(isinstance(part, Replay) for part in held_parts(strategy))


def depends_on_layers(strategy: "Strategy") -> bool:
    """Returns whether a strategy names or counts layers, so that not every agent has what it asks for."""
    first = strategy[0]
    if isinstance(first, Shuffled | Auto):
        inner = (first.of,) if isinstance(first, Shuffled) else first.candidates
        return any(depends_on_layers(strategy) for strategy in inner)
    choices = [getattr(part, name, None) for part in strategy for name in ("layers", "actor", "critic")]
    counts = any(isinstance(choice, int | tuple) for choice in choices)
    return counts or any(isinstance(part, GradualUnfreeze) and len(part.at) > 1 for part in strategy)


Strategy = tuple[Part, ...]
StrategyField = Annotated[Strategy, BeforeValidator(_as_parts), Field(min_length=1)]
Shuffled.model_rebuild()
Auto.model_rebuild()
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
        strategy = compose(_ADAPTER.validate_python(value))
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
        if kind == "auto":
            for one in _as_strategies(part.get("of")) or ():
                _refuse_unknown_names(one, where)


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
    >>> strategy_label(parse_strategy(["l2_sp", "discriminative"]))
    'discriminative+l2_sp'
    >>> strategy_label(parse_strategy("jump_start"))
    'jump_start'
    """
    named = strategy[1:] if len(strategy) > 1 and strategy[0] == _meant(strategy[1:]) else strategy
    return "+".join(_part_label(part) for part in named)


def _part_label(part: Part) -> str:
    settings = part.model_dump(exclude_defaults=True, exclude={"kind", "of"})
    words: list[str] = [part.kind]
    if isinstance(part, Shuffled):
        words.append(strategy_label(part.of))
    elif isinstance(part, Auto) and part.of is not None:
        words += [strategy_label(one) for one in part.of]
    words += [f"{key}={_setting_label(value)}" for key, value in settings.items()]
    return "_".join(words)


def _setting_label(value: Any) -> str:
    return ",".join(str(item) for item in value) if isinstance(value, tuple) else str(value)


def needs_source(strategy: Strategy) -> bool:
    """Says whether a strategy cannot do without a source."""
    return any(part.reads_source == "always" for part in strategy)


def reads_source(strategy: Strategy) -> bool:
    """Says whether a strategy reads a source where there is one."""
    return any(part.reads_source != "never" for part in strategy)
