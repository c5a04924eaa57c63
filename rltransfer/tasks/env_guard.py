"""Watches the environments of a run: what they return must be finite, and a worker that is gone must be named."""

import contextlib
import math
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import SubprocVecEnv, VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rltransfer.errors import BrokenEnvironmentError, RLTransferError
from rltransfer.tasks.env_snapshot import FAILURE
from rltransfer.tasks.stopwatch import Stopwatch

_PATIENCE_SECONDS = 5.0


class Watched(VecEnvWrapper):
    """Raises ``BrokenEnvironmentError`` for an environment that raised, or returned NaN or inf, or whose worker ended.

    It stands right above the environments, so that nothing broken reaches statistics: one NaN poisons VecNormalize for
    good, and DQN and TD3 train on it without an error (sb3_facts.md#nan).

    Attributes:
        stopwatch: Runs while an environment is busy.
        name: What the environments are called in messages.
    """

    def __init__(self, venv: VecEnv, name: str, stopwatch: Stopwatch) -> None:
        super().__init__(venv)
        self.stopwatch = stopwatch
        self.name = name
        self._is_broken = False
        self._float_keys = _float_keys(venv.observation_space)
        self._in_processes = isinstance(venv, SubprocVecEnv)
        if isinstance(venv, SubprocVecEnv):
            venv.remotes = tuple(
                _Remote(connection, process, stopwatch, _raiser(self, index))
                for index, (connection, process) in enumerate(zip(venv.remotes, venv.processes, strict=True))
            )

    def reset(self) -> VecEnvObs:
        """Resets the environments."""
        try:
            observations = self.venv.reset()
        except Exception as error:
            raise self._named(error) from error.__cause__ or error
        self._refuse_failures(self.venv.reset_infos)
        self._check_observations(observations)
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the actions."""
        self.venv.step_async(actions)

    def step_wait(self) -> VecEnvStepReturn:
        """Steps the environments."""
        try:
            observations, rewards, dones, infos = self.venv.step_wait()
        except Exception as error:
            raise self._named(error) from error.__cause__ or error
        if self._in_processes:
            self._refuse_failures(infos)
            self._refuse_failures(self.venv.reset_infos)
        self._check_observations(observations)
        if not math.isfinite(np.vdot(rewards, rewards)):
            self._refuse(rewards, "a reward")
        if dones.any():
            for index in np.flatnonzero(dones):
                last = infos[index].get("terminal_observation")
                if last is not None:
                    self._check_last(last, int(index))
        return observations, rewards, dones, infos

    def close(self) -> None:
        """Closes the environments; no process is left behind, and a broken one does not hide its reason."""
        if isinstance(self.venv, SubprocVecEnv):
            _end_workers(self.venv, at_once=self._is_broken)
            return
        with contextlib.suppress(Exception) if self._is_broken else contextlib.nullcontext():
            self.venv.close()

    def broke(self, index: int | None, reason: str) -> BrokenEnvironmentError:
        """Returns the error that names an environment."""
        self._is_broken = True
        which = f", environment {index + 1} of {self.num_envs}" if index is not None and self.num_envs > 1 else ""
        return BrokenEnvironmentError(f"{self.name}{which}: {reason}")

    def _named(self, error: Exception) -> RLTransferError:
        """Returns the error with the name of the environment; what SB3 cannot store broke there as well."""
        if isinstance(error, BrokenEnvironmentError):
            return error if self._is_broken else self.broke(self._index_of_broken(), str(error))
        if isinstance(error, RLTransferError):
            return error
        return self.broke(self._index_of_broken(), f"{type(error).__name__}: {error}")

    def _index_of_broken(self) -> int | None:
        return next((index for index, env in enumerate(getattr(self.venv, "envs", [])) if env.is_broken), None)

    def _refuse_failures(self, infos: Any) -> None:
        for index, info in enumerate(infos):
            if FAILURE in info:
                raise self.broke(index, info[FAILURE])

    def _check_observations(self, observations: Any) -> None:
        for key in self._float_keys:
            values = observations if key is None else observations[key]
            # A dot product is the fastest way to meet every number; large ones overflow in it, so that it only warns.
            if not math.isfinite(np.vdot(values, values)):
                self._refuse(values, "an observation" if key is None else f"an observation ({key})")

    def _check_last(self, observation: Any, index: int) -> None:
        for key in self._float_keys:
            values = np.asarray(observation if key is None else observation[key])
            if not np.isfinite(values).all():
                raise self.broke(index, f"the last observation of an episode is not finite: {_numbers(values)}")

    def _refuse(self, values: np.ndarray, what: str) -> None:
        finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not finite.all():
            index = int(np.flatnonzero(~finite)[0])
            raise self.broke(index, f"{what} is not finite: {_numbers(values[index])}")


def watch_of(env: VecEnv) -> Watched:
    """Returns the watch of environments that ``make_train_env`` or ``make_eval_env`` made."""
    while not isinstance(env, Watched):
        assert isinstance(env, VecEnvWrapper)
        env = env.venv
    return env


class _Remote:
    """The near end of a worker's pipe: runs the stopwatch while the worker is busy, and says how it ended."""

    def __init__(
        self,
        connection: Connection,
        process: BaseProcess,
        stopwatch: Stopwatch,
        broke: Callable[[str], BrokenEnvironmentError],
    ) -> None:
        self._connection = connection
        self._process = process
        self._stopwatch = stopwatch
        self._broke = broke

    def send(self, message: Any) -> None:
        try:
            self._connection.send(message)
        except OSError as error:
            raise self._ended() from error

    def recv(self) -> Any:
        self._stopwatch.start()
        try:
            return self._connection.recv()
        except (EOFError, OSError) as error:
            raise self._ended() from error
        except BrokenEnvironmentError as error:
            # From the handler that ends a step that takes too long.
            raise self._broke(str(error)) from None
        except KeyboardInterrupt:
            # Its answer is still to come: it can only be killed.
            self._broke("it was interrupted")
            raise
        finally:
            self._stopwatch.stop()

    def close(self) -> None:
        self._connection.close()

    def _ended(self) -> BrokenEnvironmentError:
        # SB3 would pass on a bare EOFError (sb3_facts.md#workers).
        self._process.join(_PATIENCE_SECONDS)
        code = self._process.exitcode
        if code is None:
            return self._broke("its process does not answer")
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return self._broke(f"its process {how}")


def _raiser(watched: Watched, index: int) -> Callable[[str], BrokenEnvironmentError]:
    return lambda reason: watched.broke(index, reason)


def _end_workers(venv: SubprocVecEnv, *, at_once: bool) -> None:
    """Ends the workers; SB3's ``close`` waits for ever for one that hangs, and leaves others (sb3_facts.md#workers)."""
    if venv.closed:
        return
    if not at_once and not venv.waiting:
        for remote in venv.remotes:
            with contextlib.suppress(BrokenEnvironmentError):
                remote.send(("close", None))
        for process in venv.processes:
            process.join(_PATIENCE_SECONDS)
    for process in venv.processes:
        if process.is_alive():
            process.kill()
        process.join()
    for remote in venv.remotes:
        remote.close()
    venv.closed = True


def _float_keys(space: spaces.Space[Any]) -> tuple[str | None, ...]:
    """Returns the keys of observations that can be NaN; None stands for an observation without keys."""
    parts: Mapping[Any, spaces.Space[Any]] = space.spaces if isinstance(space, spaces.Dict) else {None: space}
    return tuple(
        key for key, part in parts.items() if part.dtype is not None and np.issubdtype(part.dtype, np.floating)
    )


def _numbers(values: np.ndarray) -> str:
    return np.array2string(np.asarray(values), threshold=8, precision=4, max_line_width=10**6).replace("\n", "")
