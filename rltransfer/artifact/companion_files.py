"""Finds the files that belong to an agent's zip by their names: statistics, replay buffer, RL Zoo's settings.

SB3's documentation, its ``CheckpointCallback``, RL Zoo, the Hugging Face Hub and Isaac Lab each have their names.
What is named after the zip comes first, then the general names; nothing is taken where two files are equally likely.
"""

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gymnasium import spaces
from pydantic import BaseModel

from rltransfer.errors import SourceError, did_you_mean
from rltransfer.records import ARGUMENTS, SETTINGS
from rltransfer.spaces import describe
from rltransfer.vecnormalize_reader import Normaliser, Statistics, read_vecnormalize

_BEST = "best_model"
_CHECKPOINT = re.compile(r"(?P<prefix>.*)_(?P<steps>\d+)_steps")
_GENERAL_STATISTICS = ("vec_normalize.pkl", "vecnormalize.pkl")
_GENERAL_BUFFER = "replay_buffer.pkl"
_PICKLES = (".pkl", ".pickle")
# How a pickle begins under each protocol since Python 2.3, whatever its name ends in.
_PICKLE_START = b"\x80"
# A VecNormalize names its class first; of a subclass, the statistics' class comes behind the spaces.
_HEAD_BYTES = 2**20
_MARKS = (b"vec_normalize", b"RunningMeanStd")
_MAX_BYTES = 64 * 2**20
_MAX_FILES = 1000


class StatisticsOrigin(BaseModel, frozen=True, extra="forbid"):
    """Which file the statistics of a source are from, and what speaks against it.

    Attributes:
        file: The file, or None where no statistics were found.
        is_of_another_moment: Whether it was saved for the training as a whole, and the agent at an earlier moment.
        agents: Other zips in its folder that it may belong to just as well.
        unused: Files beside the zip that hold statistics and were not taken.
        unreadable: Why files of general names, which may be its statistics or its settings, cannot be read.
    """

    file: str | None = None
    is_of_another_moment: bool = False
    agents: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def steps_of(path: Path) -> str | None:
    """Returns the steps in the name of a checkpoint, as ``CheckpointCallback`` writes it; None for other names."""
    match = _CHECKPOINT.fullmatch(path.stem)
    return match["steps"] if match else None


def holds_agent(path: Path) -> bool:
    """Returns whether a zip has the members of an agent; what is in them is not read."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {"data", "policy.pth"} <= set(archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def find_statistics(
    path: Path, space: spaces.Space[Any] | None, given: Path | None = None, *, frames: int = 1
) -> tuple[Normaliser | None, StatisticsOrigin]:
    """Returns the statistics of an agent's zip and where they are from; statistics that are given need no search.

    Args:
        path: The zip.
        space: The agent's observation space, where the zip tells.
        given: The file that the user names.
        frames: How many frames are stacked in an observation of the agent, as its settings tell.

    Raises:
        SourceError: The given file or one that is named after the zip cannot be read, the given one is of other
            observations, or two are equally likely.
    """
    if given is not None:
        return read_statistics(given, space), StatisticsOrigin(file=str(given))
    exact = _chosen(path, [(item, read_vecnormalize(item)) for item in _named_after(path)])
    if exact is not None:
        return exact[1], StatisticsOrigin(file=str(exact[0]), unused=_others(path, exact[0]))
    general, unreadable = _read_general(path)
    chosen = _chosen(path, [(item, normaliser) for item, normaliser in general if _fits(normaliser, space, frames)])
    reasons = tuple(unreadable.values())
    if chosen is None:
        return None, StatisticsOrigin(unused=_others(path, None, unreadable), unreadable=reasons)
    is_early = _is_early(path)
    return chosen[1], StatisticsOrigin(
        file=str(chosen[0]),
        is_of_another_moment=is_early,
        agents=() if is_early else tuple(_rivals(path)),
        unused=_others(path, chosen[0], unreadable),
        unreadable=reasons,
    )


def read_statistics(path: Path, space: spaces.Space[Any] | None) -> Normaliser:
    """Returns the statistics in a file that the user names for a source with an observation space.

    Raises:
        SourceError: The file is not there, is no file, is no VecNormalize, or is of other observations.
    """
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "a device or a pipe"
        raise SourceError(
            f"normaliser: {path} is {kind}, and no file. Give the pickle that VecNormalize.save wrote, such as "
            "vec_normalize.pkl."
        )
    if not path.is_file():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        raise SourceError(
            f"normaliser: the file {path} does not exist.{did_you_mean(path.name, siblings)} Give the pickle that "
            "VecNormalize.save wrote, such as vec_normalize.pkl."
        )
    normaliser = read_vecnormalize(path)
    if not _fits(normaliser, space, None):
        raise SourceError(
            f"normaliser: {path} holds statistics of {_shapes(normaliser)}, and the source's observations are "
            f"{describe(space)}. Give the file that was saved with this agent."
        )
    return normaliser


def find_replay_buffer(path: Path) -> Path | None:
    """Returns the file that holds what the agent in a zip remembers; None where none or several may be it."""
    match = _CHECKPOINT.fullmatch(path.stem)
    names = [f"{match['prefix']}_replay_buffer_{match['steps']}_steps.pkl"] if match else []
    names += [f"{path.stem}_{_GENERAL_BUFFER}"] + ([] if match else [_GENERAL_BUFFER])
    named = next((path.with_name(name) for name in names if path.with_name(name).is_file()), None)
    if named is not None or match:
        return named
    # SB3's documentation names agent and buffer each in its own way: sac_pendulum.zip, sac_replay_buffer.pkl.
    others = [
        item
        for item in path.parent.glob(f"*_{_GENERAL_BUFFER}")
        if not path.with_name(f"{item.name.removesuffix(f'_{_GENERAL_BUFFER}')}.zip").is_file()
    ]
    return others[0] if len(others) == 1 else None


def settings_folder(path: Path) -> Path | None:
    """Returns the folder with RL Zoo's settings of an agent's zip: a folder beside it, or as on the Hub its own."""
    folder = path.parent
    places = sorted({item.parent for name in (SETTINGS, ARGUMENTS) for item in folder.glob(f"*/{name}")})
    if folder / path.stem in places:
        return folder / path.stem
    if len(places) == 1:
        return places[0]
    return folder if any((folder / name).is_file() for name in (SETTINGS, ARGUMENTS)) else None


def _named_after(path: Path) -> list[Path]:
    """Returns the files of statistics that are named after a zip."""
    match = _CHECKPOINT.fullmatch(path.stem)
    names = [f"{match['prefix']}_vecnormalize_{match['steps']}_steps.pkl"] if match else []
    names += [f"{path.stem}_{name}" for name in _GENERAL_STATISTICS]
    names += [f"{path.stem}/{name}" for name in _GENERAL_STATISTICS]
    return [path.parent / name for name in names if (path.parent / name).is_file()]


def _general(path: Path) -> list[Path]:
    """Returns the files that hold the statistics of a whole training; RL Zoo keeps them in the folder of settings."""
    folder = path.parent
    files = [folder / name for name in _GENERAL_STATISTICS if (folder / name).is_file()]
    return files + (_in_subfolders(folder) if _is_early(path) else [])


def _read_general(path: Path) -> tuple[list[tuple[Path, Normaliser]], dict[Path, str]]:
    """Returns the statistics in files of general names, and why others cannot be read: they may be anybody's."""
    readable: list[tuple[Path, Normaliser]] = []
    unreadable: dict[Path, str] = {}
    for item in _general(path):
        try:
            readable.append((item, read_vecnormalize(item)))
        except SourceError as error:
            unreadable[item] = str(error)
    return readable, unreadable


def _in_subfolders(folder: Path) -> list[Path]:
    return sorted(item for name in _GENERAL_STATISTICS for item in folder.glob(f"*/{name}") if item.is_file())


def _is_early(path: Path) -> bool:
    """Returns whether a zip holds an agent of a moment before the end of training, by its name."""
    return path.stem == _BEST or steps_of(path) is not None


def _rivals(path: Path) -> Iterator[str]:
    for item in sorted(path.parent.glob("*.zip")):
        if item != path and not _is_early(item) and not _named_after(item) and holds_agent(item):
            yield item.name


def _chosen(path: Path, candidates: Sequence[tuple[Path, Normaliser]]) -> tuple[Path, Normaliser] | None:
    """Returns the file that all candidates agree on, or None if there is none.

    Raises:
        SourceError: They hold different numbers.
    """
    if any(normaliser.to_json() != candidates[0][1].to_json() for _, normaliser in candidates):
        raise SourceError(
            f"{path}: its statistics may be in {' or in '.join(str(item) for item, _ in candidates)}, which differ. "
            f"Say which: --normaliser {candidates[0][0]}"
        )
    return candidates[0] if candidates else None


def _others(path: Path, used: Path | None, unreadable: Iterable[Path] = ()) -> tuple[str, ...]:
    """Returns the other files with statistics beside a zip; where it has its own, other agents' are no question."""
    folder = path.parent
    taken = {used, *unreadable}
    content = None
    if used is not None:
        content = used.read_bytes()
        for item in folder.glob("*.zip"):
            taken.update(_named_after(item) if item != path else ())
    files = sorted((item for item in folder.iterdir() if item.is_file()), key=lambda item: (not _is_pickle(item), item))
    beside = [*files[:_MAX_FILES], *_in_subfolders(folder)]
    unused = [item for item in beside if item not in taken and _holds_statistics(item)]
    return tuple(str(item.relative_to(folder)) for item in unused if content is None or item.read_bytes() != content)


def _is_pickle(path: Path) -> bool:
    return path.suffix.lower() in _PICKLES


def _holds_statistics(path: Path) -> bool:
    """Returns whether a file seems to be the pickle of a VecNormalize, by its start; nothing is unpickled."""
    try:
        if path.stat().st_size > _MAX_BYTES:
            return False
        with path.open("rb") as file:
            start = file.read(1)
            if start != _PICKLE_START and not _is_pickle(path):
                return False
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return any(mark in head for mark in _MARKS)


def _fits(normaliser: Normaliser, space: spaces.Space[Any] | None, frames: int | None) -> bool:
    """Returns whether statistics can be of the observations of a space; of stacked frames, they are of one frame.

    Args:
        normaliser: The statistics.
        space: The agent's observation space, where the zip tells.
        frames: How many frames are stacked in an observation; None for any number.
    """
    observation = normaliser.observation
    if observation is None or space is None:
        return True
    if isinstance(observation, Statistics):
        return not isinstance(space, spaces.Dict) and _stacks(observation.mean.shape, space.shape, frames)
    return isinstance(space, spaces.Dict) and all(
        key in space.spaces and _stacks(statistics.mean.shape, space[key].shape, frames)
        for key, statistics in observation.items()
    )


def _stacks(frame: tuple[int, ...], stack: tuple[int, ...] | None, frames: int | None) -> bool:
    if stack is None or len(frame) != len(stack):
        return False
    different = [(whole, part) for whole, part in zip(stack, frame, strict=True) if whole != part]
    if not different or len(different) > 1:
        return not different
    whole, part = different[0]
    return part > 0 and (whole % part == 0 if frames is None else whole == part * frames)


def _shapes(normaliser: Normaliser) -> str:
    observation = normaliser.observation
    if isinstance(observation, dict):
        return ", ".join(f"{key} {list(statistics.mean.shape)}" for key, statistics in observation.items())
    return "no observations" if observation is None else f"observations of shape {list(observation.mean.shape)}"
