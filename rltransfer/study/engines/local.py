"""The engine of one machine: a supervisor, and a process for each job."""

from rltransfer.study.engines.processes import Processes
from rltransfer.study.engines.supervisor import drive
from rltransfer.study.schedule import Schedule
from rltransfer.study.view import View


class LocalEngine:
    """Runs jobs in processes of this machine.

    Args:
        jobs: How many run at once.
        time_limit_seconds: A job that takes longer has failed; None for no limit.
    """

    def __init__(self, jobs: int, time_limit_seconds: float | None = None) -> None:
        self._jobs = jobs
        self._time_limit_seconds = time_limit_seconds

    def run(self, schedule: Schedule, view: View) -> None:
        """Runs every job of a schedule, and returns when all are settled.

        Raises:
            Stopped: It was asked to stop; what was running is saved.
        """
        drive(Processes(self._jobs, self._time_limit_seconds), schedule, view)
