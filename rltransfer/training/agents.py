"""Builds agents of every algorithm, and knows what ``learn`` and ``predict`` need beyond SB3's common arguments."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.algorithms import agent_class, spec_of
from rltransfer.artifact import Encoder, network_kwargs, progressive_kwargs
from rltransfer.config import RunConfig
from rltransfer.errors import ConfigError, IncompatibleError, RunError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.hyperparams.build import build_agent_kwargs
from rltransfer.strategies import Progressive, progressive_settings
from rltransfer.tasks import has_action_masks

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

REPLACED_BY_NETWORK = ("features_extractor_class", "features_extractor_kwargs", "normalize_images")
"""The settings of a policy that a pretrained network has its own of."""
_ADAPTER = "rltransfer.extractors.LinearAdapter"


def build_agent(config: RunConfig, env: VecEnv, encoders: Sequence[Encoder] = ()) -> "BaseAlgorithm":
    """Returns a run's agent, as fresh as SB3 makes it.

    Args:
        config: The run.
        env: Its environments.
        encoders: Its sources, which give the columns of a progressive agent; of one that is a pretrained network, the
            agent's features extractor.

    Raises:
        MissingExtraError: The algorithm needs sb3-contrib.
        IncompatibleError: The sources, or the settings, cannot be columns; or a network is one of several sources.
        ConfigError: SB3 refuses the spaces, the settings or the device.
    """
    hyperparams = config.hyperparams
    part = progressive_settings(config.strategy)
    if part is not None:
        hyperparams = _with_columns(config, encoders, part)
    hyperparams = _with_network(hyperparams, encoders)
    if config.inputs is not None and config.inputs.adapter is not None:
        hyperparams = hyperparams.with_extractor(_ADAPTER, features_dim=config.inputs.adapter)
    settings = build_agent_kwargs(hyperparams, env.action_space)
    kind = agent_class(config.algo)
    try:
        agent = kind(hyperparams.policy, env, seed=config.seed, device=config.device, verbose=0, **settings)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        # SB3 checks spaces, policies and devices with these.
        raise ConfigError(
            f"{config.algo} cannot be built for {config.task.env} on device {config.device!r}: {error}"
        ) from error
    if config.device != "auto" and agent.device.type != config.device.partition(":")[0]:
        # SB3 takes the CPU in silence where there is no CUDA.
        raise ConfigError(
            f"There is no device {config.device!r} here: use --device cpu, or auto for the best there is."
        )
    return agent


def _with_network(hyperparams: Hyperparameters, encoders: Sequence[Encoder]) -> Hyperparameters:
    """Returns a run's settings with a network in place of their features extractor, which is that of ``scratch``."""
    networks = [encoder for encoder in encoders if encoder.source.network is not None]
    if not networks:
        return hyperparams
    if len(encoders) > 1:
        raise IncompatibleError(
            f"{networks[0].source.path} is a pretrained network: it can be the only source, not one of several."
        )
    given = dict(hyperparams.agent.get("policy_kwargs") or {})
    frames = hyperparams.frame_stack or 1
    agent = {**hyperparams.agent, "policy_kwargs": given | network_kwargs(networks[0], frames=frames)}
    return hyperparams.model_copy(update={"agent": agent})


def _with_columns(config: RunConfig, encoders: Sequence[Encoder], part: Progressive) -> Hyperparameters:
    """Returns a run's settings with columns; without laterals they are the networks of ``scratch``."""
    if config.inputs is not None and config.inputs.adapter is not None:
        raise ConfigError(
            "inputs: an adapter stands in front of the agent's own layers, and the columns of 'progressive' read the "
            "observations: choose one of them."
        )
    built = build_agent_kwargs(Hyperparameters(policy="MlpPolicy", agent={"policy_kwargs": _policy_kwargs(config)}))
    kwargs = progressive_kwargs(encoders, config.algo, built["policy_kwargs"], part=part)
    agent = {**config.hyperparams.agent, "policy_kwargs": kwargs}
    return config.hyperparams.model_copy(update={"agent": agent})


def _policy_kwargs(config: RunConfig) -> dict[str, Any]:
    return dict(config.hyperparams.agent.get("policy_kwargs") or {})


def learn_arguments(algo: str, env: VecEnv) -> dict[str, Any]:
    """Returns the arguments of ``learn`` that only one algorithm has."""
    return {"use_masking": has_action_masks(env)} if spec_of(algo).acts_under_masks else {}


def refuse_broken_weights(agent: "BaseAlgorithm") -> None:
    """Raises RunError if a weight of an agent is NaN or inf: DQN and TD3 would go on to the end (sb3_facts.md#nan)."""
    named = dict(agent.policy.named_parameters())
    # Norms of all tensors at once are fast; one that overflows is looked at again.
    if torch.isfinite(torch.stack(torch._foreach_norm([value.detach() for value in named.values()]))).all():
        return
    for name, value in named.items():
        if not torch.isfinite(value).all():
            raise RunError(
                f"The agent's weights are not finite any more ({name}, after {agent.num_timesteps:,} env_steps and "
                f"{agent._n_updates:,} updates). A smaller learning_rate, or max_grad_norm, may help."
            )
