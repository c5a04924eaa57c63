"""Measures what evaluations cost against SB3's ``evaluate_policy``, whose episodes they must be, number by number.

Both sides play the same episodes in ten environments, in turn, in one process with one torch thread. SB3's side has
environments of ``make_vec_env``; rltransfer's have its guards and bounds on top:

    python scripts/bench_evaluation.py --repeats 9
"""

import argparse
import statistics
import time
from typing import Any

import numpy as np
import torch
from stable_baselines3 import DQN, PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

from rltransfer.config import Task
from rltransfer.hyperparams import Hyperparameters
from rltransfer.tasks import make_eval_env
from rltransfer.training import evaluate_agent

EPISODES = 10
SEED = 5
LINES: tuple[tuple[Any, str, int, bool], ...] = (
    (PPO, "CartPole-v1", 4096, True),
    (PPO, "CartPole-v1", 4096, False),
    (DQN, "MountainCar-v0", 400, True),
    (SAC, "Pendulum-v1", 400, True),
    (SAC, "Pendulum-v1", 400, False),
)


def main() -> None:
    """Prints a line for each agent."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for kind, env_id, steps, deterministic in LINES:
        agent = kind("MlpPolicy", env_id, seed=0, device="cpu").learn(steps)
        stock = make_vec_env(env_id, n_envs=EPISODES, seed=0)
        ours = make_eval_env(Task(env=env_id), Hyperparameters(policy="MlpPolicy", agent={}), seed=0, n_envs=EPISODES)
        ratios = []
        for _ in range(repeats):
            begin = time.process_time()
            expected = _of_sb3(agent, stock, deterministic=deterministic)
            middle = time.process_time()
            episodes = evaluate_agent(agent, ours, episodes=EPISODES, seed=SEED, deterministic=deterministic)
            ratios.append((middle - begin) / (time.process_time() - middle))
            if expected != (list(episodes.episode_returns), list(episodes.episode_lengths)):
                raise SystemExit(f"{kind.__name__} on {env_id}: other episodes than SB3's")
        actions = "deterministic" if deterministic else "sampled"
        print(
            f"{kind.__name__} on {env_id}, {actions}: {statistics.median(ratios):.2f} x "
            f"({min(ratios):.2f} to {max(ratios):.2f}), episodes equal",
            flush=True,
        )


def _of_sb3(agent: BaseAlgorithm, env: Any, *, deterministic: bool) -> tuple[list[float], list[int]]:
    env.seed(SEED)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        returns, lengths = evaluate_policy(
            agent, env, n_eval_episodes=EPISODES, deterministic=deterministic, return_episode_rewards=True
        )
    return np.asarray(returns).tolist(), np.asarray(lengths).tolist()


if __name__ == "__main__":
    main()
