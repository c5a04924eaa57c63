"""Acts in evaluations: as an agent's ``predict`` does, without what that does anew for every observation."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import BaseModel, BasePolicy
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
        chosen = self._policy._predict(obs_as_tensor(observation, self._device), deterministic=deterministic)
        actions: np.ndarray = chosen.cpu().numpy().reshape(self._shape)
        if self._bounds is not None and self._policy.squash_output:
            actions = self._policy.unscale_action(actions)
        elif self._bounds is not None:
            actions = np.clip(actions, self._bounds.low, self._bounds.high)
        return actions, state


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
