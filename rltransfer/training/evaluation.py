"""Evaluates policies so that a score depends only on weights, statistics and seeds."""

import warnings
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from rltransfer import tasks
from rltransfer.anatomy import spec_of_agent
from rltransfer.records import Episodes
from rltransfer.tasks import UniformPolicy, action_masks, episode_limit, has_action_masks

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class _Policy(Protocol):
    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = False
    ) -> tuple[np.ndarray, Any]: ...


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
        self._agent = agent
        self._uniform = UniformPolicy(env, seed)
        self._rng = np.random.default_rng(seed)

    def predict(self, observation: Any, *_: Any, **__: Any) -> tuple[np.ndarray, None]:
        """Returns one action for each environment, a random one with the final exploration rate."""
        greedy, _state = self._agent.policy.predict(observation, deterministic=True)
        random, _state = self._uniform.predict()
        explores = self._rng.random(len(greedy)) < self._agent.exploration_final_eps
        return np.where(explores, random, greedy), None


def evaluate(policy: _Policy, env: VecEnv, *, episodes: int, seed: int, deterministic: bool) -> Episodes:
    """Returns the episodes of a policy on freshly seeded environments.

    Torch's generator, which SB3 samples actions from, is put back afterwards: an evaluation does not change the run.

    Args:
        policy: An SB3 agent, or anything with its ``predict``.
        env: Environments made by ``tasks.make_eval_env``.
        episodes: How many episodes to play.
        seed: From which the environments and the sampled actions are seeded.
        deterministic: Whether the policy's mode is taken, or an action is sampled.
    """
    successes: list[bool] = []
    cut_off = 0

    def note_end(local: dict[str, Any], _: dict[str, Any]) -> None:
        nonlocal cut_off
        if not local["done"]:
            return
        info = local["info"]
        if "is_success" in info:
            successes.append(bool(info["is_success"]))
        if episode_limit.CUT_OFF in info:
            cut_off += 1
            if info[episode_limit.CUT_OFF]:
                _warn_of_bound(env)

    env.seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        returns, lengths = evaluate_policy(
            policy,
            env,
            n_eval_episodes=episodes,
            deterministic=deterministic,
            return_episode_rewards=True,
            callback=note_end,
        )
    return Episodes(
        episode_returns=tuple(float(value) for value in np.asarray(returns)),
        episode_lengths=tuple(int(value) for value in np.asarray(lengths)),
        successes=tuple(successes) if len(successes) == episodes else None,
        deterministic=deterministic,
        seed=seed,
        cut_off=cut_off,
    )


def _warn_of_bound(env: VecEnv) -> None:
    warnings.warn(
        f"{tasks.watch_of(env).name}: an episode was cut off after {episode_limit.MAX_EPISODE_STEPS:,} steps, as it "
        "has no TimeLimit. Returns of evaluations are those of cut-off episodes. Set another bound with "
        "--eval-max-episode-steps, or evaluation: {max_episode_steps: ...} in a study.",
        stacklevel=2,
    )


def evaluate_agent(agent: "BaseAlgorithm", env: VecEnv, *, episodes: int, seed: int, deterministic: bool) -> Episodes:
    """Returns the episodes of an agent under the observation statistics that it has now (see ``evaluate``)."""
    training_env = agent.get_env()
    if training_env is not None and agent.get_vec_normalize_env() is not None:
        sync_envs_normalization(training_env, env)
    policy: Any = agent
    if not deterministic and hasattr(agent, "exploration_final_eps"):
        policy = _EpsilonGreedy(agent, env, seed)
    elif spec_of_agent(agent).acts_under_masks and has_action_masks(env):
        policy = _Masked(agent, env)
    return evaluate(policy, env, episodes=episodes, seed=seed, deterministic=deterministic)


def derived_seed(seed: int, purpose: str) -> int:
    """Returns a seed for one purpose of a run, far from those that the run's environments count up from.

    >>> derived_seed(0, "curve") == derived_seed(0, "curve"), derived_seed(0, "curve") == derived_seed(0, "final")
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1)[0] >> 1)
