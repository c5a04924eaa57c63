"""Claims a run folder for one process, so that no two write into it; tells a living owner from a dead one."""

import contextlib
import fcntl
import functools
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rltransfer import files
from rltransfer.errors import RunError
from rltransfer.records import CLAIM, HEARTBEAT, OWN_FOLDER

STALE_SECONDS = 300.0
"""A claim of another machine is free when its run's heartbeat, written every few seconds, is older than this."""
_DEAD_STATES = ("Z", "X")


def claim(folder: Path) -> None:
    """Claims a run folder for this process by creating a file that must not exist; a dead process's claim is replaced.

    What processes that were killed left half-written there is removed.

    On this machine a process is dead when its id belongs to none, or to one that started at another time. Of a process
    of another machine only the heartbeat tells.

    Raises:
        RunError: A living process has claimed the folder.
        FileWriteError: The claim cannot be written.
    """
    path = folder / OWN_FOLDER / CLAIM
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(path.parent):
            if path.exists() and not _is_alive(folder, path):
                path.unlink(missing_ok=True)
            is_ours = not path.exists() and _create(path, json.dumps(_own_facts() | {"time": time.time()}) + "\n")
    except OSError as error:
        raise files.not_written(path, error) from error
    if not is_ours:
        raise RunError(f"{folder} is being written by another process: see {path}. If it is gone, delete that file.")
    files.remove_leftovers(folder)


def release(folder: Path) -> None:
    """Gives a folder back that this process has claimed."""
    if holds(folder):
        (folder / OWN_FOLDER / CLAIM).unlink(missing_ok=True)


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Claims a run folder, and releases it at the end; errors are those of ``claim``."""
    claim(folder)
    try:
        yield
    finally:
        release(folder)


def holds(folder: Path) -> bool:
    """Returns whether this process has claimed a run folder, and still does."""
    facts = _read(folder / OWN_FOLDER / CLAIM)
    return facts is not None and {name: facts.get(name) for name in _own_facts()} == _own_facts()


def is_claimed(folder: Path) -> bool:
    """Returns whether a living process has claimed a run folder."""
    path = folder / OWN_FOLDER / CLAIM
    return path.exists() and _is_alive(folder, path)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets one process at a time do what follows in a folder, by a lock that ends with its process.

    So a claim is judged and replaced: another one's new claim must not be taken for the dead.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            # Some network file systems have no locks; creating the claim stays exclusive there.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _create(path: Path, content: str) -> bool:
    """Creates a file with its content in one step; says whether it was not there."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("w") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.hardlink_to(temporary)
    except FileExistsError:
        return False
    except OSError as error:
        if files.is_full(error):
            raise
        # There are no links, or whoever has claimed the folder meanwhile has removed what is temporary in it.
        return _create_without_links(path, content)
    finally:
        temporary.unlink(missing_ok=True)
    return True


def _create_without_links(path: Path, content: str) -> bool:
    try:
        with path.open("x") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(path.read_text())
        if isinstance(facts, dict):
            return facts
    return None


def _is_alive(folder: Path, path: Path) -> bool:
    facts = _read(path) or {}
    if (facts.get("host"), facts.get("pids")) == (socket.gethostname(), _pids()) and isinstance(facts.get("pid"), int):
        started = _start_of(facts["pid"])
        return started is not None and facts.get("started", started) == started
    return _seconds_since_sign(folder, path) < STALE_SECONDS


def _seconds_since_sign(folder: Path, path: Path) -> float:
    """Returns how old the newest sign of life is, by the clock of the file system: machines' clocks differ."""
    probe = folder / OWN_FOLDER / f".clock.{socket.gethostname()}.{os.getpid()}.tmp"
    try:
        with probe.open("w") as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:
        now = time.time()
    finally:
        probe.unlink(missing_ok=True)
    signs = [0.0]
    for sign in (path, folder / OWN_FOLDER / HEARTBEAT):
        with contextlib.suppress(OSError):
            signs.append(sign.stat().st_mtime)
    return now - max(signs)


def _own_facts() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pids": _pids(), "pid": os.getpid(), "started": _start_of(os.getpid())}


def _start_of(pid: int) -> str | None:
    """Returns when a process of this machine started, which tells it from a later one with its id; None if it is gone.

    Linux counts from the start of the machine, so that the start's own id is part of it.
    """
    if Path("/proc/self/stat").exists():
        try:
            # The name, in brackets, may hold anything.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in _DEAD_STATES else f"{_boot()}.{fields[19]}"
    asked = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, started = asked.stdout.strip().partition(" ")
    return None if not state or state[0] in _DEAD_STATES else started.strip()


@functools.cache
def _pids() -> str:
    """Returns whose process ids these are: two containers can have one host name, and not know each other's."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
