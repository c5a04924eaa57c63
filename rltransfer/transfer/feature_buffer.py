"""A replay buffer of SB3 that holds each feature vector once."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float32, Int
from stable_baselines3.common.buffers import ReplayBuffer

Features = Float32[np.ndarray, "features"]


def replay_buffer_of_features(
    buffer_size: int,
    space: spaces.Box,
    action_space: spaces.Space[Any],
    *,
    device: torch.device | str,
    n_envs: int,
    handle_timeout_termination: bool = True,
) -> ReplayBuffer:
    """Returns SB3's replay buffer, whose next observations are rows of its observations wherever these are the same.

    SB3's own ``optimize_memory_usage`` cannot tell timeouts from ends, and loses what an episode ended with.

    Args:
        buffer_size: How many transitions it holds, of all environments together.
        space: Of the features.
        action_space: Of the agent.
        device: Where samples go.
        n_envs: The number of environments.
        handle_timeout_termination: Whether values are bootstrapped behind a time limit.
    """
    # So that SB3 allocates observations alone.
    buffer: Any = ReplayBuffer(
        buffer_size,
        space,
        action_space,
        device,
        n_envs,
        optimize_memory_usage=True,
        handle_timeout_termination=False,
    )
    buffer.optimize_memory_usage = False
    buffer.handle_timeout_termination = handle_timeout_termination
    buffer.next_observations = NextObservations(buffer.observations)
    return buffer  # type: ignore[no-any-return]


class NextObservations:
    """Stands for the ``next_observations`` of a replay buffer of features.

    Written and read as SB3's buffer does with its array: by row, and by rows and environments. What follows a row is
    read from the row behind it. It is kept apart where that row shows something else, bit by bit: at the end of an
    episode, where a run went on with new episodes, and at the newest row, which has none behind it.

    Args:
        observations: The array of the buffer. Rows are written one behind another, each before what follows it.
    """

    def __init__(self, observations: Float32[np.ndarray, "rows envs features"]) -> None:
        self._observations = observations
        self._apart: dict[tuple[int, int], Features] = {}

    @property
    def nbytes(self) -> int:
        """The bytes of what is kept apart."""
        return sum(features.nbytes for features in self._apart.values())

    def __setitem__(self, row: int, following: Float32[np.ndarray, "envs features"]) -> None:
        before = (row - 1) % len(self._observations)
        for env, features in enumerate(following):
            expected = self._apart.get((before, env))
            if expected is not None and expected.tobytes() == self._observations[row, env].tobytes():
                del self._apart[before, env]
            # In place of what was kept of the row that is overwritten.
            self._apart[row, env] = features.astype(self._observations.dtype)

    def __getitem__(
        self, places: tuple[Int[np.ndarray, "batch"], Int[np.ndarray, "batch"], Any]
    ) -> Float32[np.ndarray, "batch features"]:
        rows, envs = places[0], places[1]
        following: np.ndarray = self._observations[(rows + 1) % len(self._observations), envs]
        for number, place in enumerate(zip(rows.tolist(), envs.tolist(), strict=True)):
            features = self._apart.get(place)
            if features is not None:
                following[number] = features
        return following

    def state_dict(self) -> dict[str, Any]:
        """Returns what the observations do not tell."""
        return {"apart": dict(self._apart)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on from what ``state_dict`` returned, beside the observations of that moment."""
        self._apart = dict(state["apart"])
