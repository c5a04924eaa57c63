"""The folder of a run in RL Zoo's layout: made, claimed, cleared and removed, and what its settings are."""

import contextlib
import itertools
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from rltransfer import files, yaml_file
from rltransfer.config import RunConfig, absolute
from rltransfer.errors import RunError
from rltransfer.records import (
    ARGUMENTS,
    BEST_AGENT,
    BEST_NORMALISER,
    CHECKPOINT,
    CLAIM,
    COMMAND,
    CONFIG,
    CURVE,
    LOG,
    MONITORS,
    OWN_FOLDER,
    PLAN,
    RECORD,
    REPLAY_BUFFER,
    REPRESENTATION,
    SETTINGS,
)
from rltransfer.run_lock import claim, release


@contextlib.contextmanager
def new_run_folder(log_folder: Path, algo: str, env_name: str, *, unique: bool = False) -> Iterator[Path]:
    """Claims and yields a new run folder, and releases it at the end; arguments and errors: see ``claim_numbered``."""
    folder = claim_numbered(log_folder, algo, env_name, unique=unique)
    try:
        yield folder
    finally:
        release(folder)


def claim_numbered(log_folder: Path, algo: str, env_name: str, *, unique: bool = False) -> Path:
    """Creates, claims and returns the next free ``<folder>/<algo>/<env>_<n>``; two processes never get the same one.

    Args:
        log_folder: Where it goes.
        algo: The algorithm.
        env_name: The environment, as a file name.
        unique: Whether its name ends with a random id.

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
        events = place / config.task.file_name / folder.name
        try:
            events.parent.mkdir(parents=True, exist_ok=True)
            events.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise files.not_written(events, error) from error
        return config.model_copy(update={"tensorboard_log": str(place)})
    raise AssertionError("there is always a next number")


def tensorboard_folder(config: RunConfig, folder: Path) -> Path:
    """Returns where the events of a run go."""
    name = f"{config.arm}-seed{config.seed}"
    if config.tensorboard_log:
        return Path(config.tensorboard_log) / config.task.file_name / folder.name / name
    return folder / "tb" / name


def clear(config: RunConfig, folder: Path) -> None:
    """Removes what a run of these settings, or of those in the folder, leaves there; what is not ours stays."""
    configs = [config]
    with contextlib.suppress(RunError):
        configs.append(read_settings(folder))
    paths = [folder / place for place in (CURVE, BEST_AGENT, BEST_NORMALISER, REPLAY_BUFFER)]
    paths += [folder / OWN_FOLDER / name for name in (PLAN, RECORD, REPRESENTATION, CHECKPOINT)]
    paths += [*folder.glob(MONITORS), *folder.glob("rl_model_*_steps.*")]
    for run in configs:
        name = run.task.file_name
        paths += [folder / name, folder / f"{name}.zip", tensorboard_folder(run, folder)]
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def empty(folder: Path) -> None:
    """Removes everything from a claimed folder of a study, which holds nothing but a run; its log stays."""
    library_folder = folder / OWN_FOLDER
    for path in [*folder.iterdir(), *library_folder.iterdir()]:
        if path in (library_folder, library_folder / CLAIM, folder / LOG):
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def remove(config: RunConfig, folder: Path) -> None:
    """Removes the folder of a run that trained nothing, its events, and the folders above them that are empty then."""
    shutil.rmtree(folder)
    events = tensorboard_folder(config, folder)
    for parent in (*list(events.parents)[:3], folder.parent, folder.parent.parent):
        with contextlib.suppress(OSError):
            parent.rmdir()


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
    files.write_text(zoo / ARGUMENTS, yaml_file.dump(arguments))
    files.write_text(zoo / SETTINGS, yaml_file.dump(config.hyperparams.flat()))
    files.write_text(zoo / COMMAND, config.command + "\n")


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
