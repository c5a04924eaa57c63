"""Jobs in processes of this machine, one each, forked from a parent that has torch and SB3 loaded."""

import contextlib
import dataclasses
import os
import signal
import time
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from rltransfer.errors import RLTransferError
from rltransfer.records import LOG, read_heartbeat
from rltransfer.study.expand import Job
from rltransfer.study.fork_server import warm_context
from rltransfer.study.schedule import Ending
from rltransfer.study.status import duration, run_state
from rltransfer.study.stop_signal import GRACE_SECONDS
from rltransfer.study.work import STOPPED, TAKEN, USER_ERROR, work


@dataclasses.dataclass
class _Running:
    job: Job
    process: BaseProcess
    worker: Connection
    stop_at: float
    is_overtime: bool = False
    kill_at: float | None = None


class Processes:
    """Runs jobs in processes of this machine, at most ``jobs`` at once.

    Args:
        jobs: How many run at once.
        time_limit_seconds: A job that takes longer is saved and has failed; None for no limit.
    """

    def __init__(self, jobs: int, time_limit_seconds: float | None = None) -> None:
        self._limit = jobs
        self._time_limit = time_limit_seconds
        self._running: dict[int, _Running] = {}
        self._is_stopping = False

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        return self._limit - len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether no job is running."""
        return not self._running

    def start(self, job: Job) -> None:
        """Starts a job."""
        context = warm_context()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=work, args=(job, sender), name=job.name)
        process.start()
        sender.close()
        limit = self._time_limit
        stop_at = float("inf") if limit is None else time.monotonic() + limit
        self._running[process.sentinel] = _Running(job, process, receiver, stop_at)

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        """Returns the jobs that have ended, waiting so long for the first; ends those whose time is over."""
        if not self._running:
            time.sleep(seconds)
            return []
        ended = [self._running.pop(cast(int, sentinel)) for sentinel in wait(list(self._running), seconds)]
        self._press()
        return [(running.job, self._ending(running)) for running in ended]

    def stop(self) -> None:
        """Asks every job to save where it is and to end."""
        self._is_stopping = True
        self._press()

    def kill(self) -> None:
        """Ends every job at once, with all that it started."""
        for running in self._running.values():
            _kill(running.process)
        for running in self._running.values():
            running.process.join()
            running.worker.close()
        self._running.clear()

    def _press(self) -> None:
        now = time.monotonic()
        for running in self._running.values():
            running.is_overtime |= now > running.stop_at
            if running.is_overtime or self._is_stopping:
                running.kill_at = running.kill_at or now + GRACE_SECONDS
                # Again and again: a process that has just begun does not listen yet.
                running.process.terminate()
                if now > running.kill_at:
                    _kill(running.process)

    def _ending(self, running: _Running) -> Ending:
        running.process.join()
        code = running.process.exitcode
        if code is not None and code < 0:
            # A process that was killed may leave others behind.
            _kill(running.process)
        ending = _ending(running.job, code, _said(running.worker))
        if ending.kind in ("crashed", "stopped") and running.is_overtime:
            limit = duration(self._time_limit or 0)
            return Ending("failed", f"it took longer than its time limit of {limit}, and was stopped")
        # Whatever ends while all are being stopped goes on later.
        return Ending("stopped") if ending.kind == "crashed" and self._is_stopping else ending


def _said(worker: Connection) -> tuple[int | None, str]:
    """Returns how a worker said that it ended, and why it failed; one that was killed, or left, said nothing."""
    with worker, contextlib.suppress(EOFError, OSError):
        if worker.poll():
            how, reason = worker.recv()
            return int(how), str(reason)
    return None, ""


def _ending(job: Job, code: int | None, said: tuple[int | None, str]) -> Ending:
    how, reason = said
    try:
        state = run_state(job)
    except RLTransferError as error:
        return Ending("failed", str(error))
    if state.state == "done":
        return Ending("done")
    if how == TAKEN:
        return Ending("taken")
    if how == STOPPED:
        return Ending("stopped")
    recorded = state.detail if state.state == "failed" else ""
    return Ending("failed" if how == USER_ERROR else "crashed", reason or recorded or _last_words(job, code))


def _last_words(job: Job, code: int | None) -> str:
    """Returns what can be said of a process that said nothing: its environment may have ended it."""
    place, config = job.shared or job.folder, job.config
    beat = read_heartbeat(place)
    if beat is None:
        return f"it ended before it began (exit code {code}); see {place / LOG}"
    where = f"after {beat.env_steps:,} env_steps or more, seed {config.seed}"
    return f"{config.task.env}: its process ended with exit code {code} ({where}); see {place / LOG}"


def _kill(process: BaseProcess) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(cast(int, process.pid), signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
