"""Control: another strategy with the entries of what moves permuted."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import NonNegativeInt, field_validator

from rltransfer.strategies.base import Strategy, WeightsSettings
from rltransfer.strategies.composition import compose, strategy_label, weights_method

if TYPE_CHECKING:
    from rltransfer.strategies.base import InnerStrategy
    from rltransfer.transfer.methods.shuffled import ShuffledMethod


class Shuffled(WeightsSettings):
    """Control: another strategy with the entries of each moved tensor permuted: the same numbers, no structure.

    ``seed`` None stands for the agent's seed. Of ``full``, it tests the policy, not the features.
    """

    method: ClassVar[type["ShuffledMethod"]]
    kind: Literal["shuffled"] = "shuffled"
    refuses_modifiers: ClassVar[str] = "what 'shuffled' is a control of"
    of: "InnerStrategy"
    seed: NonNegativeInt | None = None

    def description(self) -> Sequence[str]:
        """Returns nothing: the rows say all."""
        return ()

    @field_validator("of")
    @classmethod
    def _copies_weights(cls, value: Strategy) -> Strategy:
        composed = compose(value)
        first = weights_method(composed)
        if not first.copies_weights:
            raise ValueError(f"{first.kind!r} copies no weights that could be shuffled")
        for method in composed:
            if method.uses_policy:
                raise ValueError(f"{method.kind!r} uses the source's policy, which is not shuffled")
        return composed

    @classmethod
    def inner_values(cls, settings: Mapping[str, Any]) -> Sequence[Any]:
        """Returns the strategy that it is a control of, as somebody wrote it."""
        return (settings["of"],) if "of" in settings else ()

    @property
    def control_of(self) -> Strategy:
        """The strategy that it is a control of."""
        return self.of

    @property
    def inner_strategies(self) -> tuple[Strategy, ...]:
        """The strategy that it is a control of."""
        return (self.of,)

    @property
    def inner_labels(self) -> tuple[str, ...]:
        """The label of the strategy that it is a control of."""
        return (strategy_label(self.of),)
