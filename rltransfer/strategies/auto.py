"""Tries several strategies and goes on with the best."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, PositiveInt, field_validator

from rltransfer.strategies.base import Strategy, WeightsSettings
from rltransfer.strategies.composition import compose, strategy_label
from rltransfer.strategies.finetune import Finetune
from rltransfer.strategies.frozen import Frozen
from rltransfer.strategies.full import Full
from rltransfer.strategies.scratch import Scratch

if TYPE_CHECKING:
    from rltransfer.strategies.base import InnerStrategy
    from rltransfer.transfer.methods.auto import AutoMethod


def _as_strategies(value: Any) -> Any:
    """Accepts ``[full, frozen]``, as a shell gives it, and lists of kinds and settings."""
    if isinstance(value, str):
        return [name.strip() for name in value.strip().strip("[]()").split(",") if name.strip()]
    return value


class Auto(WeightsSettings):
    """Tries several strategies on the same seeds, stops the hopeless, and spends the rest of the budget on the best.

    Successive halving (Jamieson & Talwalkar 2016): in each round every strategy left trains for a slice, then the
    better half goes on to a slice up to twice as long, within ``share`` of the budget, judging included. ``scratch``
    is always in the race and stays to the last round, so that a harmful source costs little. Every step of every trial
    counts.
    """

    method: ClassVar[type["AutoMethod"]]
    kind: Literal["auto"] = "auto"
    refuses_modifiers: ClassVar[str] = "what 'auto' tries"
    of: Annotated[tuple["InnerStrategy", ...] | None, BeforeValidator(_as_strategies)] = Field(
        default=None, description="the strategies beside `scratch`; by default those of `full finetune frozen` that fit"
    )
    share: float = Field(default=0.3, gt=0, lt=1, description="of the budget, what choosing may cost")
    episodes: PositiveInt = Field(
        default=3, description="by which a strategy is judged after each slice, fewer where they are long; they count"
    )

    def description(self) -> Sequence[str]:
        """Returns nothing: no plan of it is printed."""
        return ()

    @field_validator("of")
    @classmethod
    def _can_race(cls, value: tuple[Strategy, ...] | None) -> tuple[Strategy, ...] | None:
        if value is None:
            return None
        composed = tuple(map(compose, value))
        if any(isinstance(method, Auto) for strategy in composed for method in strategy):
            raise ValueError("'auto' cannot be an arm of 'auto'")
        labels = list(map(strategy_label, composed))
        if len(set(labels)) < len(labels):
            raise ValueError("an arm is listed twice")
        return tuple(strategy for strategy in composed if strategy != (Scratch(),))

    @classmethod
    def inner_values(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        """Returns the strategies that race, as somebody wrote them."""
        return _as_strategies(settings.get("of")) or ()

    @property
    def candidates(self) -> tuple[Strategy, ...]:
        """The strategies that race, ``scratch`` first."""
        others = ((Full(),), (Finetune(),), (Frozen(),)) if self.of is None else self.of
        return ((Scratch(),), *others)

    @property
    def inner_strategies(self) -> tuple[Strategy, ...]:
        """The strategies that race."""
        return self.candidates

    @property
    def inner_labels(self) -> tuple[str, ...]:
        """The labels of the strategies that its settings name."""
        return tuple(map(strategy_label, self.of or ()))
