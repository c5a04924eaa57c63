"""Rebuilds the policy of a source as a live network, from its tensors and spaces alone: no file is unpickled."""

from collections.abc import Mapping
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy

from rltransfer.algorithms import LOG_ENT_COEF
from rltransfer.artifact.architecture import image_settings, policy_settings_of
from rltransfer.artifact.encoder import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.hyperparams.build import build_agent_kwargs
from rltransfer.sb3_zip import UNKNOWN_ACTIVATION
from rltransfer.setting_kinds import ACTIVATIONS


def build_policy(encoder: Encoder) -> BasePolicy:
    """Returns a source's policy in evaluation mode; nothing of it needs a gradient, and target networks are left out.

    A policy class of the user's own is built with SB3's structure, if its tensors and a stated activation allow it.

    Raises:
        IncompatibleError: What the file tells is not enough to build it: a space or the activation is not known, its
            features extractor is neither SB3's nor ours, or it is recurrent.
    """
    _refuse_unknown(encoder)
    arguments = _arguments(encoder)
    spec = encoder.anatomy.spec
    kind = spec.load_class().policy_aliases[_policy_name(encoder, arguments)]
    schedule = () if spec.is_gradient_free else (lambda _: 0.0,)
    # Building draws initial weights, which must not change the random numbers of a run.
    with torch.random.fork_rng(devices=[]):
        try:
            policy: BasePolicy = kind(encoder.observation_space, encoder.action_space, *schedule, **arguments)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise IncompatibleError(f"The source's policy cannot be built again: {error}") from error
    _fill(policy, encoder)
    policy.set_training_mode(False)
    return policy.requires_grad_(False)


def _refuse_unknown(encoder: Encoder) -> None:
    reason = None
    if encoder.anatomy.spec.is_recurrent:
        reason = "it is recurrent, and its memory has no place where another agent acts"
    elif encoder.observation_space is None or encoder.action_space is None:
        reason = "the file does not tell its spaces"
    elif encoder.has_custom_extractor:
        reason = f"its features extractor is {encoder.extractor_class}, which is neither SB3's nor rltransfer's"
    elif encoder.anatomy.activation not in ACTIVATIONS and len(encoder.anatomy.encoders()) > 0:
        reason = _unknown_activation(encoder)
    if reason:
        raise IncompatibleError(f"The source's policy cannot be built again: {reason}. Its weights can still be moved.")


def _unknown_activation(encoder: Encoder) -> str:
    activation = encoder.anatomy.activation
    if activation != UNKNOWN_ACTIVATION:
        return f"its activation function is {activation}, and hyperparameters know {', '.join(ACTIVATIONS)} alone"
    told = "the file does not tell its activation function"
    if encoder.has_custom_policy:
        told = f"its policy class is {encoder.policy_class}, not SB3's, and its activation function is unknown"
    return f"{told}: state it with --activation, such as --activation ReLU"


def _arguments(encoder: Encoder) -> dict[str, Any]:
    """Returns the policy's arguments; of what the source's settings state, numbers alone are read and no class."""
    settings = policy_settings_of(encoder)
    normalises, scale = image_settings(encoder)
    if normalises is not None:
        settings["normalize_images"] = normalises
    if scale is not None:
        settings["features_extractor_kwargs"]["scale"] = scale
    if _explores_by_state(encoder):
        settings["use_sde"] = True
    made = build_agent_kwargs(Hyperparameters(policy="MlpPolicy", agent={"policy_kwargs": settings}))
    kwargs: dict[str, Any] = made["policy_kwargs"]
    return kwargs


def _explores_by_state(encoder: Encoder) -> bool:
    anatomy = encoder.anatomy
    return any(len(shape) == 2 and anatomy.is_log_std(tensor) for tensor, shape in anatomy.shapes.items())


def _policy_name(encoder: Encoder, arguments: Mapping[str, Any]) -> str:
    space = encoder.observation_space
    if encoder.anatomy.spec.is_gradient_free:
        return "MlpPolicy" if arguments else "LinearPolicy"
    if isinstance(space, spaces.Dict):
        return "MultiInputPolicy"
    anatomy = encoder.anatomy
    sees = any(anatomy.rule_of(layer).kind == "extractor" for layer in anatomy.online)
    return "CnnPolicy" if sees and len(space.shape or ()) == 3 else "MlpPolicy"  # type: ignore[union-attr]


def _fill(policy: BasePolicy, encoder: Encoder) -> None:
    tensors = policy.state_dict()
    given = {name: tensor for name, tensor in encoder.tensors.items() if name != LOG_ENT_COEF}
    wrong = [name for name, tensor in given.items() if name not in tensors or tensors[name].shape != tensor.shape]
    # A shared features extractor has three names for one tensor.
    filled = {tensors[name].data_ptr() for name in given if name in tensors}
    wrong += [
        name
        for name, tensor in tensors.items()
        if tensor.data_ptr() not in filled and not name.partition(".")[0].endswith("_target")
    ]
    if wrong:
        raise IncompatibleError(
            f"The source's policy cannot be built again: SB3 builds it with other tensors ({', '.join(wrong[:4])}). "
            "Is its features extractor neither SB3's nor rltransfer's? Its weights can still be moved."
        )
    with torch.no_grad():
        for name, tensor in given.items():
            tensors[name].copy_(tensor)
