"""Tells how long the environments have been busy with what they were last asked for."""

import time


class Stopwatch:
    """Runs while an environment of this process, or a worker, is busy; whoever looks may be another thread.

    Attributes:
        began: When it became busy, on the monotonic clock; None while it is not.
        raises: What is raised as soon as it is done. What is raised while it is busy can end the process: a simulator
            in C++ calls Python back, and Box2D aborts at an exception there.
    """

    def __init__(self) -> None:
        self.began: float | None = None
        self.raises: BaseException | None = None

    def start(self) -> None:
        """Says that an environment is busy from now on."""
        self.began = time.monotonic()

    def stop(self) -> None:
        """Notes that the environment has answered; raises ``raises``, where another thread has set it meanwhile."""
        self.began = None
        if self.raises is not None:
            error, self.raises = self.raises, None
            raise error

    def seconds(self) -> float:
        """Returns for how long an environment has been busy; 0 where none is."""
        began = self.began
        return 0.0 if began is None else time.monotonic() - began
