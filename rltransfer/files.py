"""Writes files so that a crash or a full disk leaves the old file or the new one, never half of one."""

import contextlib
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rltransfer.errors import FileWriteError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_TEMPORARY = ".tmp"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Yields a file that takes the place of ``path`` at the end: fsync, rename, fsync of the folder.

    Raises:
        FileWriteError: It cannot be written; what was there before is untouched.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``, atomically."""
    with replacing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Replaces ``path`` by ``content`` in UTF-8, atomically."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """Replaces ``path`` by ``content`` as indented JSON, atomically."""
    write_text(path, json.dumps(content, indent=2, sort_keys=False) + "\n")


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yields an empty folder that becomes ``path`` at the end, which must not exist; files in it must be fsynced.

    Raises:
        FileWriteError: It cannot be written; no part of it is left.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY))
        try:
            yield temporary
            sync_folder(temporary)
            temporary.rename(path)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise not_written(path, error) from error


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files and folders that killed processes left below a folder, which must be ours alone."""
    for path in sorted(folder.rglob(f".*{_TEMPORARY}")):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_full(error: BaseException) -> bool:
    """Returns whether an error is that of a full disk, or of a quota that is used up."""
    return isinstance(error, OSError) and error.errno in _FULL


def not_written(path: Path | str, error: OSError) -> FileWriteError:
    """Returns the error that names the file; one that names a file already stays as it is."""
    if isinstance(error, FileWriteError):
        return error
    hint = " Make room and run it again: what was written before is whole." if is_full(error) else ""
    return FileWriteError(f"{path} cannot be written: {error.strerror or error}.{hint}")


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
