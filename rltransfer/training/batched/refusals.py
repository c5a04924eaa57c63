"""Says which agents can be trained as one network, and why others cannot."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import FlattenExtractor, MlpExtractor

from rltransfer.algorithms import agent_class, all_specs
from rltransfer.errors import IncompatibleError
from rltransfer.training.batched.layout import Layout
from rltransfer.training.batched.step_rules import foreign_hook

_DISTRIBUTIONS = (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)
_OPTIMIZERS = (torch.optim.Adam, torch.optim.RMSprop, RMSpropTFLike)
_PLAIN = {"weight_decay": 0, "amsgrad": False, "maximize": False, "momentum": 0, "centered": False}
"""The options of an optimizer that change its formula, with the values that they must have."""
_SETTINGS = (
    "n_steps",
    "gamma",
    "gae_lambda",
    "ent_coef",
    "vf_coef",
    "max_grad_norm",
    "normalize_advantage",
    "batch_size",
    "n_epochs",
    "target_kl",
)
_REPLACED = ("train", "collect_rollouts", "_update_learning_rate", "_update_info_buffer")
_REPLACED_IN_POLICY = ("forward", "evaluate_actions", "predict_values", "extract_features", "optimizer_step")


def refuse_agents(agents: Sequence[BaseAlgorithm]) -> None:
    """Raises IncompatibleError if agents cannot be trained as one network."""
    if not agents:
        raise IncompatibleError("There is no agent to train: give one at least.")
    for agent in agents:
        _refuse_agent(agent)
    first = _signature(agents[0])
    for agent in agents[1:]:
        for name, value in _signature(agent).items():
            if value != first[name]:
                raise IncompatibleError(
                    f"Agents of different {name} cannot be trained as one network: {first[name]} and {value}. "
                    "Train them apart, each by its own learn."
                )


def _refuse_agent(agent: BaseAlgorithm) -> None:
    """Raises IncompatibleError if the batched trainer does not compute what stock SB3 would with an agent."""
    for obstacle in (_algorithm, _policy, _network, _optimizer, _rollouts, foreign_hook):
        reason = obstacle(agent)
        if reason:
            raise IncompatibleError(f"The batched trainer cannot train this agent: {reason}. Use its own learn.")


def _algorithm(agent: Any) -> str | None:
    # A subclass, registered or not, may have updates of its own.
    rows = [spec for spec in all_specs() if spec.batched_loss and spec.class_path.startswith("stable_baselines3.")]
    if type(agent) not in [agent_class(spec.name) for spec in rows]:
        words = " and ".join(spec.class_name for spec in rows)
        return f"it knows SB3's {words}, and the agent is {type(agent).__name__}"
    replaced = [name for name in _REPLACED if name in vars(agent)]
    if replaced:
        return f"its {replaced[0]} has been replaced"
    return "it has no environments (agent.set_env)" if agent.env is None else None


def _policy(agent: Any) -> str | None:
    policy = agent.policy
    if agent.use_sde:
        return "gSDE (use_sde) draws noise matrices, which it does not know"
    if type(policy) is not ActorCriticPolicy:
        return f"it knows MlpPolicy, and the policy is {type(policy).__name__}"
    if not isinstance(policy.action_dist, _DISTRIBUTIONS):
        return f"it does not know the action distribution {type(policy.action_dist).__name__}"
    replaced = [name for name in _REPLACED_IN_POLICY if name in vars(policy)]
    return f"the policy's {replaced[0]} has been replaced" if replaced else None


def _network(agent: Any) -> str | None:
    policy = agent.policy
    extractors = (policy.features_extractor, policy.pi_features_extractor, policy.vf_features_extractor)
    for extractor in extractors:
        if type(extractor) is not FlattenExtractor:
            return f"the features extractor is {type(extractor).__name__}, and it knows FlattenExtractor"
    if type(policy.mlp_extractor) is not MlpExtractor:
        return f"the mlp_extractor is {type(policy.mlp_extractor).__name__}, and it knows SB3's MlpExtractor"
    nets = (policy.mlp_extractor.policy_net, policy.mlp_extractor.value_net)
    for layer in (*nets[0], *nets[1], policy.action_net, policy.value_net):
        is_linear = type(layer) is torch.nn.Linear
        if not is_linear and list(layer.state_dict()):
            return f"the network has a layer {type(layer).__name__}, which has parameters and is no Linear"
        if layer._forward_hooks or layer._forward_pre_hooks or "forward" in vars(layer):
            return f"a layer {type(layer).__name__} has a forward hook"
    if any(parameter.dtype != torch.float32 for parameter in policy.parameters()):
        return "its parameters are not float32"
    return None


def _optimizer(agent: Any) -> str | None:
    optimizer = agent.policy.optimizer
    if type(optimizer) not in _OPTIMIZERS:
        return f"it knows Adam, RMSprop and RMSpropTFLike, and the optimizer is {type(optimizer).__name__}"
    if len(optimizer.param_groups) != 1:
        return "its optimizer has several groups"
    group = optimizer.param_groups[0]
    for name, value in _PLAIN.items():
        if group.get(name, value) != value:
            return f"its optimizer has {name}={group[name]!r}, and it knows {value!r}"
    return None


def _rollouts(agent: Any) -> str | None:
    if agent.rollout_buffer_class is not RolloutBuffer:
        return f"its rollout buffer is {agent.rollout_buffer_class.__name__}, and it knows SB3's RolloutBuffer"
    return None


def _signature(agent: Any) -> dict[str, Any]:
    """Returns what agents must share to be trained as one network, by the words that an error says of it."""
    policy, group = agent.policy, agent.policy.optimizer.param_groups[0]
    layout = Layout.of(policy)
    words: Callable[[Any], list[str]] = lambda net: [repr(layer) for layer in net]  # noqa: E731
    return {
        "algorithm": type(agent).__name__,
        "observation space": (agent.observation_space.shape, repr(type(agent.observation_space))),
        "action space": agent.action_space,
        "network": (words(policy.mlp_extractor.policy_net), words(policy.mlp_extractor.value_net)),
        "parameters": dict(zip(layout.names, layout.shapes, strict=True)),
        "optimizer": type(policy.optimizer).__name__,
        "optimizer settings": {name: group[name] for name in ("betas", "alpha", "eps") if name in group},
        "number of environments": agent.n_envs,
        "device": agent.device,
        **{name: getattr(agent, name, None) for name in _SETTINGS},
        "clipping of values": getattr(agent, "clip_range_vf", None) is not None,
    }
