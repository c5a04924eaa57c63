"""Turns Ctrl-C and SIGTERM into a request: a run stops once it can be saved, every other command ends at once."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

_STATUS_OF_SIGNALS = 128


class Terminated(KeyboardInterrupt):
    """SIGTERM came while no run was there to be saved; it ends a command as Ctrl-C does."""


class StopRequest:
    """Whether a process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def __call__(self) -> bool:
        """Returns whether to stop."""
        return self._signal is not None

    @property
    def exit_status(self) -> int:
        """The exit status of a process that stops as it was asked to: 130 after Ctrl-C, 143 after SIGTERM."""
        return _STATUS_OF_SIGNALS + (self._signal or 0)

    def note(self, number: int, _frame: FrameType | None) -> None:
        """Takes note of a signal; a second Ctrl-C stops at once."""
        if self._signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal is None:
            self._signal = number
            print(
                "stops when this rollout is saved; Ctrl-C stops at once (evaluations are given up and repeated later)",
                file=sys.stderr,
            )


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Yields what takes note of Ctrl-C and SIGTERM until the end."""
    request = StopRequest()
    before = {number: signal.signal(number, request.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Lets SIGTERM raise Terminated, so that what was started is ended, too; only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated
