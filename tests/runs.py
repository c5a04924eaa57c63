"""Settings of runs that take a second, and environments that make a run tell what happened in it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control import CartPoleEnv

from rltransfer.algorithms import all_specs
from rltransfer.config import Evaluation, RunConfig, Task
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import RunRecord
from rltransfer.strategies import parse_strategy, strategy_label
from rltransfer.training import train_run

_NET: dict[str, Any] = {"policy_kwargs": {"net_arch": [8, 8]}}
_ON_POLICY: dict[str, Any] = {"n_steps": 16, "batch_size": 16, **_NET}
_OFF_POLICY: dict[str, Any] = {"learning_starts": 16, "buffer_size": 500, "batch_size": 8, **_NET}
_Q_LEARNING: dict[str, Any] = {**_OFF_POLICY, "train_freq": 2, "target_update_interval": 10}
SMALL: dict[str, dict[str, Any]] = {
    "ppo": {**_ON_POLICY, "n_epochs": 2},
    "a2c": {"n_steps": 16, **_NET},
    "trpo": _ON_POLICY,
    "maskable_ppo": {**_ON_POLICY, "n_epochs": 2},
    "ppo_lstm": {**_ON_POLICY, "n_epochs": 2, "policy_kwargs": {"net_arch": [8], "lstm_hidden_size": 8}},
    "dqn": _Q_LEARNING,
    "qrdqn": _Q_LEARNING,
    "sac": _OFF_POLICY,
    "tqc": _OFF_POLICY,
    "crossq": _OFF_POLICY,
    "td3": _OFF_POLICY,
    "ddpg": _OFF_POLICY,
    "ars": {"n_delta": 2},
}
for _spec in all_specs():
    SMALL.setdefault(_spec.name, _OFF_POLICY if _spec.keeps_replay_buffer else _ON_POLICY)
_CONTINUOUS = [spec.name for spec in all_specs() if spec.takes_action_noise]
ENVS = {algo: "ShortPendulum-v0" if algo in _CONTINUOUS else "CartPole-v1" for algo in SMALL}
POLICIES = {spec.name: spec.policies[0] for spec in all_specs()}


class FirstObservation(gym.Env[np.ndarray, Any]):
    """Returns the first observation of an episode as its return, whatever the agent does; tells episodes apart."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1.0, (2,), np.float64)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self._steps = 0
        self._first = np.zeros(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed, options=options)
        self._steps = 0
        self._first = self.np_random.random(2)
        return self._first.copy(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        ends = self._steps == 3
        return self._first.copy(), float(self._first[0]) if ends else 0.0, ends, False, {"is_success": bool(action)}


class BreaksAtStep(gym.Wrapper[Any, Any, Any, Any]):
    """Raises at the given step of its life."""

    def __init__(self, env: gym.Env[Any, Any], step: int = 20) -> None:
        super().__init__(env)
        self._left = step

    def step(self, action: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise RuntimeError("the simulator broke")
        return self.env.step(action)


class BreaksWithNaN(BreaksAtStep):
    """Returns NaN for a reward at the given step of its life."""

    def step(self, action: Any) -> Any:
        self._left -= 1
        observation, reward, *rest = self.env.step(action)
        return observation, float("nan") if self._left == 0 else reward, *rest


class KillsItsProcess(BreaksAtStep):
    """Ends its process at the given step of its life, as an operating system does that runs out of memory."""

    def step(self, action: Any) -> Any:
        if self._left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().step(action)


class Breaking(CartPoleEnv):
    """A CartPole that comes to grief at the given step of its life, unless it was mended."""

    is_mended = False

    def __init__(self, how: str = "never", step: int = 0, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self._how = how
        self._left = step

    def step(self, action: Any) -> Any:  # noqa: C901 - one way to break after the other
        self._left -= 1
        observation, reward, terminated, truncated, info = super().step(action)
        if self._left != 0 or self.is_mended or self._how == "never":
            return observation, reward, terminated, truncated, info
        if self._how == "raise":
            raise RuntimeError("the simulator broke")
        if self._how == "sleep":
            time.sleep(3600)
        if self._how == "spin":
            while True:
                pass
        if self._how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._how == "exit":
            os._exit(7)
        if self._how == "leave":
            sys.exit(0)
        if self._how == "wrong shape":
            return np.zeros(3, np.float32), reward, terminated, truncated, info
        if self._how == "no info":
            return observation, reward, terminated, truncated, None
        if self._how == "nan last observation":
            return np.full(4, np.nan, np.float32), reward, True, truncated, info
        kind, _, what = self._how.partition(" ")
        if what == "reward":
            return observation, float(kind), terminated, truncated, info
        return np.full(4, float(kind), np.float32), reward, False, truncated, info


class ClosesBadly(gym.Wrapper[Any, Any, Any, Any]):
    """Cannot be closed once it was stepped."""

    is_used = False

    def __init__(self, env: gym.Env[Any, Any], hangs: bool = False) -> None:
        super().__init__(env)
        self._hangs = hangs

    def step(self, action: Any) -> Any:
        self.is_used = True
        return super().step(action)

    def close(self) -> None:
        super().close()
        if self.is_used and self._hangs:
            time.sleep(3600)
        if self.is_used:
            raise RuntimeError("it does not close")


class Opaque(gym.Wrapper[Any, Any, Any, Any]):
    """Holds what cannot be pickled, and is not made anew by a reset."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self._lock = threading.Lock()


# pytest imports this file once more under another name, to look for doctests.
if "FirstObservation-v0" not in gym.registry:
    gym.register("FirstObservation-v0", entry_point=FirstObservation)
    gym.register("Breaking-v0", entry_point=Breaking, max_episode_steps=500)
    gym.register(
        "BitFlips-v0",
        entry_point="stable_baselines3.common.envs:BitFlippingEnv",
        kwargs={"n_bits": 4, "max_steps": 8},
    )
    gym.register(
        "ShortPendulum-v0", entry_point="gymnasium.envs.classic_control.pendulum:PendulumEnv", max_episode_steps=20
    )


def run_config(
    algo: str = "ppo",
    *,
    env: str | None = None,
    kwargs: dict[str, Any] | None = None,
    strategy: Any = "scratch",
    n_timesteps: int = 96,
    eval_freq: int | None = 32,
    episodes: int = 4,
    hyperparams: dict[str, Any] | None = None,
    **settings: Any,
) -> RunConfig:
    """Returns the settings of a small run of an arm, or with ``role="source"`` of a source run.

    Args:
        algo: The algorithm, with small networks and buffers.
        env: An environment id; the algorithm's usual one by default.
        kwargs: Arguments of the environment.
        strategy: A strategy or its kind.
        n_timesteps: The budget.
        eval_freq: env_steps between evaluations.
        episodes: Episodes of each evaluation.
        hyperparams: Settings of the run itself, such as ``normalize``.
        settings: Further fields of ``RunConfig``.
    """
    task = Task(env=env or ENVS[algo], kwargs=kwargs or {})
    parsed = parse_strategy(strategy)
    facts: dict[str, Any] = {
        "role": "target",
        "seed": 0,
        "task_name": task.file_name,
        "arm": strategy_label(parsed),
        "device": "cpu",
        "verbose": 0,
        **settings,
    }
    return RunConfig.model_validate(
        {
            "algo": algo,
            "task": task,
            "n_timesteps": n_timesteps,
            "strategy": parsed,
            "evaluation": Evaluation(eval_freq=eval_freq, episodes=episodes),
            "hyperparams": Hyperparameters(**{"policy": POLICIES[algo], "agent": SMALL[algo], **(hyperparams or {})}),
            **facts,
        }
    )


def pretrained(folder: Path, algo: str = "ppo", **settings: Any) -> RunRecord:
    """Trains a small source run into a folder and returns its record."""
    return train_run(run_config(algo, role="source", arm="pretrain", **{"seed": 7, **settings}), folder)


def tree(folder: Path) -> set[str]:
    """Returns everything below a folder by its path in it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}
