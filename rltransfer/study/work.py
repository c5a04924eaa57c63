"""Does one job in a process of its own, and tells how it ended, and why."""

import contextlib
import datetime
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from rltransfer import files
from rltransfer.errors import RLTransferError, RunError, SourceError, Stopped, TakenOverError
from rltransfer.records import LOG, read_record, write_record
from rltransfer.run_folder import empty
from rltransfer.run_lock import claimed
from rltransfer.study.expand import Job
from rltransfer.study.shared import copy_run
from rltransfer.study.status import has_settings_of, is_damaged, state_in
from rltransfer.study.stop_signal import StopSignal

CRASHED, USER_ERROR, TAKEN, STOPPED = 1, 2, 3, 4
"""How a worker can end, beside 0 for done."""
_LONGEST_REASON = 10_000


class _TakenError(Exception):
    """Somebody else is writing the folder: neither its log nor its record is ours to write."""


def work(job: Job, supervisor: Connection) -> None:
    """Does a job and ends this process; what the run prints goes to ``run.log`` in its folder.

    How it ended is sent to the supervisor, and why it failed: on a full disk no file can tell, and an exit code can be
    that of an environment that left. A process that ends without a word has crashed.
    """
    # A group of its own: Ctrl-C in the terminal reaches the supervisor alone, and whatever the run starts ends with it.
    os.setsid()

    reasons: list[str] = []
    code = do_job(job, StopSignal(), reasons.append)
    with contextlib.suppress(OSError):
        supervisor.send((code, "".join(reasons)[:_LONGEST_REASON]))
    raise SystemExit(code)


def do_job(job: Job, stop: Callable[[], bool], tell: Callable[[str], None]) -> int:
    """Does a job in this process, until it ends or ``stop`` says so, and returns the code that says how.

    ``tell`` receives the reason of a failure.
    """
    try:
        if job.shared is None:
            _train(job, job.folder, stop)
        elif state_in(job.folder, job).state != "done":
            _train(job, job.shared, stop)
            _take_copy(job, job.shared)
    except (_TakenError, TakenOverError):
        return TAKEN
    except Stopped:
        return STOPPED
    except Exception as error:
        explained = _explained(error, job)
        tell(str(explained) if explained else "".join(traceback.format_exception_only(error)).strip())
        return USER_ERROR if explained else CRASHED
    return 0


def _explained(error: Exception, job: Job) -> RLTransferError | None:
    """Returns an error that says what to do; None for one of which nobody knows the cause."""
    if isinstance(error, RLTransferError):
        return error
    if isinstance(error, OSError) and files.is_full(error):
        return files.not_written(error.filename or f"a file in {job.shared or job.folder}", error)
    return None


def record_failure(job: Job, reason: str) -> None:
    """Writes down that a run has failed whose process could not do so itself."""
    place = job.shared or job.folder
    with contextlib.suppress(RLTransferError, _TakenError), _claimed(place):
        record = read_record(place)
        if record.status not in ("done", "failed"):
            write_record(place, record.model_copy(update={"status": "failed", "error": reason}))


def _train(job: Job, place: Path, stop: Callable[[], bool]) -> None:
    from rltransfer.training import train_run

    with _claimed(place):
        state = state_in(place, job).state
        if state == "done" and _can_be_read(job, place):
            return
        if state == "done" or is_damaged(place) or not has_settings_of(job, place):
            empty(place)
        _write_to_log(place)
        try:
            train_run(job.config, place, stop=stop)
        except Stopped:
            raise
        except Exception:
            # The log may be on a full disk.
            with contextlib.suppress(OSError):
                traceback.print_exc()
            raise


def _can_be_read(job: Job, place: Path) -> bool:
    """Returns whether the agent of a finished run is whole; only one in the cache can be made again for the asking."""
    from rltransfer.artifact import load_encoder

    if place == job.shared:
        try:
            load_encoder(place, job.config.which)
        except SourceError:
            return False
    return True


def _take_copy(job: Job, shared: Path) -> None:
    with _claimed(job.folder):
        if state_in(job.folder, job).state != "done":
            empty(job.folder)
            copy_run(shared, job.folder)


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(claimed(folder))
        except RunError as error:
            raise _TakenError from error
        yield


def _write_to_log(place: Path) -> None:
    """Sends what this process prints to the log of a run, after what earlier tries left there."""
    with (place / LOG).open("a", buffering=1) as log:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        log.write(f"--- {now} process {os.getpid()} on {socket.gethostname()}\n")
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log.fileno(), stream.fileno())
