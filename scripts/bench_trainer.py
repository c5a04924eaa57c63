"""Measures the CPU time of agents that are trained as one network, against stock SB3 agents that are trained in turn.

Stock SB3 and each number of runs come one after the other in one process, with one torch thread, and without
evaluations. What the environments take is the same on both sides, and is told apart:

    python scripts/bench_trainer.py --runs 1 5 20 --steps 8192
    python scripts/bench_trainer.py --runs 1 8 40 --block-sizes 4 8 16 32
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.env_util import make_vec_env

from rltransfer.training.batched import BLOCK_SIZE, RunGenerators, learn_together

AGENTS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "ppo": (PPO, {"n_steps": 256, "batch_size": 64, "n_epochs": 10}),
    "a2c": (A2C, {"n_steps": 8}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--algo", choices=AGENTS, default="ppo")
    parser.add_argument("--env", default="CartPole-v1")
    parser.add_argument("--n-envs", type=int, default=8)
    parser.add_argument("--steps", type=int, default=8192, help="env_steps of each run")
    parser.add_argument("--runs", type=int, nargs="+", default=[1, 5, 20])
    parser.add_argument("--block-sizes", type=int, nargs="+", default=[BLOCK_SIZE])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    _measure(arguments, 2, None)
    stock, stock_env = _measure(arguments, 3, None)
    print(f"{'trainer':<10}{'runs':>5}{'block':>6}{'CPU s a run':>13}{'of it env':>11}{'ratio':>8}{'without env':>13}")
    print(f"{'sb3':<10}{3:>5}{'':>6}{stock:>13.2f}{stock_env:>11.2f}{1:>8.2f}{1:>13.2f}", flush=True)
    for runs in arguments.runs:
        for block_size in arguments.block_sizes:
            total, env = _measure(arguments, runs, block_size)
            ratios = stock / total, (stock - stock_env) / (total - env)
            print(
                f"{'batched':<10}{runs:>5}{block_size:>6}{total:>13.2f}{env:>11.2f}{ratios[0]:>8.2f}{ratios[1]:>13.2f}",
                flush=True,
            )


def _measure(arguments: argparse.Namespace, runs: int, block_size: int | None) -> tuple[float, float]:
    """Returns the CPU seconds of a run, and those that it spends in its environments; no block stands for stock SB3."""
    clock = _Clock()
    agents, generators = [], []
    for seed in range(runs):
        agents.append(_make(arguments, seed, clock))
        generators.append(RunGenerators.from_global())
    start = time.process_time()
    if block_size is None:
        for agent in agents:
            agent.learn(arguments.steps, log_interval=None)
    else:
        for _ in learn_together(agents, generators, arguments.steps, block_size=block_size):
            pass
    return (time.process_time() - start) / runs, clock.seconds / runs


def _make(arguments: argparse.Namespace, seed: int, clock: "_Clock") -> Any:
    kind, settings = AGENTS[arguments.algo]
    env = make_vec_env(arguments.env, arguments.n_envs, seed=seed)
    agent = kind("MlpPolicy", env, seed=seed, device="cpu", **settings)
    env.step = clock.timed(env.step)  # type: ignore[method-assign]
    return agent


class _Clock:
    """Adds up CPU seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def step(actions: Any) -> Any:
            start = time.process_time()
            result = call(actions)
            self.seconds += time.process_time() - start
            return result

        return step


if __name__ == "__main__":
    main()
