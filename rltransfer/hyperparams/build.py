"""Turns plain hyperparameters into the objects that SB3's constructors take.

Only classes of SB3, torch and the user's own choice get in, none of ours that SB3 would save: a zip made with them
loads where rltransfer is not installed (sb3_facts.md#freezing), and our extractors are pickled by value.
"""

import copy
import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule

from rltransfer.errors import ConfigError, did_you_mean
from rltransfer.hyperparams.resolve import Hyperparameters

_SCHEDULES = ("learning_rate", "clip_range", "clip_range_vf", "delta_std")
_CLASSES = {"replay_buffer_class": object, "rollout_buffer_class": object}
_POLICY_CLASSES = {
    "activation_fn": torch.nn.Module,
    "features_extractor_class": BaseFeaturesExtractor,
    "optimizer_class": torch.optim.Optimizer,
}
_PREFIXES = {"nn": "torch.nn", "th": "torch", "optim": "torch.optim"}
_SHORT_NAMES = {
    "HerReplayBuffer": "stable_baselines3.HerReplayBuffer",
    "NatureCNN": "stable_baselines3.common.torch_layers.NatureCNN",
    "RMSpropTFLike": "stable_baselines3.common.sb2_compat.rmsprop_tf_like.RMSpropTFLike",
    "SmallCNN": "rltransfer.extractors.SmallCNN",
}
_NOISES: Mapping[str, Callable[..., ActionNoise]] = {
    "normal": NormalActionNoise,
    "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise,
}


def build_agent_kwargs(
    hyperparameters: Hyperparameters, action_space: spaces.Space[Any] | None = None
) -> dict[str, Any]:
    """Returns the arguments of the algorithm's constructor, without ``policy`` and ``env``.

    Args:
        hyperparameters: The settings; their classes are imported here.
        action_space: The space of actions, needed where the settings ask for action noise.

    Raises:
        ConfigError: A class cannot be imported or is of the wrong kind.
    """
    # SB3 writes into the dictionaries that it is given (SAC adds use_sde to policy_kwargs).
    arguments = copy.deepcopy(hyperparameters.agent)
    for name in _SCHEDULES:
        if isinstance(arguments.get(name), str):
            start = float(arguments[name].removeprefix("lin_"))
            arguments[name] = LinearSchedule(start=start, end=0.0, end_fraction=1.0)
    if isinstance(arguments.get("train_freq"), list):
        arguments["train_freq"] = tuple(arguments["train_freq"])
    if "policy_kwargs" in arguments:
        arguments["policy_kwargs"] = _import_classes(arguments["policy_kwargs"], _POLICY_CLASSES)
    noise_type = arguments.pop("noise_type", None)
    if noise_type is not None:
        arguments["action_noise"] = _noise(noise_type, arguments.pop("noise_std"), action_space)
    return _import_classes(arguments, _CLASSES)


def _import_classes(arguments: Mapping[str, Any], classes: Mapping[str, type]) -> dict[str, Any]:
    return {
        name: _import_class(name, value, classes[name]) if name in classes and isinstance(value, str) else value
        for name, value in arguments.items()
    }


def _import_class(key: str, name: str, base: type) -> type:
    dotted = _SHORT_NAMES.get(name, name)
    first, _, rest = dotted.partition(".")
    if first in _PREFIXES and rest:
        dotted = f"{_PREFIXES[first]}.{rest}"
    module, _, attribute = dotted.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"hyperparams: key {key!r}: {name!r} cannot be imported: {error}.{did_you_mean(name, _SHORT_NAMES)} "
            f"Expected a class as module.Class."
        ) from None
    if not isinstance(cls, type) or not issubclass(cls, base):
        raise ConfigError(f"hyperparams: key {key!r}: expected a subclass of {base.__name__}, found {name!r}.")
    return cls


def _noise(noise_type: str, noise_std: float, action_space: spaces.Space[Any] | None) -> ActionNoise:
    if not isinstance(action_space, spaces.Box):
        raise ConfigError("hyperparams: key 'noise_type': action noise needs actions in a Box.")
    return _NOISES[noise_type](mean=np.zeros(action_space.shape), sigma=np.full(action_space.shape, noise_std))
