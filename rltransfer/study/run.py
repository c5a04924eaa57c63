"""Runs what is missing of a study on local processes, and goes on after a failed run."""

import contextlib
import multiprocessing
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, cast

from rltransfer.config import StudyConfig, read_study
from rltransfer.errors import ConfigError, RLTransferError, RunError
from rltransfer.records import OWN_FOLDER, read_record, write_record
from rltransfer.study.expand import Job, expand_study
from rltransfer.study.status import RunState, run_state, write_study

if TYPE_CHECKING:
    from rltransfer.comparison import Comparison

LOG = "run.log"
_TAKEN = 3
# Loaded once in the server that workers are forked from: a worker then starts in a fraction of a second (FACTS D).
_PRELOADED = ["rltransfer.training", "torch._dynamo", "torch.utils.tensorboard"]


def run_study(
    study: StudyConfig | Path | str,
    folder: Path | str | None = None,
    *,
    jobs: int = 1,
    say: Callable[[str], None] = print,
) -> "Comparison":
    """Runs what is missing of a study, writes its report, and returns the report's tables.

    Runs that are done are skipped; a failed one is reported, is tried again at the next call, and does not stop others
    (but those that wait for its agent).

    Args:
        study: A study, or the YAML file that describes it.
        folder: Where it goes; ``studies/<name of the file>`` by default.
        jobs: How many runs go on at once, each in a process of its own.
        say: Receives a line whenever a run ends.

    Raises:
        ConfigError: The study is not valid, or the folder holds runs with other settings.
        RunError: No arm finished a run.
    """
    from rltransfer.comparison import compare
    from rltransfer.report import write_report

    if jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, found {jobs}.")
    place = Path(folder) if folder is not None else _default_folder(study)
    config = study if isinstance(study, StudyConfig) else read_study(Path(study))
    where = "" if isinstance(study, StudyConfig) else f"{study}: "
    with _naming(where):
        runs = expand_study(config, place)
    states = [run_state(run) for run in runs]
    _check_tasks(states, where)
    _check_source(config, where)
    write_study(config, place)
    _Runner(states, jobs, say).run()
    comparison = compare(place, metric=config.metric)
    write_report(comparison, place)
    return comparison


def _default_folder(study: StudyConfig | Path | str) -> Path:
    if isinstance(study, StudyConfig):
        raise ConfigError("A study that is not read from a file needs a folder.")
    return Path("studies") / Path(study).stem


@contextlib.contextmanager
def _naming(where: str) -> Iterator[None]:
    """Puts the place of a mistake in a study before the message of its error."""
    try:
        yield
    except RLTransferError as error:
        raise type(error)(f"{where}{error}") from None


def _check_source(study: StudyConfig, where: str) -> None:
    """Reads an agent on disk that the arms start from, so that a mistake shows before any training."""
    for path in study.source.paths:
        from rltransfer.artifact import load_encoder

        with _naming(f"{where}source.path: "):
            load_encoder(path, study.source.which)


def _check_tasks(states: list[RunState], where: str) -> None:
    """Makes an environment of each task that still has runs to do, so that a mistake shows before any training."""
    from rltransfer import tasks

    waiting = [state.job.config for state in states if state.state != "done"]
    for index, config in enumerate(waiting):
        if config.task not in [earlier.task for earlier in waiting[:index]]:
            name = config.task_name if config.role == "source" else f"tasks.{config.task_name}"
            with _naming(f"{where}{name}: "):
                tasks.check_task(config.task)
                tasks.check_task(config.evaluation_task)
                tasks.check_randomise(config.task, config.randomise or {})


class _Runner:
    """Runs jobs in processes of their own, at most ``limit`` at once, each after the job that it waits for."""

    def __init__(self, states: list[RunState], limit: int, say: Callable[[str], None]) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._limit = limit
        self._say = say
        self._total = len(states)
        self._done = {state.job.folder for state in states if state.state == "done"}
        self._failed: set[Path] = set()
        self._waiting = [state.job for state in states if state.state != "done"]
        self._running: dict[int, tuple[BaseProcess, Job, float]] = {}

    def run(self) -> None:
        """Runs every job; a failed one only stops those that wait for its agent."""
        if self._done:
            self._say(f"{len(self._done)} of {self._total} runs are done already")
        try:
            while self._waiting or self._running:
                self._start_ready()
                # Where every job left has just failed with its source run, wait() would never return.
                for sentinel in wait(list(self._running)) if self._running else ():
                    self._settle(*self._running.pop(cast(int, sentinel)))
        finally:
            for process, _, _ in self._running.values():
                process.terminate()
                process.join()

    def _start_ready(self) -> None:
        for job in list(self._waiting):
            if job.after in self._failed:
                self._waiting.remove(job)
                self._fail(job, f"its source run failed: {job.after}")
            elif len(self._running) < self._limit and (job.after is None or job.after in self._done):
                self._waiting.remove(job)
                process = self._context.Process(target=_work, args=(job,))
                process.start()
                self._running[process.sentinel] = (process, job, time.monotonic())

    def _settle(self, process: BaseProcess, job: Job, started: float) -> None:
        process.join()
        state = _state_after(job, process.exitcode)
        if state.state != "done":
            self._fail(job, state.detail)
            return
        self._done.add(job.folder)
        final = read_record(job.folder).final
        score = f", last agent's mean return {final.mean_return:.1f}" if final else ""
        self._say(f"{self._progress()} {job.name}: done in {time.monotonic() - started:.0f} s{score}")

    def _fail(self, job: Job, reason: str) -> None:
        self._failed.add(job.folder)
        self._say(f"{self._progress()} {job.name}: FAILED: {reason}")

    def _progress(self) -> str:
        width = len(str(self._total))
        return f"[{len(self._done) + len(self._failed):>{width}}/{self._total}]"


def _state_after(job: Job, exit_code: int | None) -> RunState:
    """Returns how a run ended; one whose process died is recorded as failed, since it could not do so itself."""
    if exit_code == _TAKEN:
        return RunState(job, "failed", f"another process is writing {job.folder}")
    with contextlib.suppress(RLTransferError):
        state = run_state(job)
        if state.state == "running" and exit_code != 0:
            reason = f"its process ended with exit code {exit_code}; see {job.folder / LOG}"
            write_record(job.folder, read_record(job.folder).model_copy(update={"status": "failed", "error": reason}))
            return RunState(job, "failed", reason)
        if state.state != "missing":
            return state
    return RunState(job, "failed", f"it ended before it began (exit code {exit_code}); see {job.folder / LOG}")


def _work(job: Job) -> None:
    """Does one job in this process; what it prints goes to ``run.log`` in its folder."""
    from rltransfer.claims import claim, release
    from rltransfer.training import train_run

    job.folder.mkdir(parents=True, exist_ok=True)
    try:
        claim(job.folder)
    except RunError as error:
        # Not our folder: neither its log nor its record is ours to write.
        print(error, file=sys.stderr)
        raise SystemExit(_TAKEN) from None
    try:
        if run_state(job).state == "done":
            return
        _clear(job.folder)
        with (job.folder / LOG).open("w", buffering=1) as log:
            os.dup2(log.fileno(), sys.stdout.fileno())
            os.dup2(log.fileno(), sys.stderr.fileno())
            try:
                train_run(job.config, job.folder)
            except Exception:
                traceback.print_exc(file=log)
                raise SystemExit(1) from None
    finally:
        release(job.folder)


def _clear(folder: Path) -> None:
    """Removes what an earlier try left in a run folder that this process has claimed."""
    from rltransfer.claims import CLAIM

    own = folder / OWN_FOLDER
    for path in [*folder.iterdir(), *own.iterdir()]:
        if path == own or path == own / CLAIM:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
