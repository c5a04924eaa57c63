"""Tiny agents on tiny environments, and encoders made from them the way users make them: through a zip."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import Encoder, load_encoder

torch.set_num_threads(1)


class Images(gym.Env[np.ndarray, Any]):
    """Random 36x36 images; every action is rewarded alike."""

    observation_space = gym.spaces.Box(0, 255, (1, 36, 36), np.uint8)

    def __init__(self, n_actions: int = 2) -> None:
        self.action_space = gym.spaces.Discrete(n_actions)
        self._steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._observe(), float(self.np_random.normal()), self._steps >= 10, False, {}

    def _observe(self) -> np.ndarray:
        return self.np_random.integers(0, 256, (1, 36, 36), dtype=np.uint8)


class NormedCnn(BaseFeaturesExtractor):
    """A user's own extractor with BatchNorm and dropout, which does not name its groups."""

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 8) -> None:
        super().__init__(observation_space, features_dim)
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 2, 8, stride=7),
            torch.nn.BatchNorm2d(2),
            torch.nn.ReLU(),
            torch.nn.Dropout(0.5),
            torch.nn.Flatten(),
            torch.nn.Linear(50, features_dim),
        )

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.body(observations)


_SMALL: dict[str, tuple[type[BaseAlgorithm], dict[str, Any]]] = {
    "ppo": (PPO, {"n_steps": 32, "batch_size": 16, "n_epochs": 2}),
    "dqn": (
        DQN,
        {
            "learning_starts": 16,
            "buffer_size": 200,
            "batch_size": 8,
            "train_freq": 1,
            "tau": 0.005,
            "target_update_interval": 1,
        },
    ),
    "sac": (SAC, {"learning_starts": 16, "buffer_size": 200, "batch_size": 8}),
}
ENVS = {"ppo": "CartPole-v1", "dqn": "CartPole-v1", "sac": "Pendulum-v1"}


def make_agent(
    algo: str, env: Any = None, *, policy: str = "MlpPolicy", seed: int = 0, **settings: Any
) -> BaseAlgorithm:
    """Returns a small agent of an algorithm on its usual environment."""
    kind, small = _SMALL[algo]
    settings.setdefault("policy_kwargs", {"net_arch": [8, 8]} if policy == "MlpPolicy" else {})
    return kind(policy, ENVS[algo] if env is None else env, seed=seed, device="cpu", **{**small, **settings})


def normalised(env_id: str, **settings: Any) -> VecNormalize:
    """Returns an environment under VecNormalize."""
    return VecNormalize(DummyVecEnv([lambda: gym.make(env_id)]), **settings)


def encoder_of(agent: BaseAlgorithm, folder: Path) -> Encoder:
    """Returns an agent's encoder, statistics included, by way of the files that a run leaves."""
    agent.save(folder / "best_model.zip")
    normaliser = agent.get_vec_normalize_env()
    if normaliser is not None:
        normaliser.save(str(folder / "best_model_vecnormalize.pkl"))
    return load_encoder(folder / "best_model.zip")


def weights(agent: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Returns copies of everything in an agent's policy."""
    return {name: tensor.detach().clone() for name, tensor in agent.policy.state_dict().items()}
