"""Decides from disk which job of a study comes next; other processes may be working on the same folder."""

import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from rltransfer.errors import RLTransferError
from rltransfer.records import read_record
from rltransfer.study.expand import Job
from rltransfer.study.status import RunState, failed_with, run_state, with_heartbeat
from rltransfer.study.work import record_failure

LOOK_AGAIN_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Ending:
    """How a job that an engine started has ended.

    ``failed`` is the user's to mend; ``crashed`` is worth another try; ``stopped`` was saved and goes on later;
    ``taken`` was being done by somebody else.
    """

    kind: Literal["done", "failed", "crashed", "stopped", "taken"]
    detail: str = ""


class Schedule:
    """The jobs of a study that are not settled yet.

    A run that failed before is tried again, once; one that fails meanwhile in other hands is left to them.

    Args:
        states: How far each job is now.
        retries: How often a job that crashes is tried again.
        say: Receives a line whenever a job ends.
    """

    def __init__(self, states: Sequence[RunState], *, retries: int, say: Callable[[str], None]) -> None:
        self._states = {state.job.folder: state for state in states}
        self._settled = {state.job.folder for state in states if state.state == "done"}
        self._known_failures = {state.job.folder: state.version for state in states if state.state == "failed"}
        self._started: dict[Path, float] = {}
        self._look_again: dict[Path, float] = {}
        self._crashes: Counter[Path] = Counter()
        self._retries = retries
        self._say = say
        if self._settled:
            say(f"{len(self._settled)} of {len(self._states)} runs are done already")

    def __str__(self) -> str:
        done = sum(self._states[folder].state == "done" for folder in self._settled)
        return f"{done} of {len(self._states)} runs are done, {len(self._settled) - done} have failed"

    @property
    def is_over(self) -> bool:
        """Whether every job is done or has failed."""
        return len(self._settled) == len(self._states)

    def look(self) -> list[RunState]:
        """Returns the state of every job, with the speed of those that are running."""
        return [_running(state) if folder in self._started else state for folder, state in self._states.items()]

    def next_job(self) -> Job | None:
        """Returns a job that can be started now; None while all that is left waits, or is in other hands."""
        for folder, state in self._states.items():
            if folder not in self._settled and folder not in self._started and self._is_ready(state.job):
                self._started[folder] = time.monotonic()
                return state.job
        return None

    def settle(self, job: Job, ending: Ending) -> None:
        """Takes note of how a job has ended that ``next_job`` returned."""
        started = self._started.pop(job.folder)
        if ending.kind == "taken":
            self._look_again[job.folder] = time.monotonic() + LOOK_AGAIN_SECONDS
        elif ending.kind == "crashed" and self._crashes[job.folder] < self._retries:
            self._crashes[job.folder] += 1
            self._known_failures[job.folder] = _state_on_disk(job).version
            self._say(f"{job.name}: {ending.detail}; it is tried again")
        elif ending.kind == "done":
            self._close(_state_on_disk(job), f"in {time.monotonic() - started:.0f} s")
        elif ending.kind != "stopped":
            record_failure(job, ending.detail)
            self._close(RunState(job, "failed", ending.detail))

    def _is_ready(self, job: Job) -> bool:
        if job.after is not None and job.after not in self._settled:
            return False
        source = self._states[job.after] if job.after is not None else None
        if source is not None and source.state == "failed":
            self._close(failed_with(source, job))
            return False
        if time.monotonic() < self._look_again.get(job.folder, 0.0):
            return False
        state = _state_on_disk(job)
        self._states[job.folder] = state
        if state.state == "running":
            self._look_again[job.folder] = time.monotonic() + LOOK_AGAIN_SECONDS
            return False
        is_final = state.state == "failed" and state.version != self._known_failures.get(job.folder)
        if state.state == "done" or is_final:
            self._close(state, "by another process")
            return False
        return True

    def _close(self, state: RunState, how: str = "") -> None:
        job = state.job
        self._states[job.folder] = state
        self._settled.add(job.folder)
        width = len(str(len(self._states)))
        line = f"[{len(self._settled):>{width}}/{len(self._states)}] {job.name}: "
        if state.state != "done":
            self._say(f"{line}FAILED: {state.detail}")
            return
        final = read_record(job.folder).final
        score = f", last agent's mean return {final.mean_return:.1f}" if final else ""
        self._say(f"{line}done {how}{score}")


def _running(state: RunState) -> RunState:
    running = dataclasses.replace(state, state="running", detail="")
    return with_heartbeat(running, state.job.shared or state.job.folder)


def _state_on_disk(job: Job) -> RunState:
    try:
        return run_state(job)
    except RLTransferError as error:
        return RunState(job, "failed", str(error))
