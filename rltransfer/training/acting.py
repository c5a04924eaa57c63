"""Acts in evaluations: as an agent's ``predict`` does, without what that does anew for every observation."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import CategoricalDistribution, DiagGaussianDistribution
from stable_baselines3.common.policies import ActorCriticPolicy, BaseModel, BasePolicy
from stable_baselines3.common.utils import obs_as_tensor
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.anatomy import spec_of_agent
from rltransfer.tasks import UniformPolicy, action_masks, has_action_masks

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_LIBRARIES = ("stable_baselines3.", "sb3_contrib.")


class Predictor(Protocol):
    """What acts: an SB3 agent, or anything with its ``predict``."""

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]:
        """Returns one action for each environment, and the state to pass on."""


def predictor_of(agent: "BaseAlgorithm", env: VecEnv, *, seed: int, deterministic: bool) -> Predictor:
    """Returns what acts as an agent in environments, until its weights change.

    Args:
        agent: The agent.
        env: The environments.
        seed: From which an agent that explores by chance draws.
        deterministic: Whether the policy's mode is taken, or an action is sampled.
    """
    if not deterministic and hasattr(agent, "exploration_final_eps"):
        return _EpsilonGreedy(agent, env, seed)
    if spec_of_agent(agent).acts_under_masks and has_action_masks(env):
        return _Masked(agent, env)
    return _policy_predictor(agent.policy) if _asks_policy_alone(agent) else agent


def _asks_policy_alone(agent: "BaseAlgorithm") -> bool:
    """Returns whether ``predict`` of an agent passes on to its policy: not where a subclass does something else."""
    return type(agent).predict.__module__.startswith(_LIBRARIES) and "predict" not in vars(agent)


def _policy_predictor(policy: BasePolicy) -> Predictor:
    """Returns a policy of one of the libraries without the overhead; others act by themselves."""
    is_plain = type(policy).predict is BasePolicy.predict and type(policy).obs_to_tensor is BaseModel.obs_to_tensor
    return _PolicyAlone(policy) if is_plain and "predict" not in vars(policy) else policy


class _PolicyAlone:
    """Acts as ``BasePolicy.predict`` does on a batch from environments, whose mode is set once.

    Observations of environments need neither be copied nor be looked at: whether they are a batch, or images whose
    channels are last.
    """

    def __init__(self, policy: BasePolicy) -> None:
        policy.set_training_mode(False)
        self._policy = policy
        self._choose = _chooser_of(policy)
        self._device = policy.device
        self._shape = (-1, *(policy.action_space.shape or ()))
        self._bounds = policy.action_space if isinstance(policy.action_space, spaces.Box) else None

    @torch.no_grad()
    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,  # noqa: ARG002
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        """Returns one action for each environment."""
        chosen = self._choose(obs_as_tensor(observation, self._device), deterministic)
        actions: np.ndarray = chosen.cpu().numpy().reshape(self._shape)
        if self._bounds is not None and self._policy.squash_output:
            actions = self._policy.unscale_action(actions)
        elif self._bounds is not None:
            actions = np.clip(actions, self._bounds.low, self._bounds.high)
        return actions, state


_Chooser = Callable[[Any, bool], torch.Tensor]
_SHORTENED = ("_predict", "get_distribution", "extract_features", "_get_action_dist_from_latent")


def _chooser_of(policy: Any) -> _Chooser:
    """Returns what chooses actions as ``_predict`` does; of SB3's actor-critic policies without their distributions.

    To make, check and ask a distribution takes as long as a small network.
    """
    kind, distribution = type(policy), getattr(policy, "action_dist", None)
    is_stock = isinstance(policy, ActorCriticPolicy) and not any(
        getattr(kind, name) is not getattr(ActorCriticPolicy, name) or name in vars(policy) for name in _SHORTENED
    )
    if is_stock and type(distribution) is CategoricalDistribution:
        return _shortened(policy, _categorical)
    if is_stock and type(distribution) is DiagGaussianDistribution:
        return _shortened(policy, _normal)
    return policy._predict  # type: ignore[no-any-return]


def _shortened(policy: Any, draw: Callable[[Any, torch.Tensor, bool], torch.Tensor]) -> _Chooser:
    def choose(observations: Any, deterministic: bool) -> torch.Tensor:
        features = BaseModel.extract_features(policy, observations, policy.pi_features_extractor)
        parameters = policy.action_net(policy.mlp_extractor.forward_actor(features))
        if not bool(torch.isfinite(parameters).all()):
            # SB3's distributions say what is wrong.
            chosen: torch.Tensor = policy._predict(observations, deterministic)
            return chosen
        return draw(policy, parameters, deterministic)

    return choose


def _categorical(_: Any, logits: torch.Tensor, deterministic: bool) -> torch.Tensor:
    """Returns what PyTorch's ``Categorical`` gives, operation by operation."""
    probabilities = torch.softmax(logits - logits.logsumexp(dim=-1, keepdim=True), dim=-1)
    return probabilities.argmax(dim=1) if deterministic else torch.multinomial(probabilities, 1, True)[:, 0]


def _normal(policy: Any, means: torch.Tensor, deterministic: bool) -> torch.Tensor:
    """Returns what PyTorch's ``Normal`` gives, operation by operation."""
    if deterministic:
        return means
    deviations: torch.Tensor = torch.ones_like(means) * policy.log_std.exp()
    return means + torch.empty_like(means).normal_() * deviations


class _Masked:
    """Acts as a MaskablePPO agent does on environments that tell which actions are valid."""

    def __init__(self, agent: Any, env: VecEnv) -> None:
        self._agent = agent
        self._env = env

    def predict(self, observation: Any, *_: Any, deterministic: bool = False, **__: Any) -> tuple[np.ndarray, None]:
        """Returns one valid action for each environment."""
        actions, _state = self._agent.predict(
            observation, deterministic=deterministic, action_masks=action_masks(self._env)
        )
        return actions, None


class _EpsilonGreedy:
    """Acts as DQN does at the end of its exploration schedule; at step 0 its own rate is 1, a uniform policy."""

    def __init__(self, agent: Any, env: VecEnv, seed: int) -> None:
        self._policy = _policy_predictor(agent.policy)
        self._final_rate = agent.exploration_final_eps
        self._uniform = UniformPolicy(env, seed)
        self._rng = np.random.default_rng(seed)

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        """Returns one action for each environment, a random one with the final exploration rate."""
        greedy, _state = self._policy.predict(observation, deterministic=True)
        random, _state = self._uniform.predict()
        explores = self._rng.random(len(greedy)) < self._final_rate
        return np.where(explores, random, greedy), None
