"""What a sweep of a study is, and which arms it expands to; nothing is run here.

A sweep answers "how many layers?" (Yosinski et al., NeurIPS 2014) or "how long must the source train?" by an arm for
each setting. Whoever reads it picks the best one, so that its gain is flattered: ``rltransfer study confirm``.
"""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PlainSerializer,
    PositiveInt,
    field_validator,
)

from rltransfer.errors import ConfigError, UnknownNameError
from rltransfer.strategies import (
    Finetune,
    Frozen,
    Shuffled,
    Strategy,
    dump_strategy,
    needs_source,
    parse_strategy,
    strategy_label,
    weights_method,
)

Branches = Literal["both", "actor", "critic"]
StrategySetting = Annotated[
    Strategy,
    BeforeValidator(parse_strategy),
    PlainSerializer(lambda value: list(dump_strategy(value)), when_used="json"),
]


@dataclasses.dataclass(frozen=True)
class SweptArm:
    """One arm of a sweep and its place in the picture: ``row`` names what is the same along ``column``.

    ``which`` is the number of steps of the source's agent that it starts from, None for the study's choice.
    """

    name: str
    strategy: Strategy
    row: str
    column: int
    which: str | None = None

    @property
    def is_control(self) -> bool:
        """Whether it is the shuffled control of another arm of the sweep."""
        return isinstance(self.strategy[0], Shuffled)


@dataclasses.dataclass(frozen=True)
class PlannedArm:
    """One arm as it is run: ``source`` is the task of the study that its agents were pretrained in, in a matrix.

    ``which`` of the source's agents it takes; ``is_swept`` says that a sweep made it.
    """

    strategy: Strategy
    which: str
    source: str | None = None
    is_swept: bool = False


def _as_strategies(value: Any) -> Any:
    """Accepts ``finetune`` and ``[frozen, finetune]`` where names with strategies are expected."""
    if isinstance(value, Mapping):
        return {str(name): _parsed(item, where=str(name)) for name, item in value.items()}
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list | tuple):
        raise ValueError("expected a strategy, a list of these, or names with a strategy each")
    strategies = [_parsed(item) for item in several]
    return {strategy_label(item): item for item in strategies}


def _parsed(value: Any, where: str = "strategy") -> Strategy:
    try:
        return parse_strategy(value, where)
    except UnknownNameError as error:
        # Of all our errors about values, the one that pydantic does not take for one.
        raise ConfigError(str(error)) from None


def _as_counts(value: Any) -> Any:
    """Accepts 3 for 1, 2, 3."""
    return tuple(range(1, value + 1)) if isinstance(value, int) and not isinstance(value, bool) else value


Strategies = Annotated[dict[str, StrategySetting], BeforeValidator(_as_strategies), Field(min_length=1)]


class _Sweep(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayerSweep(_Sweep):
    """How many layers move, from the observations on, by how they may change and of which network.

    ``layers`` are the numbers of layers, or one number for 1 up to it; 0 is ``scratch``, which needs no other run.
    ``branches`` says of which network: the critic's own layers start afresh where it is ``actor``, and the reverse;
    layers that both share move in each. ``shuffled`` adds the shuffled control of each arm.
    """

    of: Strategies = {"frozen": (Frozen(),), "finetune": (Finetune(),)}
    layers: Annotated[tuple[NonNegativeInt, ...], BeforeValidator(_as_counts), Field(min_length=1)]
    branches: Annotated[tuple[Branches, ...], Field(min_length=1)] = ("both",)
    shuffled: bool = False

    @field_validator("of")
    @classmethod
    def _chooses_layers(cls, value: dict[str, Strategy]) -> dict[str, Strategy]:
        for name, strategy in value.items():
            part = weights_method(strategy)
            if not isinstance(part, Finetune | Frozen):
                raise ValueError(
                    f"{name!r}: {part.kind!r} has no number of layers; a layer sweep is of frozen, finetune"
                )
            if (part.layers, part.actor, part.critic) != ("all", None, None):
                raise ValueError(
                    f"{name!r} says which layers move, and the sweep does: leave out layers, actor, critic"
                )
        return value

    @field_validator("layers", "branches")
    @classmethod
    def _differ(cls, value: tuple[Any, ...]) -> tuple[Any, ...]:
        return _without_twins(value)

    def arms(self) -> tuple[SweptArm, ...]:
        """Returns the arms, by strategy and network; none for 0 layers, which is ``scratch``."""
        swept: list[SweptArm] = []
        for (label, strategy), branch in itertools.product(self.of.items(), self.branches):
            row = label if branch == "both" else f"{label}_{branch}"
            for count in sorted(set(self.layers) - {0}):
                swept += self._arms(strategy, branch, row, count)
        return tuple(swept)

    def _arms(self, strategy: Strategy, branch: Branches, row: str, count: int) -> Iterator[SweptArm]:
        choice = {"layers": count} | {"both": {}, "actor": {"critic": "none"}, "critic": {"actor": "none"}}[branch]
        moved = (weights_method(strategy).model_copy(update=choice), *strategy[1:])
        yield SweptArm(f"{row}_{count}", moved, row, count)
        if self.shuffled:
            yield SweptArm(f"{row}_{count}_shuffled", (Shuffled(of=moved),), row, count)


class SourceStepsSweep(_Sweep):
    """How long the source is trained: arms that start from the agent that one source run was after ``at`` steps."""

    of: Strategies = {"finetune": (Finetune(),)}
    at: Annotated[tuple[PositiveInt, ...], Field(min_length=1)]

    @field_validator("of")
    @classmethod
    def _reads_the_source(cls, value: dict[str, Strategy]) -> dict[str, Strategy]:
        for name, strategy in value.items():
            if not needs_source(strategy):
                raise ValueError(f"{name!r} takes nothing from a source, however long that is trained")
        return value

    @field_validator("at")
    @classmethod
    def _differ(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return _without_twins(value)

    def arms(self) -> tuple[SweptArm, ...]:
        """Returns the arms, by strategy."""
        return tuple(
            SweptArm(f"{label}_from_{steps}_steps", strategy, label, steps, which=str(steps))
            for label, strategy in self.of.items()
            for steps in sorted(self.at)
        )


class Sweeps(_Sweep):
    """The sweeps of a study, each expanded to arms beside those that the study names."""

    layers: LayerSweep | None = None
    source_steps: SourceStepsSweep | None = None

    def arms(self) -> tuple[SweptArm, ...]:
        """Returns the arms of all sweeps."""
        return tuple(arm for sweep in (self.layers, self.source_steps) if sweep is not None for arm in sweep.arms())


def plan_arms(
    arms: Mapping[str, Strategy], sweeps: Sweeps, *, which: str, sources: Sequence[str]
) -> dict[str, PlannedArm]:
    """Returns the arms that are run, by name: those with a name, once for each source of a matrix; then the sweeps'.

    Args:
        arms: The arms that the study names.
        sweeps: Its sweeps.
        which: Of the source's agents the one that arms take.
        sources: In a transfer matrix, the tasks that agents are pretrained in.

    Raises:
        ValueError: Two arms have one name, or names that folders may not tell apart.
    """
    made: list[tuple[str, PlannedArm]] = []
    for name, strategy in arms.items():
        if sources and needs_source(strategy):
            made += [(matrix_arm(name, source), PlannedArm(strategy, which, source)) for source in sources]
        else:
            made.append((name, PlannedArm(strategy, which)))
    made += [(arm.name, PlannedArm(arm.strategy, arm.which or which, is_swept=True)) for arm in sweeps.arms()]
    counts = Counter(name.lower() for name, _ in made)
    for name, _ in made:
        if counts[name.lower()] > 1:
            raise ValueError(f"arm {name!r} is there twice: it is named, and made by a sweep; choose another name")
    return dict(made)


def matrix_arm(name: str, source: str) -> str:
    """Returns the name of an arm that starts from the agents of one of a matrix's sources.

    >>> matrix_arm("finetune", "long_pole")
    'finetune_from_long_pole'
    """
    return f"{name}_from_{source}"


def _without_twins(value: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(value)) < len(value):
        raise ValueError("an entry is listed twice")
    return value
