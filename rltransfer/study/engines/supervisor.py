"""Keeps the slots of an engine filled until every job of a schedule is settled, or somebody asks to stop."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Protocol

from rltransfer.errors import Stopped
from rltransfer.study.expand import Job
from rltransfer.study.schedule import Ending, Schedule
from rltransfer.study.view import View

TICK_SECONDS = 0.5
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StoppedBySignal(Stopped):
    """A study was asked to stop; what was running is saved. ``number`` is the signal's."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.number = number


class Slots(Protocol):
    """Where jobs run, some at once."""

    @property
    def free(self) -> int:
        """How many more jobs can be started now."""
        ...

    @property
    def is_idle(self) -> bool:
        """Whether no job is running."""
        ...

    def start(self, job: Job) -> None:
        """Starts a job."""
        ...

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        """Returns the jobs that have ended, waiting so long for the first."""
        ...

    def stop(self) -> None:
        """Asks every job to save where it is and to end."""
        ...

    def kill(self) -> None:
        """Ends every job at once, with all that it started."""
        ...


def drive(slots: Slots, schedule: Schedule, view: View) -> None:
    """Runs every job of a schedule in slots; nothing is left running afterwards, whatever is raised.

    The first SIGINT (Ctrl-C) or SIGTERM lets what is running save where it is; the second ends it at once.

    Raises:
        StoppedBySignal: A signal came before every job was settled.
    """
    with _Signals() as signals:
        try:
            while not schedule.is_over and signals.count < 2:
                if signals.count == 0:
                    _fill(slots, schedule)
                elif slots.is_idle:
                    break
                elif not signals.is_noticed:
                    signals.is_noticed = True
                    view.say("stopping: runs save where they are; Ctrl-C once more ends them at once")
                    slots.stop()
                for job, ending in slots.wait(TICK_SECONDS):
                    schedule.settle(job, ending)
                view.show(schedule.look())
        finally:
            slots.kill()
    if not schedule.is_over:
        raise StoppedBySignal(f"stopped: {schedule}; the same command goes on with the others", signals.number)


def _fill(slots: Slots, schedule: Schedule) -> None:
    while slots.free > 0:
        job = schedule.next_job()
        if job is None:
            return
        slots.start(job)


class _Signals:
    """Counts the signals that ask this process to end, instead of being ended by them.

    Python hands signals to the main thread alone: in another one nothing is counted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.number = 0
        self.is_noticed = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "_Signals":
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        self.number = number
