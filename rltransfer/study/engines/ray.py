"""The engine of a cluster: a Ray task for each job, results through the folder of the study, which all machines see."""

import contextlib
import importlib
import logging
import os
import platform
import time
from pathlib import Path
from typing import Any

from rltransfer.errors import MissingExtraError, RunError
from rltransfer.study.cores import count_cores
from rltransfer.study.engines.processes import Processes
from rltransfer.study.engines.supervisor import TICK_SECONDS, drive
from rltransfer.study.expand import Job
from rltransfer.study.schedule import Ending, Schedule
from rltransfer.study.view import View


class RayEngine:
    """Runs jobs as tasks of a Ray cluster; a task whose node or worker is lost starts again elsewhere.

    Args:
        jobs: How many run at once; None for as many as the cluster has cores.
        address: Of a running cluster; None starts one on this machine, which ends with the study.
        time_limit_seconds: A job that takes longer has failed; None for no limit.

    Raises:
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, jobs: int | None, address: str | None, time_limit_seconds: float | None = None) -> None:
        try:
            self._ray: Any = importlib.import_module("ray")
        except ImportError:
            raise MissingExtraError('--engine ray needs Ray: pip install "rltransfer[ray]"') from None
        self._jobs = jobs
        self._address = address
        self._time_limit_seconds = time_limit_seconds

    def run(self, schedule: Schedule, view: View) -> None:
        """Runs every job of a schedule, and returns when all are settled.

        Raises:
            Stopped: It was asked to stop; what was running is saved.
            RunError: There is no cluster at the address.
        """
        if schedule.is_over:
            return
        self._connect()
        try:
            drive(_Tasks(self._ray, self._jobs, self._time_limit_seconds), schedule, view)
        finally:
            self._ray.shutdown()

    def _connect(self) -> None:
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            resources = {"num_cpus": self._jobs or count_cores(), "include_dashboard": False}
            self._ray.init(address="local", **resources, **settings)
            return
        try:
            self._ray.init(address=self._address, **settings)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise RunError(
                f"There is no Ray cluster at {self._address}: {error}. Start one there with: ray start --head"
            ) from error


class _Tasks:
    """Runs jobs as Ray tasks, at most ``jobs`` at once."""

    def __init__(self, ray: Any, jobs: int | None, time_limit_seconds: float | None) -> None:
        self._ray = ray
        self._jobs = jobs
        self._time_limit_seconds = time_limit_seconds
        # A crash of the run itself is counted by the schedule: what Ray sees is the loss of a worker or a node.
        self._task = ray.remote(num_cpus=1, max_retries=-1)(_do_job)
        self._running: dict[Any, Job] = {}

    @property
    def free(self) -> int:
        """How many more jobs can be started now; nodes come and go."""
        cores = self._jobs or max(1, int(self._ray.cluster_resources().get("CPU", 0)))
        return cores - len(self._running)

    @property
    def is_idle(self) -> bool:
        """Whether no job is running."""
        return not self._running

    def start(self, job: Job) -> None:
        """Starts a job."""
        job.folder.mkdir(parents=True, exist_ok=True)
        self._running[self._task.remote(job, Path.cwd(), self._time_limit_seconds)] = job

    def wait(self, seconds: float) -> list[tuple[Job, Ending]]:
        """Returns the jobs that have ended, waiting so long for the first."""
        if not self._running:
            time.sleep(seconds)
            return []
        ready, _ = self._ray.wait(list(self._running), timeout=seconds)
        return [(self._running.pop(task), self._ending(task)) for task in ready]

    def stop(self) -> None:
        """Asks every job to save where it is and to end."""
        for task in self._running:
            self._ray.cancel(task, force=False)

    def kill(self) -> None:
        """Ends every task at once; its job notices, and ends too."""
        for task in self._running:
            self._ray.cancel(task, force=True)
        self._running.clear()

    def _ending(self, task: Any) -> Ending:
        try:
            ending: Ending = self._ray.get(task)
        except self._ray.exceptions.TaskCancelledError:
            return Ending("stopped")
        except self._ray.exceptions.RayError as error:
            return Ending("crashed", f"its Ray task broke: {error}")
        return ending


def _do_job(job: Job, here: Path, time_limit_seconds: float | None) -> Ending:
    """Does a job in a process of its own, as on one machine, and returns how it ended; runs in a worker of Ray."""
    # Folders may be given relative to where the study was started.
    with contextlib.suppress(FileNotFoundError):
        os.chdir(here)
    if not job.folder.is_dir():
        return Ending("failed", f"{platform.node()} does not see {job.folder.absolute()}: use a folder that all share")
    processes = Processes(1, time_limit_seconds)
    try:
        processes.start(job)
        while True:
            try:
                ended = processes.wait(TICK_SECONDS)
            except KeyboardInterrupt:
                # How Ray tells a task that it is cancelled.
                processes.stop()
                continue
            if ended:
                return ended[0][1]
    finally:
        processes.kill()
