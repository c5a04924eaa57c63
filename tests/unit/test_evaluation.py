"""Evaluations depend on weights, statistics and seeds alone, and leave no trace."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents import ENVS, Images, NormedCnn, make_agent, normalised
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rltransfer.config import Task
from rltransfer.hyperparams import Hyperparameters
from rltransfer.tasks import UniformPolicy, make_eval_env
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


def of_stable_baselines3(agent: BaseAlgorithm, env: VecEnv, *, episodes: int, deterministic: bool) -> Any:
    """Returns the returns and the lengths of SB3's own evaluation, seeded as ours."""
    env.seed(5)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return evaluate_policy(
            agent, env, n_eval_episodes=episodes, deterministic=deterministic, return_episode_rewards=True
        )


# DQN explores at another rate than SB3's when it is sampled.
@pytest.mark.parametrize(
    ("algo", "env_id", "deterministic"),
    [
        *[(algo, ENVS[algo], mode) for algo in ("ppo", "ppo_lstm", "sac") for mode in (True, False)],
        *[("ppo", "Pendulum-v1", mode) for mode in (True, False)],
        *[(algo, ENVS[algo], True) for algo in ("ars", "dqn", "qrdqn", "td3")],
    ],
)
def test_episodes_are_those_of_stable_baselines3(algo: str, env_id: str, deterministic: bool) -> None:
    agent = make_agent(algo, env_id).learn(64)
    stock = make_vec_env(env_id, n_envs=3, seed=0)
    env = make_eval_env(Task(env=env_id), Hyperparameters(policy="MlpPolicy", agent={}), seed=0, n_envs=3)
    returns, lengths = of_stable_baselines3(agent, stock, episodes=4, deterministic=deterministic)
    episodes = evaluate_agent(agent, env, episodes=4, seed=5, deterministic=deterministic)
    assert episodes.episode_returns == tuple(returns)
    assert episodes.episode_lengths == tuple(lengths)


def test_an_actor_with_a_features_extractor_of_its_own_acts_on_that_one() -> None:
    agent = make_agent("ppo", policy_kwargs={"share_features_extractor": False})
    env = environments()
    returns, _ = of_stable_baselines3(agent, env, episodes=4, deterministic=True)
    assert evaluate_agent(agent, env, episodes=4, seed=5, deterministic=True).episode_returns == tuple(returns)


class Lives(gym.Wrapper[Any, Any, Any, Any]):
    """Says that an episode is over at every seventh step, as Atari's wrapper does when a life is lost."""

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._steps += 1
        self._last = observation
        return observation, reward, terminated or self._steps % 7 == 0, truncated, info

    def reset(self, **kwargs: Any) -> Any:
        self._steps = 0
        if kwargs.get("seed") is not None or self.env.get_wrapper_attr("needs_reset"):
            return self.env.reset(**kwargs)
        return self._last, {}


def test_the_end_of_a_life_is_no_end_of_an_episode() -> None:
    agent = make_agent("ppo")
    env = make_vec_env("CartPole-v1", n_envs=2, seed=0, wrapper_class=Lives)
    returns, lengths = of_stable_baselines3(agent, env, episodes=5, deterministic=True)
    episodes = evaluate_agent(agent, env, episodes=5, seed=5, deterministic=True)
    assert episodes.episode_returns == tuple(returns)
    assert episodes.episode_lengths == tuple(lengths)
    assert max(lengths) > 7


def test_dropout_and_running_statistics_are_those_of_an_evaluation() -> None:
    settings = {"policy_kwargs": {"features_extractor_class": NormedCnn}}
    agent = make_agent("ppo", Images(), policy="CnnPolicy", **settings).learn(32)
    before = {name: value.clone() for name, value in agent.policy.state_dict().items()}
    agent.policy.set_training_mode(True)
    env = make_vec_env(Images, n_envs=2, seed=0)
    returns, _ = of_stable_baselines3(agent, env, episodes=4, deterministic=False)
    agent.policy.set_training_mode(True)
    assert evaluate_agent(agent, env, episodes=4, seed=5, deterministic=False).episode_returns == tuple(returns)
    assert all(torch.equal(before[name], value) for name, value in agent.policy.state_dict().items())


@pytest.mark.parametrize("instance", [True, False])
def test_an_agent_with_a_predict_of_its_own_acts_by_it(instance: bool) -> None:
    class Left(type(make_agent("ppo"))):  # type: ignore[misc]
        def predict(self, observation: Any, *_: Any, **__: Any) -> Any:
            return np.zeros(len(observation), dtype=int), None

    agent, env = make_agent("ppo"), environments()
    if instance:
        agent.predict = Left.predict.__get__(agent)  # type: ignore[method-assign]
    else:
        agent.__class__ = Left
    episodes = evaluate_agent(agent, env, episodes=4, seed=5, deterministic=True)
    assert max(episodes.episode_lengths) < 12
    assert episodes.episode_returns == tuple(of_stable_baselines3(agent, env, episodes=4, deterministic=True)[0])
