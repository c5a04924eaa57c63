"""Keeps what is needed to take an environment's state, in the way that a trial has shown to be exact.

Most environments are plain Python, or simulators that can be pickled: all attributes are the state. Box2D's worlds
cannot be pickled: where each episode has a new one, the attributes at its beginning are kept with the actions since,
and playing these again leads to the same state. What neither way brings back bit by bit is not kept.
"""

import contextlib
import copy
import dataclasses
import pickle
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import files
from rltransfer.errors import BrokenEnvironmentError, FileWriteError, RLTransferError
from rltransfer.tasks.env_state import Place, dump_state, layers_of, load_state, opaque_places
from rltransfer.tasks.episode_limit import BoundedMonitor
from rltransfer.tasks.stopwatch import Stopwatch

FAILURE = "rltransfer_failure"
"""In the infos of an environment in a process of its own: why it broke, since its exception would end the process."""
_HISTORY_STEPS = 20
_FUTURE_STEPS = 30


@dataclasses.dataclass(frozen=True)
class Keeping:
    """How the state of an environment is kept: as attributes, as an episode to be played again, or not at all."""

    kind: Literal["attributes", "episode", "nothing"] = "nothing"
    opaque: frozenset[Place] = frozenset()

    @property
    def is_exact(self) -> bool:
        """Whether the state can be taken and put back bit by bit."""
        return self.kind != "nothing"


class Kept(gym.Wrapper[Any, Any, Any, Any]):
    """The outermost wrapper of an environment: takes its state, times it, and says how it broke.

    Args:
        env: The environment with its wrappers.
        make: Makes another one like it, for the trial.
        stopwatch: Runs while the environment is busy; None where it is in a process of its own.
    """

    def __init__(
        self, env: gym.Env[Any, Any], make: Callable[[], gym.Env[Any, Any]], stopwatch: Stopwatch | None
    ) -> None:
        super().__init__(env)
        self._make = make
        self._stopwatch = stopwatch
        self._keeping = Keeping()
        self._beginning = b""
        self._reset_with: dict[str, Any] = {}
        self._actions: list[Any] = []
        self._monitor = next((layer for layer in layers_of(env) if isinstance(layer, BoundedMonitor)), None)
        self._unseen: tuple[dict[str, Any], dict[str, float], int] | None = None
        self._shape = env.observation_space.shape if isinstance(env.observation_space, spaces.Box) else None
        self.is_broken = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Resets the environment; notes the beginning of the episode where that is what is kept."""
        if self._keeping.kind == "episode":
            self._beginning = dump_state(self.env, self._keeping.opaque)
            self._reset_with = {"seed": seed, "options": options}
            self._actions = []
        started = self._start()
        try:
            observation, info = self.env.reset(seed=seed, options=options)
            self._refuse_malformed(observation, info)
            self._tell_unseen()
            return observation, info
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._blank(), self._failed(error)
        finally:
            self._stop(started)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Steps the environment."""
        if self._keeping.kind == "episode":
            self._actions.append(copy.copy(action))
        started = self._start()
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            self._refuse_malformed(observation, info)
            if self._monitor is not None and (terminated or truncated) and "episode" not in info:
                self._unseen = info, self._monitor.episode(), len(self._monitor.episode_returns)
            return observation, reward, terminated, truncated, info
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # SystemExit too: an environment that wants to leave has broken.
            return self._blank(), 0.0, False, False, self._failed(error)
        finally:
            self._stop(started)

    def close(self) -> None:
        """Closes the environment, in no more time than a step may take."""
        started = self._start()
        try:
            super().close()
        finally:
            self._stop(started)

    def find_keeping(self) -> Keeping:
        """Returns how the state of such an environment can be kept, by trying it on others that are made alike."""
        # With a stopwatch they raise what breaks them, in a process of their own too.
        stopwatch = self._stopwatch or Stopwatch()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _find_keeping(lambda: Kept(self._make(), self._make, stopwatch))

    def keep(self, keeping: Keeping) -> None:
        """Keeps the state in this way from the next reset on; an open monitor file, which no trial has, stays open."""
        monitors = {(i, "results_writer") for i, layer in enumerate(layers_of(self.env)) if isinstance(layer, Monitor)}
        self._keeping = dataclasses.replace(keeping, opaque=keeping.opaque | monitors)

    def save_state(self) -> bytes | None:
        """Returns the state; None where it is not kept, or has come to hold what cannot be pickled."""
        if not self._keeping.is_exact:
            return None
        try:
            if self._keeping.kind == "episode":
                return pickle.dumps((self._beginning, self._reset_with, self._actions))
            return dump_state(self.env, self._keeping.opaque)
        except Exception:
            return None

    def restore_state(self, state: bytes) -> None:
        """Restores a state that ``save_state`` returned."""
        if self._keeping.kind == "attributes":
            load_state(self.env, state, self._keeping.opaque)
            return
        beginning, reset_with, actions = pickle.loads(state)  # noqa: S301
        load_state(self.env, beginning, self._keeping.opaque)
        self.reset(**reset_with)
        for action in actions:
            self.step(action)

    def _start(self) -> bool:
        """Starts the stopwatch; says whether it was this call that did, since some environments step in ``reset``."""
        if self._stopwatch is None or self._stopwatch.began is not None:
            return False
        self._stopwatch.start()
        return True

    def _stop(self, started: bool) -> None:
        if started and self._stopwatch is not None:
            self._stopwatch.stop()

    def _tell_unseen(self) -> None:
        """Gives the last info of an episode that a wrapper outside of the monitor ended the monitor's entry.

        SB3's evaluation counts episodes by it, and would never end without. After a life that was lost the monitor goes
        on with its episode, or has ended it by itself.
        """
        if self._unseen is not None and self._monitor is not None:
            info, episode, ended = self._unseen
            if not self._monitor.rewards and len(self._monitor.episode_returns) == ended:
                info["episode"] = episode
        self._unseen = None

    def _refuse_malformed(self, observation: Any, info: Any) -> None:
        """Raises ValueError for what SB3 would store in the wrong place, or fail on without a name."""
        if self._shape is not None and isinstance(observation, np.ndarray) and observation.shape != self._shape:
            raise ValueError(f"an observation of shape {observation.shape}, where its space says {self._shape}")
        if not isinstance(info, dict):
            raise ValueError(f"info is no dictionary: {info!r}")

    def _failed(self, error: BaseException) -> dict[str, Any]:
        """Returns the info that tells the main process; in the main process itself, raises."""
        if isinstance(error, OSError) and files.is_full(error):
            error = files.not_written(self._monitor_file(), error)
        self.is_broken = True
        if isinstance(error, RLTransferError):
            reason = str(error)
        else:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if self._stopwatch is None:
            traceback.print_exc(file=sys.stderr)
            return {FAILURE: reason}
        if isinstance(error, FileWriteError | BrokenEnvironmentError):
            raise error
        raise BrokenEnvironmentError(reason) from error

    def _monitor_file(self) -> str:
        writer = self.get_wrapper_attr("results_writer")
        return str(writer.file_handler.name) if writer is not None else "a file of the environment"

    def _blank(self) -> Any:
        return self.observation_space.sample()


def find_keeping(*envs: VecEnv) -> Keeping:
    """Finds out how the state of vectorised environments that are made alike can be kept, and lets all of them keep it.

    One trial, of the first of them, is enough.
    """
    keeping: Keeping = envs[0].env_method("find_keeping", indices=[0])[0]
    for env in envs:
        env.env_method("keep", keeping)
    return keeping


def find_joint_keeping(envs: Sequence[VecEnv], eval_envs: Sequence[VecEnv]) -> Keeping:
    """Does so for the environments of a run, which may be wrapped otherwise for evaluation; returns the weaker of both.

    Only where both can be kept is a run the same after an interruption.
    """
    training, evaluation = find_keeping(*envs), find_keeping(*eval_envs)
    return training if evaluation.is_exact else evaluation


def dump_states(env: VecEnv) -> list[bytes] | None:
    """Returns the state of each environment; None where it cannot be had of all."""
    states = env.env_method("save_state")
    return None if None in states else states


def load_states(env: VecEnv, states: Sequence[bytes]) -> None:
    """Gives each environment its state."""
    for index, state in enumerate(states):
        env.env_method("restore_state", state, indices=[index])


def _find_keeping(make: Callable[[], Kept]) -> Keeping:
    try:
        with contextlib.closing(make()) as probe:
            probe.reset(seed=0)
            opaque = opaque_places(probe.env)
            before = _values(probe, opaque)
            probe.reset()
            # What stays from one episode to the next may hold anything: a trial can miss it.
            is_renewed = all(now is not then for now, then in zip(_values(probe, opaque), before, strict=True))
        keeping = Keeping("episode", opaque) if opaque else Keeping("attributes")
        return keeping if is_renewed and _is_exact(make, keeping) else Keeping()
    except Exception:
        # It breaks as soon as it is used, or cannot be pickled at all: the run itself will say so, or reset it.
        return Keeping()


def _values(env: Kept, places: frozenset[Place]) -> list[Any]:
    layers = layers_of(env.env)
    return [vars(layers[index]).get(name) for index, name in sorted(places)]


def _is_exact(make: Callable[[], Kept], keeping: Keeping) -> bool:
    """Returns whether an environment goes on alike after its state was put into another one."""
    with contextlib.closing(make()) as first, contextlib.closing(make()) as second:
        for env in (first, second):
            env.keep(keeping)
        actions = _actions(first, _HISTORY_STEPS + _FUTURE_STEPS)
        first.reset(seed=1)
        _play(first, actions[:_HISTORY_STEPS])
        # A reset with a seed would hide generators that are nowhere in the attributes.
        first.reset()
        _play(first, actions[:_HISTORY_STEPS])
        second.reset(seed=2)
        state = first.save_state()
        if state is None:
            return False
        second.restore_state(state)
        futures = [_play(env, actions[_HISTORY_STEPS:]) for env in (first, second)]
        # The first observations of new episodes come from generators that an episode may never use.
        futures = [[*seen, _as_bytes(env.reset()[0])] for env, seen in zip((first, second), futures, strict=True)]
    return futures[0] == futures[1]


def _actions(env: Kept, amount: int) -> list[Any]:
    space = copy.deepcopy(env.action_space)
    space.seed(0)
    return [space.sample() for _ in range(amount)]


def _play(env: Kept, actions: Sequence[Any]) -> list[bytes]:
    seen = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append(_as_bytes((observation, float(reward), terminated, truncated)))
        if terminated or truncated:
            seen.append(_as_bytes(env.reset()[0]))
    return seen


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return b"".join(_as_bytes(value[key]) for key in sorted(value))
    if isinstance(value, tuple | list):
        return b"".join(_as_bytes(item) for item in value)
    return pickle.dumps(value)
