"""Tells a worker when to stop: it was asked to, or the process that started it is gone."""

import multiprocessing
import os
import signal
import threading
import time
from types import FrameType

GRACE_SECONDS = 60.0
"""How long a worker may take to save where it is; then it is ended."""


class StopSignal:
    """Asked often, returns whether this process should stop.

    It should once it received SIGTERM or SIGINT, whose handlers this replaces, or once the process that started it is
    gone. In the second case it is killed after ``GRACE_SECONDS``, with its process group, whatever it is doing. Made in
    the main thread alone, since only there handlers can be set.
    """

    def __init__(self) -> None:
        self._is_set = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._set)
        threading.Thread(target=self._watch_parent, daemon=True).start()

    def __call__(self) -> bool:
        """Returns whether this process should stop."""
        return self._is_set

    def _set(self, _number: int, _frame: FrameType | None) -> None:
        self._is_set = True

    def _watch_parent(self) -> None:
        parent = multiprocessing.parent_process()
        if parent is None:
            return
        parent.join()
        self._is_set = True
        time.sleep(GRACE_SECONDS)
        # Only a process that hangs is still here. Its children, if it has any, are of its group.
        os.killpg(0, signal.SIGKILL)
