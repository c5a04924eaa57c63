"""Evaluations depend on weights, statistics and seeds alone, and leave no trace."""

from typing import Any

import numpy as np
import pytest
import torch
from agents import make_agent, normalised
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

from rltransfer.tasks import UniformPolicy
from rltransfer.training import derived_seed, evaluate, evaluate_agent


def environments(env_id: str = "CartPole-v1", n_envs: int = 2) -> Any:
    return make_vec_env(env_id, n_envs=n_envs, seed=0)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_the_same_seed_gives_the_same_episodes_whatever_happened_before(algo: str, deterministic: bool) -> None:
    agent, env = make_agent(algo), environments()
    first = evaluate_agent(agent, env, episodes=6, seed=5, deterministic=deterministic)
    for _ in range(7):
        env.step(np.zeros(2, dtype=int))
        torch.rand(3)
    assert evaluate_agent(agent, env, episodes=6, seed=5, deterministic=deterministic) == first
    assert evaluate_agent(agent, env, episodes=6, seed=6, deterministic=deterministic) != first
    assert len(first.episode_returns) == len(first.episode_lengths) == 6
    assert first.mean_return == pytest.approx(np.mean(first.episode_returns))


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac"])
def test_no_generator_of_the_run_moves(algo: str) -> None:
    agent = make_agent(algo)
    env = environments(agent.get_env().envs[0].spec.id)  # type: ignore[union-attr]
    torch.manual_seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    evaluate_agent(agent, env, episodes=2, seed=5, deterministic=False)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_the_agents_statistics_of_the_moment_are_used_and_kept() -> None:
    agent = make_agent("ppo", normalised("CartPole-v1")).learn(64)
    statistics = agent.get_vec_normalize_env()
    assert statistics is not None
    env = VecNormalize(environments(), training=False, norm_reward=False)
    count = statistics.obs_rms.count
    first = evaluate_agent(agent, env, episodes=3, seed=5, deterministic=True)
    assert np.array_equal(env.obs_rms.mean, statistics.obs_rms.mean)
    assert env.obs_rms.count == statistics.obs_rms.count == count
    statistics.obs_rms.mean = statistics.obs_rms.mean + 5.0
    assert evaluate_agent(agent, env, episodes=3, seed=5, deterministic=True) != first


def test_the_uniform_policy_takes_every_action_alike_and_by_its_seed() -> None:
    env = environments(n_envs=4)
    actions = [UniformPolicy(env, seed=3).predict()[0].tolist() for _ in range(2)]
    assert actions[0] == actions[1]
    policy = UniformPolicy(env, seed=3)
    taken = np.array([policy.predict()[0] for _ in range(500)])
    assert taken.shape == (500, 4)
    assert 0.45 < taken.mean() < 0.55
    # Each environment has a generator of its own.
    assert not np.array_equal(taken[:, 0], taken[:, 1])
    scores = evaluate(policy, env, episodes=20, seed=3, deterministic=False)
    assert 10 < scores.mean_return < 40


def test_dqn_is_sampled_at_its_final_exploration_rate_not_at_the_one_of_the_moment() -> None:
    """DQN's own rate is 1 before training: its jumpstart would be a uniform policy's whatever was transferred."""
    agent: Any = make_agent("dqn", exploration_final_eps=0.0)
    assert agent.exploration_rate in (0.0, 1.0)
    agent.exploration_rate = 1.0
    env = environments()
    sampled = evaluate_agent(agent, env, episodes=6, seed=5, deterministic=False)
    mode = evaluate_agent(agent, env, episodes=6, seed=5, deterministic=True)
    assert sampled.episode_returns == mode.episode_returns
    agent.exploration_final_eps = 1.0
    uniform = evaluate(UniformPolicy(env, 5), env, episodes=6, seed=5, deterministic=False)
    explored = evaluate_agent(agent, env, episodes=6, seed=5, deterministic=False)
    assert explored.episode_returns == uniform.episode_returns
    assert explored.episode_returns != mode.episode_returns


def test_successes_are_told_only_where_every_episode_tells_them() -> None:
    scores = evaluate_agent(make_agent("ppo"), environments(), episodes=2, seed=5, deterministic=True)
    assert scores.successes is None


def test_derived_seeds_differ_by_purpose_and_by_seed_and_fit_every_generator() -> None:
    seeds = {derived_seed(seed, purpose) for seed in range(200) for purpose in ("start", "curve", "final")}
    assert len(seeds) == 600
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed(0, "curve") == derived_seed(0, "curve")
