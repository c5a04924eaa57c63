"""Runs and commands in processes of their own; runs are killed at a random moment, or at a call that writes to disk."""

import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from rltransfer.cli import main
from rltransfer.config import RunConfig
from rltransfer.run_lock import claim, release
from rltransfer.training import train_run

_WRITES: list[tuple[Any, str]] = [
    (os, "fsync"),
    (os, "truncate"),
    (os, "link"),
    (os, "unlink"),
    (os, "rename"),
    (os, "replace"),
    (os, "rmdir"),
    (os, "mkdir"),
]


def rltransfer(line: str) -> BaseProcess:
    """Starts the command in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    process = context.Process(target=_main, args=(line, str(Path.cwd())))
    process.start()
    return process


def _main(line: str, folder: str) -> None:
    os.chdir(folder)
    with Path("said.txt").open("a", buffering=1) as said:
        os.dup2(said.fileno(), 2)
        raise SystemExit(main(line.split()))


def run_in_process(
    config: RunConfig, folder: Path, *, kill_after: float | None = None, kill_at: int = 0
) -> float | int:
    """Runs in a process of its own, to its end or to where it is killed.

    Args:
        config: The run.
        folder: Its folder, which the process claims.
        kill_after: Seconds after its beginning at which it is killed from outside.
        kill_at: The how manieth call that writes to the disk kills it instead; 0 for none.

    Returns:
        How long it took in seconds; or how many calls wrote to the disk, where these were counted (``kill_at=-1``).
    """
    context = multiprocessing.get_context("forkserver")
    near, far = context.Pipe()
    process = context.Process(target=_run, args=(config, folder, kill_at, far))
    process.start()
    far.close()
    near.recv()
    began = time.monotonic()
    if kill_after is not None:
        process.join(kill_after)
        process.kill()
    process.join()
    if kill_after is None and kill_at <= 0 and process.exitcode != 0:
        raise AssertionError(f"the run ended with exit code {process.exitcode}")
    if kill_at == -1:
        return int(near.recv())
    return time.monotonic() - began


def _run(config: RunConfig, folder: Path, kill_at: int, far: Connection) -> None:
    warnings.simplefilter("ignore")
    counter = _count_writes(kill_at) if kill_at else None
    far.send("ready")
    claim(folder)
    train_run(config, folder)
    release(folder)
    if counter is not None:
        far.send(counter())


def _count_writes(kill_at: int) -> Callable[[], int]:
    """Lets the given call kill this process before it does anything; returns what says how many calls there were."""
    calls = 0

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **settings: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **settings)

        return call

    for module, name in _WRITES:
        setattr(module, name, counted(getattr(module, name)))
    return lambda: calls


def kill_and_go_on(config: RunConfig, folder: Path, seconds: float, writes: int, rng: random.Random) -> list[str]:
    """Kills a run once or more, then lets it run to its end; returns what was done."""
    done = []
    while not done or rng.random() < 0.3:
        if rng.random() < 0.5:
            after = rng.uniform(0.0, seconds)
            run_in_process(config, folder, kill_after=after)
            done.append(f"killed after {after:.3f} of {seconds:.3f} seconds")
        else:
            call = rng.randint(1, writes)
            run_in_process(config, folder, kill_at=call)
            done.append(f"killed at call {call} of {writes}")
    run_in_process(config, folder)
    return done


def remove(folder: Path) -> None:
    """Removes a run folder."""
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.exit("import this")
