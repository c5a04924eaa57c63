"""Cuts off the episodes of evaluations that do not end by themselves."""

from typing import Any

import gymnasium as gym
from gymnasium.wrappers import TimeLimit
from stable_baselines3.common.monitor import Monitor

from rltransfer.tasks.env_state import layers_of

MAX_EPISODE_STEPS = 10_000
"""After so many steps an evaluation cuts an episode off, where no time limit is set anywhere."""
CUT_OFF = "rltransfer_cut_off"
"""In the info of the last step of an episode that was cut off: whether by the default bound."""


class BoundedMonitor(Monitor):
    """SB3's monitor, which also truncates an episode after so many steps.

    Not a wrapper of its own: checkpoints name the parts of an environment's state by the number of the wrapper.

    Attributes:
        max_episode_steps: The bound; None for none.
        is_default: Whether the bound is the default one.
    """

    max_episode_steps: int | None = None
    is_default = False

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment; the last step within the bound truncates the episode."""
        if self.max_episode_steps is None or len(self.rewards) + 1 < self.max_episode_steps:
            return super().step(action)
        env = self.env
        self.env = _Truncating(env, self.is_default)
        try:
            return super().step(action)
        finally:
            self.env = env

    def episode(self) -> dict[str, float]:
        """Returns the return and the length of the episode so far."""
        return {"r": round(sum(self.rewards), 6), "l": len(self.rewards)}


class _Truncating(gym.Wrapper[Any, Any, Any, Any]):
    """Truncates the episode at the next step, unless that ends it anyway."""

    def __init__(self, env: gym.Env[Any, Any], is_default: bool) -> None:
        super().__init__(env)
        self._is_default = is_default

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not (terminated or truncated):
            truncated, info = True, {**info, CUT_OFF: self._is_default}
        return observation, reward, terminated, truncated, info


def bound_episodes(monitor: BoundedMonitor, env: gym.Env[Any, Any], max_episode_steps: int | None) -> None:
    """Sets the bound of an evaluation's episodes: the given one, or the default where the environment has none.

    Args:
        monitor: The monitor inside the environment.
        env: The environment with all of its wrappers.
        max_episode_steps: The bound that the user has set.
    """
    if max_episode_steps is not None:
        monitor.max_episode_steps = max_episode_steps
    elif not _has_time_limit(env, monitor):
        monitor.max_episode_steps = MAX_EPISODE_STEPS
        monitor.is_default = True


def _has_time_limit(env: gym.Env[Any, Any], monitor: Monitor) -> bool:
    layers = [*layers_of(env), *layers_of(monitor)]
    # ALE limits its games itself, in frames: a game may well take more steps than the default.
    emulator = getattr(layers[-1], "ale", None)
    is_limited = emulator is not None and emulator.getInt("max_num_frames_per_episode") > 0
    return is_limited or any(isinstance(layer, TimeLimit) for layer in layers)
