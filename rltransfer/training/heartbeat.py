"""Shows that a run is alive, and ends what takes too long or must not go on, from a thread of its own."""

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from rltransfer import files, run_lock
from rltransfer.errors import BrokenEnvironmentError, TakenOverError
from rltransfer.records import HEARTBEAT, OWN_FOLDER, Heartbeat
from rltransfer.tasks import Stopwatch

BEAT_SECONDS = 5.0
ROLLOUT_SECONDS = 60.0
"""When a run is asked to stop, it gives a rollout up that goes on for longer than this, ..."""
EVALUATION_SECONDS = 1.0
"""... an evaluation in the middle of a rollout, for whose end little is lost, ..."""
STEP_SECONDS = 10.0
"""... and a step of an environment."""
_LOOK_SECONDS = 0.5


class StopNow(KeyboardInterrupt):
    """Ends what a run does at once, as Ctrl-C would; the run goes on from where it was last saved."""


class Heart:
    """Writes ``heartbeat.json`` every few seconds while a run goes on, also while it evaluates or learns.

    A step longer than the limit is ended by a signal to the main thread, whose handler raises: this reaches Python, and
    a wait for a worker process. What hangs in C code of this process it does not reach; ``--vec-env subproc`` does.
    In the same way it ends what is not to be finished, such as an evaluation, when the run is asked to stop.

    Args:
        folder: The run folder.
        step_timeout_seconds: The limit; None for none. It holds only where the run is in the main thread.
    """

    def __init__(self, folder: Path, *, step_timeout_seconds: float | None) -> None:
        self._folder = folder
        self._limit = step_timeout_seconds
        self._stop: Callable[[], bool] = lambda: False
        self._asked_at: float | None = None
        self._given_up_after = (math.inf, 0.0)
        self._was_claimed = run_lock.holds(folder)
        self._stopwatches: tuple[Stopwatch, ...] = ()
        self._env_steps: Callable[[], int] = int
        self._steps_before = (time.monotonic(), 0)
        self._ends = threading.Event()
        self._is_lost = False
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._old_handler: Any = None

    def __enter__(self) -> "Heart":
        """Writes the first sign of life and starts the thread."""
        self._write()
        if threading.current_thread() is threading.main_thread():
            self._old_handler = signal.signal(signal.SIGALRM, self._interrupt)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the thread and removes the heartbeat file."""
        self._ends.set()
        self._thread.join()
        if self._old_handler is not None:
            signal.signal(signal.SIGALRM, self._old_handler)
        if self.owns_folder():
            (self._folder / OWN_FOLDER / HEARTBEAT).unlink(missing_ok=True)

    def watch(self, stopwatches: Sequence[Stopwatch]) -> None:
        """Ends steps of these environments that take too long, as of those that it watches already."""
        self._stopwatches += tuple(stopwatches)

    def listen(self, stop: Callable[[], bool]) -> None:
        """Asks from now on whether the run is to stop, from the heart's thread too."""
        self._stop = stop

    def is_asked_to_stop(self) -> bool:
        """Returns whether the run was asked to stop, now or before."""
        if self._asked_at is None and self._stop():
            self._asked_at = time.monotonic()
        return self._asked_at is not None

    @contextlib.contextmanager
    def giving_up_after(self, seconds: float) -> Iterator[None]:
        """Raises StopNow in what follows where it goes on for so long although the run was asked to stop."""
        before, self._given_up_after = self._given_up_after, (seconds, time.monotonic())
        try:
            yield
        finally:
            self._given_up_after = before

    def follow(self, env_steps: Callable[[], int]) -> None:
        """Reports how many env_steps there are from now on."""
        self._steps_before = (time.monotonic(), env_steps())
        self._env_steps = env_steps

    def owns_folder(self) -> bool:
        """Returns whether the folder is still this process's: one that was asleep for too long may have lost it."""
        return not self._was_claimed or run_lock.holds(self._folder)

    def refuse_lost_claim(self, *, look: bool = False) -> None:
        """Raises TakenOverError if another process has taken the folder over; looks at it now, or every few seconds."""
        if self._is_lost or (look and not self.owns_folder()):
            raise TakenOverError(
                f"{self._folder} was taken over by another process while this one showed no sign of life."
            )

    def _beat(self) -> None:
        last = time.monotonic()
        while not self._ends.wait(_LOOK_SECONDS):
            if (self._overdue() is not None or self._must_stop_now()) and self._old_handler is not None:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGALRM)
            if time.monotonic() - last >= BEAT_SECONDS:
                last = time.monotonic()
                self._is_lost = not self.owns_folder()
                if not self._is_lost:
                    # A full disk ends the run where it writes what counts.
                    with contextlib.suppress(OSError):
                        self._write()

    def _write(self) -> None:
        now, steps = time.monotonic(), self._env_steps()
        before, steps_before = self._steps_before
        rate = (steps - steps_before) / (now - before) if now > before else 0.0
        self._steps_before = (now, steps)
        beat = Heartbeat(
            host=socket.gethostname(),
            pid=os.getpid(),
            time=time.time(),
            env_steps=steps,
            steps_per_second=round(rate, 1),
        )
        files.write_json(self._folder / OWN_FOLDER / HEARTBEAT, beat.model_dump())

    def _busy_seconds(self) -> float:
        return max((stopwatch.seconds() for stopwatch in self._stopwatches), default=0.0)

    def _overdue(self) -> float | None:
        longest = self._busy_seconds()
        return longest if self._limit is not None and longest > self._limit else None

    def _must_stop_now(self) -> bool:
        if not self.is_asked_to_stop() or self._asked_at is None:
            return False
        seconds, began = self._given_up_after
        now = time.monotonic()
        return now - max(self._asked_at, began) >= seconds or self._busy_seconds() > STEP_SECONDS

    def _interrupt(self, _signal: int, _frame: FrameType | None) -> None:
        # What was too long may have ended between the look and the signal.
        if self._overdue() is not None:
            raise BrokenEnvironmentError(
                f"a step took longer than {self._limit:g} seconds, and was ended (--step-timeout)"
            )
        if self._must_stop_now():
            self._stop_now()

    def _stop_now(self) -> None:
        """Raises StopNow; during a step of the environment only once the step has ended, unless it hangs."""
        busy = [stopwatch for stopwatch in self._stopwatches if stopwatch.began is not None]
        if not busy or self._busy_seconds() > EVALUATION_SECONDS:
            raise StopNow
        for stopwatch in busy:
            stopwatch.raises = StopNow()
