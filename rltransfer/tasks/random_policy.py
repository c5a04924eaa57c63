"""Acts uniformly at random in environments, on the actions that they call valid."""

import copy
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv


class UniformPolicy:
    """Acts uniformly at random, on valid actions where the environments tell them: what others are compared with."""

    def __init__(self, env: VecEnv, seed: int) -> None:
        self._env = env
        self._masks = has_action_masks(env) and isinstance(env.action_space, spaces.Discrete)
        self._spaces = [copy.deepcopy(env.action_space) for _ in range(env.num_envs)]
        for index, space in enumerate(self._spaces):
            space.seed(seed + index)

    def predict(self, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        """Returns one random action for each environment."""
        masks = action_masks(self._env).astype(np.int8) if self._masks else [None] * len(self._spaces)
        samples = [space.sample(mask) for space, mask in zip(self._spaces, masks, strict=True)]
        return np.stack([np.asarray(sample) for sample in samples]), None


def has_action_masks(env: VecEnv) -> bool:
    """Returns whether environments tell which actions are valid, as sb3-contrib's MaskablePPO asks them."""
    return bool(env.has_attr("action_masks"))


def action_masks(env: VecEnv) -> np.ndarray:
    """Returns which actions are valid now: [n_envs, n_actions], boolean."""
    return np.stack(env.env_method("action_masks"))
