"""Tasks whose observations are dictionaries with keys in a chosen order; registered as ``Keyed-v0``."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Keyed(gym.Env[dict[str, np.ndarray], np.ndarray]):
    """Rewards actions that are the first entries of ``z``; ``keys`` names the parts in their order, with their sizes.

    ``continuous`` actions are two numbers; otherwise there are three actions.
    """

    def __init__(self, keys: str = "z:3,a:2", continuous: bool = False) -> None:
        sizes = [(name, int(size)) for name, _, size in (part.partition(":") for part in keys.split(","))]
        # A sequence of pairs keeps its order; Gymnasium sorts a plain dict.
        self.observation_space = spaces.Dict(
            [(name, spaces.Box(-1.0, 1.0, (size,), np.float32)) for name, size in sizes]
        )
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32) if continuous else spaces.Discrete(3)
        self._steps = 0
        self._observation: dict[str, np.ndarray] = {}

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        if isinstance(self.action_space, spaces.Discrete):
            reward = float(int(action) == int(np.argmax(self._observation["z"])))
        else:
            reward = -float(np.abs(np.asarray(action) - self._observation["z"][:2]).sum())
        self._steps += 1
        return self._observe(), reward, False, self._steps >= 10, {}

    def _observe(self) -> dict[str, np.ndarray]:
        self._observation = {
            name: self.np_random.uniform(-1.0, 1.0, box.shape).astype(np.float32)
            for name, box in self.observation_space.spaces.items()
        }
        return self._observation


# pytest imports this file once more under another name, to look for doctests.
if "Keyed-v0" not in gym.registry:
    gym.register("Keyed-v0", entry_point=Keyed)
