"""Brings the files of a run back to where they were at a checkpoint."""

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path

from rltransfer.config import RunConfig
from rltransfer.records import BEST_AGENT, BEST_NORMALISER, MONITORS
from rltransfer.run_folder import tensorboard_folder
from rltransfer.training.resume.checkpoint import Checkpoint, put_back_files

EVENTS = "events.out.tfevents.*"
_SAVED = re.compile(r"rl_model_(?:vecnormalize_|replay_buffer_)?(\d+)_steps\.(?:zip|pkl)")
_EVENT_SECOND = re.compile(r"events\.out\.tfevents\.(\d+)\.")
_LONGEST_WAIT_SECONDS = 2.0


def kept_files(folder: Path) -> list[Path]:
    """Returns the files whose content belongs to a checkpoint, as far as there are any: the best agent's."""
    return [path for path in (folder / BEST_AGENT, folder / BEST_NORMALISER) if path.exists()]


def event_lengths(config: RunConfig, folder: Path) -> dict[str, int]:
    """Returns how long the event files are, and sees to it that they survive a loss of power."""
    return _lengths(tensorboard_folder(config, folder).glob(EVENTS))


def rewind(config: RunConfig, folder: Path, checkpoint: Checkpoint) -> None:
    """Takes from a run folder what came after a checkpoint, but for what its callbacks write again."""
    put_back_files(checkpoint, (BEST_AGENT, BEST_NORMALISER), folder)
    for path in folder.glob("rl_model_*"):
        saved = _SAVED.fullmatch(path.name)
        if saved and int(saved.group(1)) > checkpoint.env_steps:
            path.unlink()
    events = tensorboard_folder(config, folder)
    _cut(events.glob(EVENTS), checkpoint.state["events"])
    _wait_for_a_later_name(events)


class MonitorFiles:
    """The monitor files of a run, of which a checkpoint knows the lengths."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def state_dict(self) -> dict[str, int]:
        """Returns how long they are, and sees to it that they survive a loss of power."""
        return _lengths(self._folder.glob(MONITORS))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Takes from them what came later; their writers append, and go on at the new end."""
        _cut(self._folder.glob(MONITORS), state)


def _lengths(paths: Iterable[Path]) -> dict[str, int]:
    lengths = {}
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            lengths[path.name] = os.fstat(file.fileno()).st_size
    return lengths


def _cut(paths: Iterable[Path], lengths: dict[str, int]) -> None:
    for path in list(paths):
        if path.name not in lengths:
            path.unlink()
        elif path.stat().st_size > lengths[path.name]:
            os.truncate(path, lengths[path.name])


def _wait_for_a_later_name(events: Path) -> None:
    """Waits until a new event file is named after the others: TensorBoard reads them in the order of their names."""
    matches = [_EVENT_SECOND.match(path.name) for path in events.glob(EVENTS)]
    newest = max((int(match.group(1)) for match in matches if match), default=0)
    wait = min(newest + 1 - time.time(), _LONGEST_WAIT_SECONDS)
    if wait > 0:
        time.sleep(wait)
