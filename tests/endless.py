"""Environments whose episodes never end by themselves, or that hang, in the way and at the moment that is asked for."""

import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


class Endless(gym.Env[np.ndarray, Any]):
    """Pays the first entry of a walk; no episode ends.

    Args:
        hangs: What never returns: nothing, ``init``, ``reset`` or ``step``.
        after: How many calls of it return before, in the life of the environment.
        seconds: How long a step takes.
        note: A file that is written as soon as it hangs, and grows by a byte with each step.
        ends: After how many steps an episode ends after all; 0 for never.
    """

    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(
        self, hangs: str = "", after: int = 0, seconds: float = 0.0, note: str = "", ends: int = 0
    ) -> None:
        self._hangs = hangs
        self._left = after
        self._seconds = seconds
        self._note = note
        self._ends = ends
        self._steps = 0
        self._may_hang("init")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._may_hang("reset")
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._may_hang("step")
        time.sleep(self._seconds)
        self._steps += 1
        seen = self._observe()
        return seen, float(seen[0]), self._steps == self._ends, False, {}

    def _observe(self) -> np.ndarray:
        return self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)

    def _may_hang(self, where: str) -> None:
        if self._hangs != where:
            return
        if self._left == 0:
            if self._note:
                Path(self._note).touch()
            while True:
                time.sleep(0.1)
        self._left -= 1


class Ending(gym.Wrapper[Any, Any, Any, Any]):
    """Ends an episode after so many steps, outside of SB3's monitor."""

    def __init__(self, env: gym.Env[Any, Any], steps: int = 30, truncates: bool = False) -> None:
        super().__init__(env)
        self._most = steps
        self._truncates = truncates
        self._steps = 0

    def reset(self, **settings: Any) -> Any:
        self._steps = 0
        return self.env.reset(**settings)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        ends = self._steps == self._most
        return observation, reward, terminated or (ends and not self._truncates), truncated or ends, info


# pytest imports this file once more under another name, to look for doctests.
if "Endless-v0" not in gym.registry:
    gym.register("Endless-v0", entry_point=Endless)
