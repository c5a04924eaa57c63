"""Builds seeded, monitored vector environments from a task."""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import multiprocessing
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec, load_env_creator
from gymnasium.error import Error as GymnasiumError
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import (
    DummyVecEnv,
    SubprocVecEnv,
    VecEnv,
    VecFrameStack,
    VecNormalize,
    VecTransposeImage,
)

from rltransfer import files
from rltransfer.config import Task
from rltransfer.domain_randomisation import Draw, Randomised, refuse_other_spaces
from rltransfer.errors import ConfigError, MissingExtraError, RLTransferError, UnknownNameError, did_you_mean
from rltransfer.hyperparams import Hyperparameters
from rltransfer.tasks.env_guard import Watched
from rltransfer.tasks.env_snapshot import Kept
from rltransfer.tasks.episode_limit import BoundedMonitor, bound_episodes
from rltransfer.tasks.evaluation_envs import EvaluationEnvs
from rltransfer.tasks.stopwatch import Stopwatch

VecEnvKind = Literal["dummy", "subproc"]
_NOT_INSTALLED = (ImportError, gym.error.DependencyNotInstalled)
_EXTRAS = {"box2d": "box2d", "minigrid": "minigrid", "mujoco": "mujoco", "ale_py": "atari", "cv2": "atari"}


def check_task(task: Task) -> None:
    """Makes one environment of a task and closes it, so that a mistake shows before anything is written.

    Raises:
        UnknownNameError: The environment or one of its arguments does not exist.
        MissingExtraError: The environment needs a package that is not installed.
        ConfigError: An argument has a value that the environment refuses.
    """
    spec = _spec(task.env)
    _refuse_unknown_arguments(task, spec)
    try:
        made = gym.make(task.env, **task.kwargs)
    except RLTransferError:
        raise
    except _NOT_INSTALLED as error:
        raise _missing_package(task.env, error) from None
    except Exception as error:
        arguments = ", ".join(f"{key}={value!r}" for key, value in task.kwargs.items()) or "no arguments"
        raise ConfigError(f"{task.env} cannot be made with {arguments}: {error}") from error
    # That it cannot be closed says nothing against it.
    with contextlib.suppress(Exception):
        made.close()


def check_randomise(task: Task, randomise: Mapping[str, tuple[Any, ...]]) -> None:
    """Makes an environment at both ends of what each argument is drawn from, so that a mistake shows at once.

    Raises:
        UnknownNameError: The environment has no such argument.
        ConfigError: It refuses one of the values, or has other spaces with it.
    """
    usual = gym.make(task.env, **task.kwargs)
    for name, values in randomise.items():
        for value in values:
            kwargs = {**task.kwargs, name: value}
            try:
                check_task(Task(env=task.env, kwargs=kwargs))
            except (ConfigError, UnknownNameError) as error:
                raise type(error)(f"randomise: {error}") from error
            made = gym.make(task.env, **kwargs)
            refuse_other_spaces(usual, made, {name: value})
            made.close()
    usual.close()


def _draws(task: Task, randomise: Mapping[str, tuple[Any, ...]]) -> dict[str, Draw]:
    """Returns what each argument is drawn from: whole numbers where its usual value is one."""
    parameters = _parameters(_spec(task.env))
    usual = {
        name: parameters[name].default
        if name in parameters and parameters[name].default is not inspect.Parameter.empty
        else task.kwargs.get(name)
        for name in randomise
    }
    return {
        name: Draw(values, is_whole=all(type(number) is int for number in (*values, usual[name])))
        for name, values in randomise.items()
    }


def make_train_env(
    task: Task,
    hyperparams: Hyperparameters,
    *,
    seed: int,
    monitor_folder: Path | None,
    vec_env: VecEnvKind,
    monitor_prefix: str = "",
    randomise: Mapping[str, tuple[Any, ...]] | None = None,
) -> VecEnv:
    """Returns the training environments of a run, wrapped as the settings say, each with a monitor file in a folder.

    A monitor file that is there already is continued. Arguments that are named in ``randomise`` are drawn anew for each
    episode.
    """
    return _make(
        task,
        hyperparams,
        seed=seed,
        n_envs=hyperparams.n_envs,
        monitors=None if monitor_folder is None else f"{monitor_folder}/{monitor_prefix}",
        vec_env=vec_env,
        training=True,
        draws=_draws(task, randomise) if randomise else None,
    )


def make_eval_env(
    task: Task, hyperparams: Hyperparameters, *, seed: int, n_envs: int, max_episode_steps: int | None = None
) -> VecEnv:
    """Returns environments for evaluation: like the training ones, but statistics do not change and rewards are raw.

    Every episode ends: after ``max_episode_steps`` where it is given; otherwise by the environment's own time limit,
    or after ``bound.MAX_EPISODE_STEPS`` where it has none.
    """
    return _make(
        task,
        hyperparams,
        seed=seed,
        n_envs=n_envs,
        monitors=None,
        vec_env="dummy",
        training=False,
        max_episode_steps=max_episode_steps,
    )


def _make(
    task: Task,
    hyperparams: Hyperparameters,
    *,
    seed: int,
    n_envs: int,
    monitors: str | None,
    vec_env: VecEnvKind,
    training: bool,
    draws: Mapping[str, Draw] | None = None,
    max_episode_steps: int | None = None,
) -> VecEnv:
    in_processes = vec_env == "subproc"
    stopwatch = Stopwatch()
    with _naming_settings(task):
        makers = [
            _Maker(
                spec=_spec(task.env),
                kwargs=task.kwargs,
                draws=draws,
                wrappers=tuple(_wrappers(hyperparams.env_wrapper)),
                seed=seed + index,
                monitor_file=None if monitors is None else Path(f"{monitors}{index}.{Monitor.EXT}"),
                # What runs in a process of its own is timed from here.
                stopwatch=None if in_processes else stopwatch,
                training=training,
                max_episode_steps=max_episode_steps,
            )
            for index in range(n_envs)
        ]
        with _no_worker_left():
            in_process = DummyVecEnv if training else EvaluationEnvs
            venv = (SubprocVecEnv if in_processes else in_process)([maker.kept for maker in makers])
        venv.seed(seed)
        name = task.env if training else f"{task.env} in an evaluation"
        return _wrap(Watched(venv, name, stopwatch), hyperparams, training=training)


@dataclasses.dataclass(frozen=True)
class _Maker:
    """Makes one environment with its wrappers, in this process or in one of its own."""

    spec: EnvSpec
    kwargs: Mapping[str, Any]
    draws: Mapping[str, Draw] | None
    wrappers: tuple[tuple[Any, dict[str, Any]], ...]
    seed: int
    monitor_file: Path | None
    stopwatch: Stopwatch | None
    training: bool
    max_episode_steps: int | None

    def kept(self) -> gym.Env[Any, Any]:
        """Returns an environment whose state can be taken."""
        if self.stopwatch is None:
            # It ends when its main process does, which is the one to be asked: Ctrl-C reaches every process.
            for asked in (signal.SIGINT, signal.SIGTERM):
                signal.signal(asked, signal.SIG_IGN)
        return Kept(self.bare(self.monitor_file), functools.partial(self.bare, None), self.stopwatch)

    def bare(self, monitor_file: Path | None) -> gym.Env[Any, Any]:
        """Returns an environment in SB3's monitor and the wrappers of the settings."""
        make = functools.partial(gym.make, self.spec)
        env: gym.Env[Any, Any] = Randomised(make, self.kwargs, self.draws) if self.draws else make(**self.kwargs)
        env.action_space.seed(self.seed)
        is_new = monitor_file is None or not monitor_file.exists()
        kind = Monitor if self.training else BoundedMonitor
        try:
            env = monitor = kind(env, None if monitor_file is None else str(monitor_file), override_existing=is_new)
        except OSError as error:
            raise files.not_written(str(monitor_file), error) from error
        for wrapper, arguments in self.wrappers:
            env = wrapper(env, **arguments)
        if isinstance(monitor, BoundedMonitor):
            bound_episodes(monitor, env, self.max_episode_steps)
        return env


@contextlib.contextmanager
def _no_worker_left() -> Iterator[None]:
    """Kills the processes of environments that are not made in the end: they listen to no signal, and may hang."""
    before = set(multiprocessing.active_children())
    try:
        yield
    except BaseException:
        for process in set(multiprocessing.active_children()) - before:
            process.kill()
            process.join()
        raise


@contextlib.contextmanager
def _naming_settings(task: Task) -> Iterator[None]:
    try:
        yield
    except RLTransferError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{task.env} cannot be made with the settings env_wrapper, normalize and frame_stack as they are: {error}"
        ) from error


def reward_threshold(task: Task) -> float | None:
    """Returns the return at which the environment's registration calls it solved, where it has one."""
    return _spec(task.env).reward_threshold


def evaluates_deterministically(env_id: str) -> bool:
    """Returns whether evaluation uses the policy's mode: RL Zoo's rule, all but MiniGrid and Atari."""
    return not any(word in env_id for word in ("MiniGrid", "ALE/", "NoFrameskip", "rltransfer/Atari"))


def import_packages(packages: Sequence[str]) -> None:
    """Imports packages that register environments.

    Raises:
        UnknownNameError: There is no such package.
    """
    for package in packages:
        try:
            importlib.import_module(package)
        except Exception as error:
            raise UnknownNameError(f"Package {package!r} of --gym-packages cannot be imported: {error}.") from error


def _missing_package(env_id: str, error: Exception) -> MissingExtraError:
    extra = _extra_that_brings(error)
    command = f' It comes with the extra {extra}: pip install "rltransfer[{extra}]"' if extra else ""
    return MissingExtraError(f"{env_id} needs a package that is not installed: {error}.{command}")


def _extra_that_brings(error: Exception) -> str | None:
    """Returns the extra of rltransfer that installs what an import error says is missing."""
    return next((extra for package, extra in _EXTRAS.items() if package in str(error).lower()), None)


def _spec(env_id: str) -> EnvSpec:
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if _extra_that_brings(error):
                raise _missing_package(env_id, error) from None
            raise UnknownNameError(f"The module of environment {env_id!r} cannot be imported: {error}.") from None
    try:
        return gym.spec(name)
    except GymnasiumError:
        ids = [f"{module}:{key}" if module else key for key in gym.registry]
        raise UnknownNameError(f"Unknown environment {env_id!r}.{_hint(env_id, ids)}") from None


def _hint(env_id: str, ids: Sequence[str]) -> str:
    if env_id.startswith("rltransfer/"):
        return f" Environments of rltransfer are named with their module: 'rltransfer_envs:{env_id}'."
    if env_id.startswith("ALE/"):
        return f" Environments of ALE are named with their module: 'ale_py:{env_id}'."
    return did_you_mean(env_id, ids) or (
        " Import the package that registers it with --gym-packages, or name it as 'module:Name-v0'."
    )


def _parameters(spec: EnvSpec) -> Mapping[str, inspect.Parameter]:
    """Returns the arguments that an environment takes."""
    creator = spec.entry_point if callable(spec.entry_point) else load_env_creator(str(spec.entry_point))
    return inspect.signature(creator).parameters


def _refuse_unknown_arguments(task: Task, spec: EnvSpec) -> None:
    try:
        parameters = _parameters(spec)
    except MissingExtraError:
        raise
    except _NOT_INSTALLED as error:
        raise _missing_package(task.env, error) from None
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    names = [name for name in parameters if name not in ("self", "render_mode")]
    for name in task.kwargs:
        if name not in parameters:
            there = f"Known: {', '.join(names)}." if names else "It has none."
            raise UnknownNameError(f"{task.env} has no argument {name!r}.{did_you_mean(name, names)} {there}")


def _as_tuple(value: Any) -> Any:
    """Returns a list from a YAML file as the tuple that wrappers such as ResizeObservation insist on."""
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value


def _wrappers(env_wrapper: Sequence[str | Mapping[str, Any]]) -> Iterator[tuple[Any, dict[str, Any]]]:
    for item in env_wrapper:
        for name, kwargs in ({item: {}} if isinstance(item, str) else item).items():
            yield _load_class(name), {key: _as_tuple(value) for key, value in (kwargs or {}).items()}


def _load_class(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"env_wrapper {name!r} cannot be imported: {error}.") from None


def _wrap(env: VecEnv, hyperparams: Hyperparameters, *, training: bool) -> VecEnv:
    settings = hyperparams.normalize
    if settings is not False:
        arguments = {"gamma": hyperparams.agent.get("gamma", 0.99)}
        arguments |= dict(settings) if isinstance(settings, Mapping) else {}
        if not training:
            arguments["norm_reward"] = False
        env = VecNormalize(env, training=training, **arguments)
    if hyperparams.frame_stack:
        env = VecFrameStack(env, hyperparams.frame_stack)
    space = env.observation_space
    if is_image_space(space) and not is_image_space_channels_first(space):  # type: ignore[arg-type]
        env = VecTransposeImage(env)
    return env
