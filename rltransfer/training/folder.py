"""Names and claims the folder of a run, and writes agents and statistics into it, in RL Zoo's layout."""

import contextlib
import io
import json
import os
import pickle
import re
import socket
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltransfer import files, yaml_file
from rltransfer.config import RunConfig
from rltransfer.errors import RunError
from rltransfer.records import OWN_FOLDER

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize

CONFIG = "config.json"
PLAN = "plan.json"
CLAIM = "claim.json"


def claim_numbered(log_folder: Path, algo: str, env_name: str, *, unique: bool = False) -> Path:
    """Creates and returns the next free ``<folder>/<algo>/<env>_<n>``; two processes never get the same one."""
    parent = log_folder / algo
    parent.mkdir(parents=True, exist_ok=True)
    suffix = f"_{uuid.uuid4()}" if unique else ""
    taken = [_number(path.name, env_name) for path in parent.iterdir()]
    number = max(taken, default=0) + 1
    while True:
        folder = parent / f"{env_name}_{number}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            claim(folder)
            return folder


def claim(folder: Path) -> None:
    """Claims a run folder for this process by creating a file that must not exist; a dead process's claim is replaced.

    Raises:
        RunError: A living process on this machine, or one on another, has claimed the folder.
    """
    path = folder / OWN_FOLDER / CLAIM
    path.parent.mkdir(parents=True, exist_ok=True)
    content = f'{{"host": "{socket.gethostname()}", "pid": {os.getpid()}}}\n'
    for _ in range(2):
        try:
            with path.open("x") as file:
                file.write(content)
        except FileExistsError:
            _remove_dead_claim(path)
        else:
            return
    raise RunError(f"{folder} is being written by another process: see {path}. If it is gone, delete that file.")


def release(folder: Path) -> None:
    """Gives a claimed folder back."""
    (folder / OWN_FOLDER / CLAIM).unlink(missing_ok=True)


def write_settings(folder: Path, config: RunConfig) -> None:
    """Writes the resolved configuration, and beside it what RL Zoo's tools read (its settings, arguments, command)."""
    files.write_json(folder / OWN_FOLDER / CONFIG, config.model_dump(mode="json"))
    zoo = folder / config.task.file_name
    arguments = {
        "algo": config.algo,
        "env": config.task.env,
        "env_kwargs": config.task.kwargs,
        "eval_env_kwargs": config.evaluation.env_kwargs,
        "seed": config.seed,
        "n_timesteps": config.n_timesteps,
        "eval_freq": config.evaluation.frequency(config.n_timesteps),
        "eval_episodes": config.evaluation.episodes,
        "n_eval_envs": config.evaluation.parallel,
        "save_freq": config.save_freq,
        "device": config.device,
        "vec_env": config.vec_env,
        "num_threads": config.num_threads,
    }
    files.write_text(zoo / "args.yml", yaml_file.dump(arguments))
    files.write_text(zoo / "config.yml", yaml_file.dump(config.hyperparams.flat()))
    files.write_text(zoo / "command.txt", config.command + "\n")


def save_agent(agent: "BaseAlgorithm", path: Path) -> None:
    """Writes a stock SB3 zip atomically: SB3's own ``save`` destroys the old file first (FACTS B4)."""
    buffer = io.BytesIO()
    agent.save(buffer)
    files.write_bytes(path, buffer.getvalue())


def save_normaliser(normaliser: "VecNormalize | None", path: Path) -> None:
    """Writes VecNormalize statistics as SB3 does, atomically; nothing where an agent is not normalised."""
    if normaliser is not None:
        files.write_bytes(path, pickle.dumps(normaliser))


def save_replay_buffer(agent: Any, path: Path) -> None:
    """Writes the replay buffer of an off-policy agent as SB3 does, atomically; nothing for others."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        files.write_bytes(path, pickle.dumps(buffer))


def _number(name: str, env_name: str) -> int:
    match = re.fullmatch(rf"{re.escape(env_name)}_(\d+)(_[0-9a-f-]+)?", name)
    return int(match.group(1)) if match else 0


def _remove_dead_claim(path: Path) -> None:
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        claim_facts = json.loads(path.read_text())
        if claim_facts["host"] == socket.gethostname() and not _is_alive(int(claim_facts["pid"])):
            path.unlink()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
