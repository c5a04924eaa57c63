"""Measures how many env_steps of a family NumPy's vector environments take while SB3's DummyVecEnv takes one.

Both sides step as many sub-environments with the same random actions, in turn, in one process, whose CPU time
counts; episodes end and begin in both:

    python scripts/bench_vector_envs.py --n-envs 8 160 --repeats 5
"""

import argparse
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from rltransfer_envs import FAMILIES
from stable_baselines3.common.vec_env import DummyVecEnv


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n-envs", type=int, nargs="+", default=[8, 160])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--env-steps", type=int, default=8_000, help="of DummyVecEnv in each measurement")
    arguments = parser.parse_args()
    cases: list[tuple[str, dict[str, Any]]] = [(family.env_id, {}) for family in FAMILIES if family.vector]
    cases.append(("rltransfer/CartPole-v0", {"distractors": 4}))
    print(f"{'environment':<42}{'n_envs':>7}{'ratio':>8}{'env_steps/CPU-s':>17}{'DummyVecEnv':>13}  ratio of each pair")
    for env_id, kwargs in cases:
        for n_envs in arguments.n_envs:
            pairs = [_pair(env_id, kwargs, n_envs, arguments.env_steps // n_envs) for _ in range(arguments.repeats)]
            ratios = [numpy / dummy for numpy, dummy in pairs]
            numpy, dummy = (statistics.median(side) for side in zip(*pairs, strict=True))
            name = " ".join([env_id, *(f"{key}={value}" for key, value in kwargs.items())])
            print(
                f"{name:<42}{n_envs:>7}{statistics.median(ratios):>8.1f}{numpy:>17,.0f}{dummy:>13,.0f}  "
                + " ".join(f"{ratio:.1f}" for ratio in ratios),
                flush=True,
            )


def _pair(env_id: str, kwargs: dict[str, Any], n_envs: int, steps: int) -> tuple[float, float]:
    """Returns the env_steps per second of CPU time of both sides."""
    numpy = gym.make_vec(f"rltransfer_envs:{env_id}", num_envs=n_envs, **kwargs)
    dummy = DummyVecEnv([functools.partial(gym.make, f"rltransfer_envs:{env_id}", **kwargs)] * n_envs)
    numpy.reset(seed=0)
    dummy.seed(0)
    dummy.reset()
    actions = [numpy.action_space.sample() for _ in range(steps)]
    # The quick side takes more steps, so that both are timed over a good part of a second.
    return _rate(numpy.step, actions * 10), _rate(dummy.step, actions)


def _rate(step: Callable[[np.ndarray], Any], actions: list[np.ndarray]) -> float:
    began = time.process_time()
    for action in actions:
        step(action)
    return sum(len(action) for action in actions) / (time.process_time() - began)


if __name__ == "__main__":
    main()
