"""Tells how long the environments have been busy with what they were last asked for."""

import time


class Stopwatch:
    """Runs while an environment of this process, or a worker, is busy; whoever looks may be another thread.

    Attributes:
        began: When it became busy, on the monotonic clock; None while it is not.
    """

    def __init__(self) -> None:
        self.began: float | None = None

    def start(self) -> None:
        """Says that an environment is busy from now on."""
        self.began = time.monotonic()

    def stop(self) -> None:
        """Says that it is done."""
        self.began = None

    def seconds(self) -> float:
        """Returns for how long an environment has been busy; 0 where none is."""
        began = self.began
        return 0.0 if began is None else time.monotonic() - began
