"""Turns Ctrl-C and SIGTERM into a wish to stop, which a run follows when it can be saved."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_STATUS_OF_SIGNALS = 128


class StopRequest:
    """Whether a process was asked to stop, and by which signal."""

    def __init__(self) -> None:
        self._signal: int | None = None

    def __call__(self) -> bool:
        """Says whether to stop."""
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
            print("stops when this rollout is saved; Ctrl-C stops at once", file=sys.stderr)


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
