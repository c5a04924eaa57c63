"""Compares the bounds of a source's actions with those of the target's."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces

from rltransfer.mapping import IndexMap
from rltransfer.records import Finding
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_SHOWN = 4
# The old gym wrote float32's largest number where Gymnasium writes infinity.
_ENDLESS = 1e30


@dataclasses.dataclass(frozen=True)
class OtherBounds:
    """An action of the target whose bounds are not those of the source's that it is: (low, high) of each."""

    action: int
    source: tuple[float, float]
    target: tuple[float, float]

    @property
    def clips(self) -> bool:
        """Whether the source's action can lie outside the target's bounds."""
        return self.source[0] < self.target[0] or self.source[1] > self.target[1]


def other_bounds(
    source: spaces.Space[Any] | None, target: spaces.Space[Any], entries: IndexMap | None
) -> tuple[OtherBounds, ...]:
    """Returns the actions whose bounds differ; none where the actions are no vectors of numbers.

    Args:
        source: The source's actions.
        target: The target's actions.
        entries: The source's action for each of the target's, None where they are alike.
    """
    if not isinstance(source, spaces.Box) or not isinstance(target, spaces.Box):
        return ()
    source_bounds, target_bounds = _bounds(source), _bounds(target)
    matches = enumerate(range(min(len(source_bounds), len(target_bounds))) if entries is None else entries)
    return tuple(
        OtherBounds(action, source_bounds[entry], target_bounds[action])
        for action, entry in matches
        if entry is not None and not np.allclose(source_bounds[entry], target_bounds[action])
    )


def describe_bounds(bounds: Sequence[OtherBounds], n_actions: int) -> str:
    """Returns in words which bounds the source and the target have.

    >>> describe_bounds([OtherBounds(0, (-2.0, 2.0), (0.0, 5.0))], 1)
    '[-2, 2] in the source, [0, 5] here'
    >>> describe_bounds([OtherBounds(1, (-1.0, 1.0), (0.0, float("inf")))], 3)
    '[-1, 1] in the source, [0, inf] here (action 1)'
    """
    by_words: dict[str, list[int]] = {}
    for bound in bounds:
        text = f"{_range(bound.source)} in the source, {_range(bound.target)} here"
        by_words.setdefault(text, []).append(bound.action)
    words = [text + ("" if len(actions) == n_actions else _which(actions)) for text, actions in by_words.items()]
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return "; ".join(words[:_SHOWN]) + more


def _bounds(space: spaces.Box) -> list[tuple[float, float]]:
    low, high = (
        np.where(np.abs(bound) < _ENDLESS, bound, np.copysign(np.inf, bound)).reshape(-1).tolist()
        for bound in (space.low.astype(np.float64), space.high.astype(np.float64))
    )
    return list(zip(low, high, strict=True))


def _range(bounds: tuple[float, float]) -> str:
    return f"[{bounds[0]:g}, {bounds[1]:g}]"


def _which(actions: Sequence[int]) -> str:
    more = f" and {len(actions) - _SHOWN} more" if len(actions) > _SHOWN else ""
    named = ", ".join(map(str, actions[:_SHOWN])) + more
    return f" (action{'' if len(actions) == 1 else 's'} {named})"


def clipped_actions(plan: Plan, agent: "BaseAlgorithm") -> Iterator[Finding]:
    """Yields that what the source's policy does is clipped to the bounds of an agent's actions."""
    source = None if plan.encoder is None else plan.encoder.action_space
    clipped = [bound for bound in other_bounds(source, agent.action_space, plan.actions) if bound.clips]
    if clipped:
        which = describe_bounds(clipped, spaces.flatdim(agent.action_space))
        words = f"what the source does is clipped to the bounds of the target's actions: {which}"
        yield Finding(kind="actions_clipped", severity="warning", words=words, numbers={"actions": len(clipped)})
