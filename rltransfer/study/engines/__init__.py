"""Engines: what a study's jobs run on."""

from typing import Protocol

from rltransfer.study.schedule import Schedule
from rltransfer.study.view import View


class Engine(Protocol):
    """What a study's jobs run on: the processes of this machine, or a cluster."""

    def run(self, schedule: Schedule, view: View) -> None:
        """Runs every job of a schedule, and returns when all are settled.

        Raises:
            Stopped: It was asked to stop; what was running is saved.
        """
        ...
