"""Reads runs that RL Zoo wrote, as runs of ours in which what nobody recorded stays open.

A folder of RL Zoo says which algorithm, task, seed and hyperparameters a run had, and how its curve went. It does not
say which arm of a comparison the run is: that comes from whoever compares. Nothing in it is unpickled.

Of runs that kept no settings, task and budget are read from what is there, and numbers stand for seeds. A run without
evaluations has the curve of its training episodes, as its monitor files tell them.
"""

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rltransfer import yaml_file
from rltransfer.errors import ConfigError, RunError
from rltransfer.records import (
    ARGUMENTS,
    CURVE,
    ENV_KWARGS,
    MONITORS,
    OWN_FOLDER,
    RECORD,
    SETTINGS,
    Curve,
    EvaluationFacts,
    Run,
    RunRecord,
    SourceFacts,
    TaskFacts,
    read_curve,
    read_monitor,
    read_training_episodes,
)

# Settings of RL Zoo's hyperparameter files that are told elsewhere in a record.
_TOLD_ELSEWHERE = ("n_timesteps", "env_wrapper")
UNKNOWN = "unknown algorithm"
TRAINING_POINTS = 20
"""How many points the curve of a run has that was never evaluated."""


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
    folders = zoo_folders(root) if arms else []
    for arm, glob in arms.items():
        matched = set(_matches(root, arm, glob))
        arm_folders = [folder for folder in folders if matched & {folder, *folder.parents}]
        if not arm_folders:
            raise RunError(
                f"--arm {arm}={glob}: no run of RL Zoo matches below {root} (a folder with {CURVE} or monitor files "
                f"and without a record of rltransfer). The pattern is relative to {root}, such as 'ppo/CartPole-v1_*'."
            )
        twice = [folder for folder in arm_folders if folder in owners]
        if twice:
            raise RunError(
                f"--arm: {twice[0]} belongs to both {owners[twice[0]]!r} and {arm!r}; give it to one of them."
            )
        owners |= dict.fromkeys(arm_folders, arm)
    arm_folders = [folder for folder in folders if folder in owners]
    # Numbers that were given here must not meet seeds that others have.
    inferred = {} if any(_has_settings(folder) for folder in arm_folders) else _inferred(arm_folders, owners)
    for folder in arm_folders:
        yield _read(folder, owners[folder], inferred.get(folder))


def zoo_folders(root: Path) -> list[Path]:
    """Returns the folders below ``root`` that hold an evaluation curve or monitor files, and are in no run of ours."""
    places = sorted({path.parent for pattern in (CURVE, MONITORS) for path in root.rglob(pattern)})
    return [
        folder
        for folder in places
        if not any((above / OWN_FOLDER / RECORD).exists() for above in (folder, *folder.parents))
    ]


def _matches(root: Path, arm: str, glob: str) -> Iterator[Path]:
    try:
        yield from root.glob(glob)
    except (ValueError, NotImplementedError, IndexError) as error:
        raise RunError(f"--arm {arm}={glob}: not a pattern below {root}: {error}") from None


def _has_settings(folder: Path) -> bool:
    return bool(_arguments(folder))


def _read(folder: Path, arm: str, inferred: "_Files | None") -> Run | UnreadRun:
    try:
        saved = inferred or _files(folder)
        curve = read_curve(folder) if (folder / CURVE).exists() else _training_curve(folder, _budget(saved))
        return Run(folder, _record(folder, arm, curve, saved), curve)
    except (RunError, ConfigError) as error:
        return UnreadRun(folder, arm, str(error))
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        return UnreadRun(folder, arm, f"its {ARGUMENTS} or {SETTINGS} holds something unexpected: {error}")


@dataclasses.dataclass(frozen=True)
class _Files:
    """What RL Zoo saved of a run: the name of its environment, its arguments, its hyperparameters."""

    name: str
    arguments: dict[str, Any]
    settings: dict[str, Any]


def _files(folder: Path) -> _Files:
    paths = _arguments(folder)
    if len(paths) != 1:
        raise RunError(f"algorithm, task and seed are unknown: there is no {ARGUMENTS} of RL Zoo in a folder of it")
    arguments, settings = yaml_file.read(paths[0]), yaml_file.read(paths[0].with_name(SETTINGS))
    if paths[0].parent != folder:
        return _Files(paths[0].parent.name, arguments, settings)
    kwargs = folder / ENV_KWARGS
    if kwargs.exists():
        arguments["env_kwargs"] = {**(arguments.get("env_kwargs") or {}), **yaml_file.read(kwargs)}
    return _Files(str(arguments.get("env")).rpartition(":")[2].replace("/", "-"), arguments, settings)


def _arguments(folder: Path) -> list[Path]:
    """Returns RL Zoo's arguments of a run: in a folder of it, or as on the Hub in the folder itself."""
    return sorted(folder.glob(f"*/{ARGUMENTS}")) or sorted(folder.glob(ARGUMENTS))


def _inferred(folders: Sequence[Path], owners: Mapping[Path, str]) -> dict[Path, _Files]:
    """Returns what can be told of runs that kept no settings: numbers for seeds, the end of the longest as budget."""
    ends: dict[Path, int] = {}
    for folder in folders:
        with contextlib.suppress(RunError):
            ends[folder] = _last_step(folder)
    names = {folder: _name(folder) for folder in folders}
    numbers: dict[str, int] = {}
    inferred = {}
    for folder, name in names.items():
        seed = numbers.setdefault(owners[folder], 0)
        numbers[owners[folder]] += 1
        budget = max([end for other, end in ends.items() if names[other] == name], default=0)
        arguments = {"algo": UNKNOWN, "env": name, "seed": seed, "n_timesteps": budget}
        inferred[folder] = _Files(name, arguments, {})
    return inferred


def _name(folder: Path) -> str:
    """Returns the task of a run without settings: as its monitor files say, or else as its folder is called."""
    heads = [head["env_id"] for head in _heads(folder) if isinstance(head.get("env_id"), str)]
    return heads[0] if heads and heads[0] else re.sub(r"_[0-9]+$", "", folder.name) or UNKNOWN


def _last_step(folder: Path) -> int:
    if (folder / CURVE).exists():
        return int(max(read_curve(folder).env_steps, default=0))
    return int(read_training_episodes(folder).episode_lengths.sum())


def _budget(saved: _Files) -> int:
    given = int(saved.arguments.get("n_timesteps") or -1)
    return given if given > 0 else int(float(saved.settings["n_timesteps"]))


def _training_curve(folder: Path, budget: int) -> Curve:
    """Returns the mean return of the training episodes that ended in each twentieth of the budget."""
    monitors = [read_monitor(path) for path in sorted(folder.glob(MONITORS))]
    # Environments step together, so that an episode ends after the steps of its own times their number.
    ended = np.concatenate([np.cumsum(monitor.episode_lengths) * len(monitors) for monitor in monitors])
    returns = np.concatenate([monitor.episode_returns for monitor in monitors])
    lengths = np.concatenate([monitor.episode_lengths for monitor in monitors])
    ends = np.linspace(0, budget, TRAINING_POINTS + 1).astype(int)[1:]
    places = np.searchsorted(ends, ended)
    points = [at for at in range(TRAINING_POINTS) if (places == at).any()]
    means = [[values[places == at].mean() for at in points] for values in (returns, lengths)]
    return Curve(ends[points], np.array(means[0])[:, None], np.array(means[1]).astype(int)[:, None])


def _is_done(folder: Path, name: str, curve: Curve, budget: int) -> bool:
    """Returns whether training has ended: RL Zoo has written the last agent, or no evaluation is due any more."""
    gaps = np.diff(curve.env_steps, prepend=0)
    gap = int(min(gaps[gaps > 0], default=0))
    return (folder / f"{name}.zip").exists() or bool(gap and curve.env_steps[-1] + gap > budget)


def _record(folder: Path, arm: str, curve: Curve, saved: _Files) -> RunRecord:
    arguments, settings, name = saved.arguments, saved.settings, saved.name
    missing = [key for key in ("algo", "env", "seed") if arguments.get(key) in (None, "")]
    if missing:
        raise RunError(f"{folder / name / ARGUMENTS} lacks {', '.join(missing)}")
    if not len(curve.env_steps):
        raise RunError(f"{folder} holds no evaluation and no finished episode")
    budget = _budget(saved)
    is_trained = not (folder / CURVE).exists()
    env = str(arguments["env"])
    return RunRecord(
        written_by="rl_zoo",
        status="done" if _is_done(folder, name, curve, budget) else "running",
        role="target",
        task=TaskFacts(env=env, kwargs=arguments.get("env_kwargs") or {}, wrappers=_wrappers(settings)),
        task_name=name,
        algo=str(arguments["algo"]),
        arm=arm,
        seed=int(arguments["seed"]),
        n_timesteps=budget,
        env_steps=int(curve.env_steps[-1]),
        hyperparams={key: value for key, value in settings.items() if key not in _TOLD_ELSEWHERE},
        evaluation=EvaluationFacts(
            eval_freq=int((not is_trained and arguments.get("eval_freq")) or curve.env_steps[0]),
            episodes=0 if is_trained else int(curve.episode_returns.shape[1]),
            n_envs=int(arguments.get("n_eval_envs") or 1),
            # RL Zoo's rule: actions are sampled in Atari and MiniGrid alone.
            deterministic=not is_trained and not any(word in env for word in ("NoFrameskip", "ALE/", "MiniGrid")),
            env_kwargs=arguments.get("eval_env_kwargs") or None,
        ),
        source=_source(arguments),
        started=_started(folder),
    )


def _wrappers(settings: Mapping[str, Any]) -> tuple[str, ...]:
    setting = settings.get("env_wrapper") or []
    listed = setting if isinstance(setting, list) else [setting]
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
    for head in _heads(folder):
        with contextlib.suppress(ValueError, KeyError, TypeError):
            times.append(float(head["t_start"]))
    return f"{min(times):020.3f}" if times else ""


def _heads(folder: Path) -> Iterator[dict[str, Any]]:
    """Yields the first lines of the monitor files, in which SB3 says when which environment was made."""
    for path in sorted(folder.glob(MONITORS)):
        with contextlib.suppress(OSError, ValueError), path.open() as lines:
            head = json.loads(next(lines, "").lstrip("#"))
            if isinstance(head, dict):
                yield head
