"""Evaluates policies so that a score depends only on weights, statistics and seeds."""

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, sync_envs_normalization

from rltransfer import tasks
from rltransfer.records import Episodes
from rltransfer.tasks import EvaluationEnvs, episode_limit
from rltransfer.training.acting import Predictor, predictor_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def evaluate(policy: Predictor, env: VecEnv, *, episodes: int, seed: int, deterministic: bool) -> Episodes:
    """Returns the episodes of a policy on freshly seeded environments.

    They are those of SB3's ``evaluate_policy`` in environments of that seed, number by number: each environment plays
    as many as the others, or one more. Torch's generator, which SB3 samples actions from,
    is put back afterwards: an evaluation does not change the run.

    Args:
        policy: An SB3 agent, or anything with its ``predict``.
        env: Environments made by ``tasks.make_eval_env``, or others with a monitor that tells the episodes.
        episodes: How many episodes to play.
        seed: From which the environments and the sampled actions are seeded.
        deterministic: Whether the policy's mode is taken, or an action is sampled.
    """
    env.seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        infos = _play(policy, env, episodes, deterministic=deterministic)
    ended = [info for info in infos if "episode" in info]
    successes = tuple(bool(info["is_success"]) for info in infos if "is_success" in info)
    return Episodes(
        episode_returns=tuple(float(info["episode"]["r"]) for info in ended),
        episode_lengths=tuple(int(info["episode"]["l"]) for info in ended),
        successes=successes if len(successes) == episodes else None,
        deterministic=deterministic,
        seed=seed,
        cut_off=sum(episode_limit.CUT_OFF in info for info in infos),
    )


def _play(policy: Predictor, env: VecEnv, episodes: int, *, deterministic: bool) -> list[dict[str, Any]]:
    """Returns the last infos of episodes in their order, and those of lives that a game lost.

    A monitor tells in them what an episode was; an end without its word, of a life for example, is none.
    """
    ends: list[dict[str, Any]] = []
    remaining = np.array([(episodes + index) // env.num_envs for index in range(env.num_envs)])
    observations = env.reset()
    state, starts = None, np.ones(env.num_envs, dtype=bool)
    inside = env.unwrapped
    while remaining.any():
        actions, state = policy.predict(observations, state=state, episode_start=starts, deterministic=deterministic)
        observations, _rewards, dones, infos = env.step(actions)
        counts = remaining > 0
        starts[counts] = dones[counts]
        for index in np.flatnonzero(dones & counts):
            ends.append(infos[index])
            remaining[index] -= "episode" in infos[index]
            if isinstance(inside, EvaluationEnvs) and not remaining[index]:
                inside.rest(int(index))
            if infos[index].get(episode_limit.CUT_OFF):
                _warn_of_bound(env)
    return ends


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
    policy = predictor_of(agent, env, seed=seed, deterministic=deterministic)
    return evaluate(policy, env, episodes=episodes, seed=seed, deterministic=deterministic)


def derived_seed(seed: int, purpose: str) -> int:
    """Returns a seed for one purpose of a run, far from those that the run's environments count up from.

    >>> derived_seed(0, "curve") == derived_seed(0, "curve"), derived_seed(0, "curve") == derived_seed(0, "final")
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *purpose.encode()]).generate_state(1)[0] >> 1)
