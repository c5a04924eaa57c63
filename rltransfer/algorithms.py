"""Finds SB3's class of an algorithm by its short name."""

import importlib
from typing import TYPE_CHECKING

from rltransfer.errors import MissingExtraError

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_CLASSES = {
    "ppo": "stable_baselines3.PPO",
    "a2c": "stable_baselines3.A2C",
    "dqn": "stable_baselines3.DQN",
    "sac": "stable_baselines3.SAC",
    "td3": "stable_baselines3.TD3",
    "ddpg": "stable_baselines3.DDPG",
    "tqc": "sb3_contrib.TQC",
    "qrdqn": "sb3_contrib.QRDQN",
    "trpo": "sb3_contrib.TRPO",
    "crossq": "sb3_contrib.CrossQ",
    "ppo_lstm": "sb3_contrib.RecurrentPPO",
    "maskable_ppo": "sb3_contrib.MaskablePPO",
    "ars": "sb3_contrib.ARS",
}

OFF_POLICY = ("dqn", "qrdqn", "sac", "td3", "ddpg", "tqc", "crossq")
"""The algorithms whose agents keep a replay buffer."""


def agent_class(algo: str) -> "type[BaseAlgorithm]":
    """Returns SB3's class of an algorithm.

    Raises:
        MissingExtraError: It is one of sb3-contrib's, which is not installed.
    """
    module, _, name = _CLASSES[algo].rpartition(".")
    try:
        found: type[BaseAlgorithm] = getattr(importlib.import_module(module), name)
    except ImportError:
        raise MissingExtraError(
            f"{name} is in sb3-contrib, which is not installed: pip install 'rltransfer[contrib]'"
        ) from None
    return found
