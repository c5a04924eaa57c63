"""The algorithms: one row each, which says all that the rest of the library has to know about it.

To add one, write its row (an ``AlgorithmSpec``) beside its kin, name it in ``_ROWS``, and give it a file of
hyperparameters. An algorithm of your own is added from outside by ``register``.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from rltransfer.algorithms.actor_critic import A2C, MASKABLE_PPO, PPO, RECURRENT_PPO, TRPO
from rltransfer.algorithms.off_policy_actor_critic import CROSSQ, DDPG, SAC, TD3, TQC
from rltransfer.algorithms.q_learning import DQN, QRDQN
from rltransfer.algorithms.random_search import ARS
from rltransfer.algorithms.spec import (
    LOG_ENT_COEF,
    LOG_STD,
    ActionForm,
    AlgorithmSpec,
    Branch,
    Heads,
    ModuleKind,
    NetArch,
    Role,
    Rule,
    ZipSignature,
)
from rltransfer.errors import ConfigError, unknown

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

__all__ = [
    "DEFAULT_ALGORITHM",
    "LOG_ENT_COEF",
    "LOG_STD",
    "ActionForm",
    "AlgorithmSpec",
    "Branch",
    "Heads",
    "ModuleKind",
    "NetArch",
    "Role",
    "Rule",
    "ZipSignature",
    "agent_class",
    "algorithm_names",
    "all_specs",
    "off_policy_names",
    "register",
    "spec_of",
    "spec_of_class",
    "spec_of_zip",
]

_ROWS = (PPO, A2C, DQN, SAC, TD3, DDPG, TQC, QRDQN, TRPO, CROSSQ, RECURRENT_PPO, MASKABLE_PPO, ARS)
DEFAULT_ALGORITHM = PPO.name
_SPECS: dict[str, AlgorithmSpec] = {row.name: row for row in _ROWS}


def all_specs() -> tuple[AlgorithmSpec, ...]:
    """Returns the row of each algorithm."""
    return tuple(_SPECS.values())


def algorithm_names() -> tuple[str, ...]:
    """Returns the short name of each algorithm."""
    return tuple(_SPECS)


def off_policy_names() -> tuple[str, ...]:
    """Returns the short name of each algorithm that keeps a replay buffer, those of discrete actions first."""
    off_policy = [spec for spec in _SPECS.values() if spec.keeps_replay_buffer]
    return tuple(spec.name for spec in sorted(off_policy, key=lambda spec: spec.q_values is None))


def spec_of(name: str) -> AlgorithmSpec:
    """Returns the row of an algorithm.

    Raises:
        UnknownNameError: There is no such algorithm.
    """
    if name not in _SPECS:
        raise unknown("algorithm", name, _SPECS)
    return _SPECS[name]


def register(spec: AlgorithmSpec) -> None:
    """Adds a row, in this process: such as ``dataclasses.replace(spec_of("ppo"), name=..., class_path=...)``.

    Raises:
        ConfigError: There is an algorithm of this name.
    """
    if spec.name in _SPECS:
        raise ConfigError(f"There is an algorithm {spec.name!r} already: {_SPECS[spec.name].class_path}.")
    _SPECS[spec.name] = spec


def agent_class(name: str) -> "type[BaseAlgorithm]":
    """Returns the class of an algorithm's agents.

    Raises:
        MissingExtraError: It is one of sb3-contrib's, which is not installed.
        UnknownNameError: There is no such algorithm.
    """
    return spec_of(name).load_class()


def spec_of_class(kind: type) -> AlgorithmSpec | None:
    """Returns the row of an agent's class, or of the nearest class that it is derived from; None if there is none."""
    by_class = {spec.class_name: spec for spec in _SPECS.values()}
    return next((by_class[base.__name__] for base in kind.__mro__ if base.__name__ in by_class), None)


def spec_of_zip(data: Mapping[str, Any], tensors: Iterable[str]) -> AlgorithmSpec | None:
    """Returns the row of the agent in an SB3 zip, or None.

    Args:
        data: Its ``data`` member.
        tensors: The names of its policy's tensors.
    """
    names = list(tensors)
    fitting = [spec for spec in _SPECS.values() if spec.signature.fits(data, names)]
    covered = {name for spec in fitting for name in spec.signature.over}
    return next((spec for spec in fitting if spec.name not in covered), None)
