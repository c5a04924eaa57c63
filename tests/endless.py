"""Environments whose episodes never end by themselves, or that hang, in the way and at the moment that is asked for."""

import time
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np


class Endless(gym.Env[np.ndarray, Any]):
    """Pays the first of two random numbers in each step; no episode ends.

    Args:
        hangs: What never returns: nothing, ``init``, ``reset`` or ``step``.
        after: How many calls of it return before, in the life of the environment.
        gate: It hangs only while there is this file.
        note: A file that is written as soon as it hangs.
    """

    is_mended = False
    observation_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, hangs: str = "", after: int = 0, gate: str = "", note: str = "") -> None:
        self._hangs = hangs
        self._left = after
        self._gate = gate
        self._note = note
        self._may_hang("init")

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._may_hang("reset")
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._may_hang("step")
        seen = self._observe()
        return seen, float(seen[0]), False, False, {}

    def _observe(self) -> np.ndarray:
        return self.np_random.uniform(-1.0, 1.0, 2).astype(np.float32)

    def _may_hang(self, where: str) -> None:
        if self.is_mended or self._hangs != where or not Path(self._gate).exists():
            return
        if self._left > 0:
            self._left -= 1
            return
        _hang(self._note)


class Hanging(gym.Wrapper[Any, Any, Any, Any]):
    """Never returns from a step while there is a file; the arguments are those of ``Endless``."""

    is_mended = False

    def __init__(self, env: gym.Env[Any, Any], hangs: str, gate: str, note: str) -> None:
        super().__init__(env)
        self._hangs = hangs
        self._gate = gate
        self._note = note

    def step(self, action: Any) -> Any:
        if not self.is_mended and self._hangs == "step" and Path(self._gate).exists():
            _hang(self._note)
        return self.env.step(action)


def _hang(note: str) -> None:
    if note:
        Path(note).touch()
    while True:
        time.sleep(0.1)


class LosesLives(gym.Wrapper[Any, Any, Any, Any]):
    """Ends an episode every ten steps, as with a life; a reset goes on with the same game, as SB3's for Atari does."""

    steps = 0
    is_over = True

    def reset(self, **settings: Any) -> Any:
        if self.is_over or settings.get("seed") is not None:
            self.is_over = False
            return self.env.reset(**settings)
        observation, _reward, terminated, truncated, info = self.env.step(0)
        return self.env.reset(**settings) if terminated or truncated else (observation, info)

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.is_over = terminated or truncated
        self.steps += 1
        return observation, reward, terminated or self.steps % 10 == 0, truncated, info


class Slow(gym.Wrapper[Any, Any, Any, Any]):
    """Takes its time in each step, and notes what is raised in it meanwhile: a simulator in C++ would abort."""

    raised: ClassVar[list[BaseException]] = []

    def step(self, action: Any) -> Any:
        try:
            time.sleep(0.7)
        except BaseException as error:
            self.raised.append(error)
            raise
        return self.env.step(action)


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


# By its name: pytest imports this file once more under another one, to look for doctests, and tests change the class.
if "Endless-v0" not in gym.registry:
    gym.register("Endless-v0", entry_point="endless:Endless")
