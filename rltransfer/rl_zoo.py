"""Reads runs that RL Zoo wrote, as runs of ours in which what nobody recorded stays open.

A folder of RL Zoo says which algorithm, task, seed and hyperparameters a run had, and how its curve went. It does not
say which arm of a comparison the run is: that comes from whoever compares. Nothing in it is unpickled.
"""

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rltransfer import yaml_file
from rltransfer.errors import ConfigError, RunError
from rltransfer.records import (
    CURVE,
    MONITORS,
    OWN_FOLDER,
    RECORD,
    Curve,
    EvaluationFacts,
    Run,
    RunRecord,
    SourceFacts,
    TaskFacts,
    read_curve,
)

_ARGUMENTS = "args.yml"
_SETTINGS = "config.yml"
# Settings of RL Zoo's hyperparameter files that are told elsewhere in a record.
_TOLD_ELSEWHERE = ("n_timesteps", "env_wrapper")


@dataclasses.dataclass(frozen=True)
class UnreadRun:
    """A run of RL Zoo that cannot be compared, and why."""

    folder: Path
    arm: str
    reason: str


def find_zoo_runs(root: Path, arms: Mapping[str, str]) -> Iterator[Run | UnreadRun]:
    """Yields the runs of RL Zoo below ``root`` that belong to an arm, in the order of their paths.

    Args:
        root: The folder to look in.
        arms: A glob for each arm, relative to ``root``: an arm's runs are the matched folders, and those below them.

    Raises:
        RunError: An arm has no run, or a run belongs to two arms.
    """
    owners: dict[Path, str] = {}
    folders = zoo_folders(root)
    for arm, glob in arms.items():
        matched = set(_matches(root, arm, glob))
        mine = [folder for folder in folders if matched & {folder, *folder.parents}]
        if not mine:
            raise RunError(
                f"--arm {arm}={glob}: no run of RL Zoo matches below {root} (a folder with {CURVE} and without a "
                f"record of rltransfer). The pattern is relative to {root}, such as 'ppo/CartPole-v1_*'."
            )
        twice = [folder for folder in mine if folder in owners]
        if twice:
            raise RunError(
                f"--arm: {twice[0]} belongs to both {owners[twice[0]]!r} and {arm!r}; give it to one of them."
            )
        owners |= dict.fromkeys(mine, arm)
    for folder in folders:
        if folder in owners:
            yield _read(folder, owners[folder])


def zoo_folders(root: Path) -> list[Path]:
    """Returns the folders below ``root`` that hold an evaluation curve and no record of ours."""
    found = sorted(path.parent for path in root.rglob(CURVE))
    return [folder for folder in found if not (folder / OWN_FOLDER / RECORD).exists()]


def _matches(root: Path, arm: str, glob: str) -> Iterator[Path]:
    try:
        yield from root.glob(glob)
    except (ValueError, NotImplementedError, IndexError) as error:
        raise RunError(f"--arm {arm}={glob}: not a pattern below {root}: {error}") from None


def _read(folder: Path, arm: str) -> Run | UnreadRun:
    try:
        curve = read_curve(folder)
        return Run(folder, _record(folder, arm, curve, _files(folder)), curve)
    except (RunError, ConfigError) as error:
        return UnreadRun(folder, arm, str(error))
    except (TypeError, ValueError) as error:
        return UnreadRun(folder, arm, f"its {_ARGUMENTS} or {_SETTINGS} holds something unexpected: {error}")


@dataclasses.dataclass(frozen=True)
class _Files:
    """What RL Zoo saved of a run: the name of its environment, its arguments, its hyperparameters."""

    name: str
    arguments: dict[str, Any]
    settings: dict[str, Any]


def _files(folder: Path) -> _Files:
    found = sorted(folder.glob(f"*/{_ARGUMENTS}"))
    if len(found) != 1:
        raise RunError(f"algorithm, task and seed are unknown: there is no {_ARGUMENTS} of RL Zoo in a folder of it")
    settings = found[0].with_name(_SETTINGS)
    return _Files(found[0].parent.name, yaml_file.read(found[0]), yaml_file.read(settings))


def _record(folder: Path, arm: str, curve: Curve, saved: _Files) -> RunRecord:
    arguments, settings, name = saved.arguments, saved.settings, saved.name
    missing = [key for key in ("algo", "env", "seed") if arguments.get(key) in (None, "")]
    if missing:
        raise RunError(f"{folder / name / _ARGUMENTS} lacks {', '.join(missing)}")
    if not len(curve.env_steps):
        raise RunError(f"{folder / CURVE} holds no evaluation")
    budget = int(arguments.get("n_timesteps") or -1)
    env = str(arguments["env"])
    # RL Zoo writes the last agent when training has ended, so a run without it was stopped, or still goes on.
    is_done = (folder / f"{name}.zip").exists()
    return RunRecord(
        written_by="rl_zoo",
        status="done" if is_done else "running",
        role="target",
        task=TaskFacts(env=env, kwargs=arguments.get("env_kwargs") or {}, wrappers=_wrappers(settings)),
        task_name=name,
        algo=str(arguments["algo"]),
        arm=arm,
        seed=int(arguments["seed"]),
        n_timesteps=budget if budget > 0 else int(float(settings["n_timesteps"])),
        env_steps=int(curve.env_steps[-1]),
        hyperparams={key: value for key, value in settings.items() if key not in _TOLD_ELSEWHERE},
        evaluation=EvaluationFacts(
            eval_freq=int(arguments.get("eval_freq") or curve.env_steps[0]),
            episodes=int(curve.episode_returns.shape[1]),
            n_envs=int(arguments.get("n_eval_envs") or 1),
            # RL Zoo's rule: actions are sampled in Atari and MiniGrid alone.
            deterministic=not any(word in env for word in ("NoFrameskip", "ALE/", "MiniGrid")),
            env_kwargs=arguments.get("eval_env_kwargs") or None,
        ),
        source=_source(arguments),
        started=_started(folder),
    )


def _wrappers(settings: Mapping[str, Any]) -> tuple[str, ...]:
    found = settings.get("env_wrapper") or []
    listed = found if isinstance(found, list) else [found]
    return tuple(item if isinstance(item, str) else str(next(iter(item))) for item in listed)


def _source(arguments: Mapping[str, Any]) -> SourceFacts | None:
    """Returns the agent that training went on from (``-i``); it is known by its file, where that is still there."""
    path = arguments.get("trained_agent")
    if not path:
        return None
    try:
        identity = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        identity = f"not there any more: {path}"
    return SourceFacts(path=str(path), sha256=identity, algo=str(arguments["algo"]))


def _started(folder: Path) -> str:
    """Returns when the first environment was made, by the monitor files, so that runs can be ordered; else nothing."""
    times = []
    for path in folder.glob(MONITORS):
        try:
            with path.open() as lines:
                times.append(float(json.loads(next(lines).lstrip("#"))["t_start"]))
        except (OSError, ValueError, KeyError, TypeError, StopIteration):
            continue
    return f"{min(times):020.3f}" if times else ""
