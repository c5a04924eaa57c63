"""Tiny agents on tiny environments, and encoders made from them the way users make them: through a zip."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from sb3_contrib import ARS, QRDQN, TQC, TRPO, CrossQ, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import Encoder, load_encoder
from rltransfer.algorithms import all_specs
from rltransfer.anatomy import agent_tensors
from rltransfer.transfer.optimizer_hooks import agent_optimizers

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


class OwnVector(BaseFeaturesExtractor):
    """A user's own extractor of a vector that does not state its inputs."""

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 4) -> None:
        super().__init__(observation_space, features_dim)
        self.net = torch.nn.Sequential(torch.nn.Linear(observation_space.shape[0], features_dim), torch.nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.net(observations)


_ON_POLICY = {"n_steps": 32, "batch_size": 16}
_OFF_POLICY = {"learning_starts": 16, "buffer_size": 200, "batch_size": 8}
_Q_LEARNING = {**_OFF_POLICY, "train_freq": 1, "tau": 0.005, "target_update_interval": 1}
_SMALL: dict[str, tuple[type[BaseAlgorithm], dict[str, Any]]] = {
    "ppo": (PPO, {**_ON_POLICY, "n_epochs": 2}),
    "a2c": (A2C, {"n_steps": 16}),
    "trpo": (TRPO, _ON_POLICY),
    "maskable_ppo": (MaskablePPO, {**_ON_POLICY, "n_epochs": 2}),
    "ppo_lstm": (RecurrentPPO, {**_ON_POLICY, "n_epochs": 2}),
    "dqn": (DQN, _Q_LEARNING),
    "qrdqn": (QRDQN, _Q_LEARNING),
    "sac": (SAC, _OFF_POLICY),
    "tqc": (TQC, _OFF_POLICY),
    "crossq": (CrossQ, _OFF_POLICY),
    "td3": (TD3, {**_OFF_POLICY, "policy_delay": 1}),
    "ddpg": (DDPG, _OFF_POLICY),
    "ars": (ARS, {"n_delta": 2, "n_eval_episodes": 1}),
}
for _spec in all_specs():
    _SMALL.setdefault(_spec.name, (_spec.load_class(), _OFF_POLICY if _spec.keeps_replay_buffer else _ON_POLICY))
_CONTINUOUS = [spec.name for spec in all_specs() if spec.takes_action_noise]
ENVS = {algo: "Pendulum-v1" if algo in _CONTINUOUS else "CartPole-v1" for algo in _SMALL}
STEPS = {algo: 64 if "n_steps" in settings else 40 for algo, (_, settings) in _SMALL.items()}
_POLICY_KWARGS: dict[str, dict[str, Any]] = {
    "MlpPolicy": {"net_arch": [8, 8]},
    "MlpLstmPolicy": {"net_arch": [8], "lstm_hidden_size": 8},
}


def make_agent(
    algo: str, env: Any = None, *, policy: str = "MlpPolicy", seed: int = 0, **settings: Any
) -> BaseAlgorithm:
    """Returns a small agent of an algorithm on its usual environment."""
    kind, small = _SMALL[algo]
    if algo == "ppo_lstm" and policy == "MlpPolicy":
        policy = "MlpLstmPolicy"
    settings.setdefault("policy_kwargs", dict(_POLICY_KWARGS.get(policy, {})))
    return kind(policy, ENVS[algo] if env is None else env, seed=seed, **{"device": "cpu", **small, **settings})


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


def source_encoder(algo: str, folder: Path, env: Any = None, **settings: Any) -> Encoder:
    """Returns the encoder of a small agent that has learned for some steps."""
    return encoder_of(make_agent(algo, env, seed=7, **settings).learn(STEPS[algo]), folder)


def pulls_of_last_steps(agent: BaseAlgorithm, hold: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Returns what the plan adds to each gradient in the last step of each optimizer, and the weights before it."""
    names = {parameter: name for name, parameter in agent_tensors(agent).items()}
    losses: dict[str, torch.Tensor] = {}
    added: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def parameters(optimizer: torch.optim.Optimizer) -> Any:
        return ((names[item], item) for group in optimizer.param_groups for item in group["params"])

    def before(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        losses.update(
            {name: parameter.grad.clone() for name, parameter in parameters(optimizer) if parameter.grad is not None}
        )

    def after(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        for name, parameter in parameters(optimizer):
            if parameter.grad is not None:
                added[name] = parameter.grad - losses[name], parameter.detach().clone()

    for optimizer in agent_optimizers(agent).values():
        optimizer.register_step_pre_hook(before)
    transfer = hold()
    for optimizer in agent_optimizers(agent).values():
        optimizer.register_step_pre_hook(after)
    agent.learn(STEPS["ppo"], callback=transfer.callbacks)
    return added
