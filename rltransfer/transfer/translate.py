"""Brings a source's transitions into a target's terms: its inputs into their places, its actions between its bounds."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Bool, Float, Shaped
from stable_baselines3.common.preprocessing import get_obs_shape

from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.replay_file import Transitions
from rltransfer.spaces import describe, parts_by_key
from rltransfer.transfer.observation_map import maps_by_key, new_entries, write_to_target
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import taken_actions

# Between bounds that differ, float32 does not meet -1 and 1 exactly.
_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True)
class Translation:
    """A source's transitions as a target's replay buffer would hold them.

    Attributes:
        transitions: Those whose action the target has; inputs that the source does not know are zero.
        is_new: Which entries of an observation the source does not know, by key.
        n_left_out: How many transitions are not among them.
    """

    transitions: Transitions
    is_new: Mapping[str, Bool[np.ndarray, "..."]]
    n_left_out: int


def translated(
    transitions: Transitions, plan: Plan, encoder: Encoder, observations: spaces.Space[Any], actions: spaces.Space[Any]
) -> Translation:
    """Returns a source's transitions in the terms of a target's spaces.

    Args:
        transitions: What the source remembers.
        plan: Which input and which action of the source each one of the target's is.
        encoder: The source.
        observations: The target's observations, as its agent sees them.
        actions: The target's actions.

    Raises:
        IncompatibleError: They do not match, or it is not said how.
    """
    _refuse_other_agent(transitions, encoder)
    places = dict(_places(plan, transitions, observations))
    if all(place.source is None for place in places.values()):
        raise _misfit(encoder, observations)
    values, is_kept = _in_targets_actions(transitions.actions, encoder.action_space, actions, plan.actions)
    if not is_kept.any():
        raise IncompatibleError("None of the source's transitions can be used: the target has none of their actions.")
    rows = slice(None) if is_kept.all() else is_kept
    sides = [
        {key: place.filled(given, len(transitions), encoder, observations)[rows] for key, place in places.items()}
        for given in (transitions.observations, transitions.next_observations)
    ]
    return Translation(
        Transitions(
            observations=sides[0],
            next_observations=sides[1],
            actions=values[rows],
            rewards=transitions.rewards[rows],
            dones=transitions.dones[rows],
            has_last=transitions.has_last,
        ),
        is_new={key: place.is_new for key, place in places.items()},
        n_left_out=int((~is_kept).sum()),
    )


def in_environment(actions: np.ndarray, space: spaces.Space[Any]) -> np.ndarray:
    """Returns stored actions as an environment of this space receives them.

    >>> in_environment(np.array([[-1.0], [0.0]]), spaces.Box(-2.0, 2.0, (1,))).tolist()
    [[-2.0], [0.0]]
    """
    if not isinstance(space, spaces.Box):
        return actions.reshape(len(actions))
    low, high = (bound.reshape(-1) for bound in (space.low, space.high))
    values: np.ndarray = low + 0.5 * (actions + 1.0) * (high - low)
    return values.reshape(-1, *space.shape)


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a part of the target's observation comes from: a key of the source's (None: it is new), and its entries."""

    space: spaces.Space[Any]
    source: str | None
    entries: IndexMap | None

    @property
    def shape(self) -> tuple[int, ...]:
        shape: Any = get_obs_shape(self.space)
        return tuple(shape)

    @property
    def is_new(self) -> Bool[np.ndarray, "..."]:
        if self.source is None or self.entries is None:
            return np.full(self.shape, self.source is None)
        return new_entries(self.entries, self.shape)

    def filled(
        self, given: Mapping[str, np.ndarray], size: int, encoder: Encoder, space: spaces.Space[Any]
    ) -> Shaped[np.ndarray, "transitions ..."]:
        """Returns the target's observations, zero where the source knows nothing."""
        dtype = np.dtype(self.space.dtype)
        if self.source is None:
            return np.zeros((size, *self.shape), dtype)
        source_values = given[self.source]
        if source_values.dtype != dtype and not source_values.dtype.kind == dtype.kind == "f":
            raise _misfit(encoder, space)
        if self.entries is None:
            if source_values.shape[1:] != self.shape:
                raise _misfit(encoder, space)
            return source_values.astype(dtype, copy=False)
        values = np.zeros((size, *self.shape), dtype)
        write_to_target(source_values, self.entries, values)
        return values


def _places(plan: Plan, transitions: Transitions, space: spaces.Space[Any]) -> Iterator[tuple[str, _Place]]:
    target = parts_by_key(space)
    for key, input_map in maps_by_key(plan.inputs, transitions.observations, target).items():
        yield key, _Place(target[key], input_map.source, input_map.entries)


def _refuse_other_agent(transitions: Transitions, encoder: Encoder) -> None:
    """Raises IncompatibleError where a replay buffer is not that of the agent that it lies beside."""
    space = encoder.observation_space
    if space is None or encoder.action_space is None:
        raise IncompatibleError("What the source remembers cannot be used: its file does not tell its spaces.")
    expected: dict[str, Any] = {key: tuple(get_obs_shape(part)) for key, part in parts_by_key(space).items()}
    shapes = {key: values.shape[1:] for key, values in transitions.observations.items()}
    if expected != shapes:
        raise IncompatibleError(
            f"The replay buffer beside the source is not the source's: its observations are of shape {shapes}, and the "
            f"source reads {describe(space)}."
        )


def _in_targets_actions(
    actions: np.ndarray, source: spaces.Space[Any] | None, target: spaces.Space[Any], stated: IndexMap | None
) -> tuple[np.ndarray, Bool[np.ndarray, " transitions"]]:
    """Returns the stored actions as the target's buffer would hold them, and which of them the target has."""
    taken = taken_actions(source, target, stated)
    if isinstance(source, spaces.Box) and isinstance(target, spaces.Box):
        return _between_bounds(actions, source, target, taken)
    assert isinstance(source, spaces.Discrete)
    ours = np.full(int(source.n), -1)
    for place, entry in enumerate(taken):
        if entry is not None:
            ours[entry] = place
    values = ours[actions.astype(np.int64)]
    return values, np.all(values >= 0, axis=1)


def _between_bounds(
    actions: Float[np.ndarray, "transitions theirs"], source: spaces.Box, target: spaces.Box, taken: IndexMap
) -> tuple[Float[np.ndarray, "transitions ours"], Bool[np.ndarray, " transitions"]]:
    """Returns actions from -1 to 1 between the target's bounds; new entries do nothing, which is zero or next to it."""
    low, high = target.low.reshape(-1), target.high.reshape(-1)
    values = np.empty((len(actions), len(taken)), actions.dtype)
    performed = in_environment(actions, source).reshape(len(actions), -1)
    bounds = source.low.reshape(-1), source.high.reshape(-1)
    for place, entry in enumerate(taken):
        if entry is not None and (bounds[0][entry], bounds[1][entry]) == (low[place], high[place]):
            values[:, place] = actions[:, entry]
            continue
        done = np.clip(0.0, low[place], high[place]) if entry is None else performed[:, entry]
        values[:, place] = 2.0 * (done - low[place]) / (high[place] - low[place]) - 1.0
    is_inside: np.ndarray = np.all(np.abs(values) <= 1.0 + _TOLERANCE, axis=1)
    return np.clip(values, -1.0, 1.0), is_inside


def _misfit(encoder: Encoder, space: spaces.Space[Any]) -> IncompatibleError:
    return IncompatibleError(
        f"What the source remembers does not fit: it saw {describe(encoder.observation_space)}, and the target's agent "
        f"sees {describe(space)}. Say which input of the source each one of the target is with inputs "
        "(--inputs map:[0,1,None])."
    )
