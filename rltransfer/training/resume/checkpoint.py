"""Saves all that a run needs to go on, and finds the newest of it that is whole.

``<run>/rltransfer/checkpoint/<env_steps>/`` holds ``state.pkl``, its sha256 and links to the best agent of that moment.
These pickles are read by the machine that wrote them, to continue its own runs: never resume a run folder of someone
whom you do not trust.
"""

import dataclasses
import hashlib
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import cloudpickle  # type: ignore[import-untyped]
import torch

from rltransfer import files, moved_classes
from rltransfer.errors import RunError

_STATE = "state.pkl"
_MANIFEST = "manifest.json"
_VERSION = 1
_KEPT = 2
_CHUNK = 1 << 20


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What was saved after ``env_steps``; ``folder`` also holds the files that were to be kept as they were."""

    folder: Path
    env_steps: int
    state: dict[str, Any]


class Checkpoints:
    """The latest checkpoints of a run; the newest two are kept, so that one that is damaged costs little.

    Args:
        folder: Where they are.
        settings: The settings that decide the numbers of the run; checkpoints of other settings do not count.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self._folder = folder
        self._settings = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def save(self, env_steps: int, state: dict[str, Any], keep: Sequence[Path]) -> None:
        """Saves a state, and what some files hold now; atomically, and once for each number of env_steps.

        Raises:
            FileWriteError: It cannot be written; earlier checkpoints are whole.
        """
        place = self._folder / f"{env_steps:012d}"
        if place.exists():
            return
        with files.new_folder(place) as folder:
            digest = _write(folder / _STATE, state)
            for path in keep:
                _link(path, folder / path.name)
            manifest = {
                "version": _VERSION,
                "env_steps": env_steps,
                "settings": self._settings,
                "sha256": digest,
                "kept": [path.name for path in keep],
            }
            with (folder / _MANIFEST).open("w") as file:
                json.dump(manifest, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
        for older in self._places()[:-_KEPT]:
            shutil.rmtree(older)

    def newest(self) -> Checkpoint | None:
        """Returns the newest checkpoint of these settings that is whole; what is newer or of other settings goes.

        Raises:
            RunError: The disk does not let one be read.
        """
        for place in reversed(self._places()):
            try:
                return self._read(place)
            except _OtherSettings:
                pass
            except MemoryError:
                raise
            except OSError as error:
                # It may be whole, and readable later.
                raise RunError(f"{place} cannot be read now: {error}. The same command tries again.") from error
            except Exception as error:
                # A damaged pickle, or one of another version of a library, can raise any exception.
                warnings.warn(
                    f"{place} cannot be read ({error}): the run goes on from an earlier checkpoint, or starts again.",
                    stacklevel=2,
                )
            shutil.rmtree(place)
        return None

    def clear(self) -> None:
        """Removes all checkpoints."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _places(self) -> list[Path]:
        if not self._folder.is_dir():
            return []
        return sorted(path for path in self._folder.iterdir() if path.name.isdigit())

    def _read(self, place: Path) -> Checkpoint:
        for name in (_MANIFEST, _STATE):
            if not (place / name).is_file():
                raise ValueError(f"{name} is missing")
        manifest = json.loads((place / _MANIFEST).read_text())
        if manifest["version"] != _VERSION or manifest["settings"] != self._settings:
            raise _OtherSettings
        with (place / _STATE).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != manifest["sha256"]:
            raise ValueError(f"{_STATE} is damaged: expected sha256 {manifest['sha256']}, found {digest}")
        missing = [name for name in manifest["kept"] if not (place / name).is_file()]
        if missing:
            raise ValueError(f"{', '.join(missing)} is missing")
        with (place / _STATE).open("rb") as file:
            return Checkpoint(place, int(manifest["env_steps"]), moved_classes.Unpickler(file).load())


def put_back_files(checkpoint: Checkpoint, names: Sequence[str], folder: Path) -> None:
    """Gives files in a run folder the content that they had at a checkpoint; one that was not there goes."""
    for name in names:
        kept = checkpoint.folder / name
        if kept.is_file():
            files.write_bytes(folder / name, kept.read_bytes())
        else:
            (folder / name).unlink(missing_ok=True)


class _OtherSettings(Exception):  # noqa: N818
    """A checkpoint was made with other settings."""


class _Hashing:
    """Passes on what is written, and hashes it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, content: Any) -> int:
        self.sha256.update(content)
        return self._file.write(content)


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes large arrays without a copy in memory; tensors as arrays, so that they can be read on another device."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            return _tensor, (_as_array(value), value.dtype)
        return super().reducer_override(value)


def _write(path: Path, state: dict[str, Any]) -> str:
    with path.open("wb") as file:
        hashing = _Hashing(file)
        _Pickler(hashing, protocol=pickle.HIGHEST_PROTOCOL).dump(state)
        file.flush()
        os.fsync(file.fileno())
    return hashing.sha256.hexdigest()


def _as_array(tensor: torch.Tensor) -> Any:
    values = tensor.detach().cpu()
    return (values.view(torch.int16) if values.dtype == torch.bfloat16 else values).contiguous().numpy()


def _tensor(array: Any, dtype: torch.dtype) -> torch.Tensor:
    values = torch.from_numpy(array)
    return values.view(dtype) if values.dtype != dtype else values


def _link(source: Path, target: Path) -> None:
    """Keeps what a file holds now; files are replaced as a whole, so that a second name for it is enough."""
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
