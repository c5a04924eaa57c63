"""Names and claims the folder of a run, and writes agents and statistics into it, in RL Zoo's layout."""

import io
import itertools
import pickle
import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltransfer import files, yaml_file
from rltransfer.config import RunConfig, absolute
from rltransfer.errors import RunError
from rltransfer.records import OWN_FOLDER
from rltransfer.run_lock import claim

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize

CONFIG = "config.json"
PLAN = "plan.json"


def claim_numbered(log_folder: Path, algo: str, env_name: str, *, unique: bool = False) -> Path:
    """Creates and returns the next free ``<folder>/<algo>/<env>_<n>``; two processes never get the same one.

    Raises:
        FileWriteError: It cannot be created.
    """
    parent = log_folder / algo
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = _new_numbered(parent, env_name, f"_{uuid.uuid4()}" if unique else "")
    except OSError as error:
        raise files.not_written(parent, error) from error
    claim(folder)
    return folder


def claim_tensorboard(config: RunConfig, folder: Path) -> RunConfig:
    """Returns the settings with a TensorBoard folder that no other run writes into.

    In ``tensorboard_log`` two runs can have one name: of two algorithms, or of two log folders.

    Raises:
        FileWriteError: It cannot be created.
    """
    if config.tensorboard_log is None:
        return config
    base = Path(config.tensorboard_log).absolute()
    places = itertools.chain([base, base / config.algo], (base / f"{config.algo}_{n}" for n in itertools.count(2)))
    for place in places:
        own = place / config.task.file_name / folder.name
        try:
            own.parent.mkdir(parents=True, exist_ok=True)
            own.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise files.not_written(own, error) from error
        return config.model_copy(update={"tensorboard_log": str(place)})
    raise AssertionError("there is always a next number")


def write_settings(folder: Path, config: RunConfig) -> None:
    """Writes the resolved configuration, and beside it what RL Zoo's tools read (its settings, arguments, command).

    Paths are written so that the run can go on from any working directory.
    """
    paths = {"source": absolute(config.source), "normaliser": absolute(config.normaliser)}
    placed = config.model_copy(update=paths)
    files.write_json(folder / OWN_FOLDER / CONFIG, placed.model_dump(mode="json"))
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


def read_settings(folder: Path) -> RunConfig:
    """Returns the configuration of a run.

    Raises:
        RunError: The folder holds no run, or one of another version.
    """
    path = folder / OWN_FOLDER / CONFIG
    try:
        return RunConfig.model_validate_json(path.read_text())
    except FileNotFoundError:
        raise RunError(f"{folder} is not a run folder of rltransfer: {path} is missing.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read as the settings of a run: {error}") from None


def save_agent(agent: "BaseAlgorithm", path: Path) -> None:
    """Writes a stock SB3 zip atomically: SB3's own ``save`` destroys the old file first (sb3_facts.md#saving)."""
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


def _new_numbered(parent: Path, env_name: str, suffix: str) -> Path:
    taken = [_number(path.name, env_name) for path in parent.iterdir()]
    number = max(taken, default=0) + 1
    while True:
        folder = parent / f"{env_name}_{number}{suffix}"
        try:
            folder.mkdir()
        except FileExistsError:
            number += 1
        else:
            return folder


def _number(name: str, env_name: str) -> int:
    match = re.fullmatch(rf"{re.escape(env_name)}_(\d+)(_[0-9a-f-]+)?", name)
    return int(match.group(1)) if match else 0
