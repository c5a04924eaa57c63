"""Runs what is missing of a study on an engine, and reports it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from rltransfer import run_lock
from rltransfer.config import RunConfig, StudyConfig, read_study
from rltransfer.errors import ConfigError, unknown
from rltransfer.records import read_record
from rltransfer.study.check import check_study, naming
from rltransfer.study.cores import count_cores
from rltransfer.study.engines import Engine
from rltransfer.study.expand import expand_study
from rltransfer.study.fork_server import call_warm
from rltransfer.study.schedule import Schedule
from rltransfer.study.status import RunState, run_state, study_status, write_study
from rltransfer.study.view import open_view

if TYPE_CHECKING:
    from rltransfer.comparison import Comparison

EngineName = Literal["local", "ray"]
RETRIES = 1
"""How often a run is tried again, by default, whose process crashed."""


def run_study(
    study: StudyConfig | Path | str,
    folder: Path | str | None = None,
    *,
    jobs: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    time_limit_seconds: float | None = None,
    retries: int = RETRIES,
    cache: Path | str | None = None,
    say: Callable[[str], None] | None = None,
) -> "Comparison":
    """Runs what is missing of a study, writes its report, and returns the report's tables.

    Runs that are done are skipped; a stopped one goes on, a failed one is tried again. A run that fails does not stop
    others (but those that wait for its agent). Several calls, on several machines, can share one folder and its work.

    Args:
        study: A study, or the YAML file that describes it.
        folder: Where it goes; ``studies/<name of the file>`` by default.
        jobs: How many runs go on at once, each in a process of its own; by default as many as there are cores.
        engine: ``local`` for the processes of this machine, ``ray`` for a Ray cluster.
        address: Of the Ray cluster; without one, Ray starts one on this machine.
        time_limit_seconds: A run that takes longer is stopped and has failed; the next call gives it as much again.
        retries: How often a run is tried again whose process crashed.
        cache: A folder by which studies share equal source runs; in place of the study's own.
        say: Receives a line whenever a run ends; without it, lines are printed, or a table is kept on a terminal.

    Raises:
        ConfigError: The study is not valid, or the folder holds runs with other settings.
        MissingExtraError: Ray is not installed.
        RunError: No arm finished a run.
        Stopped: SIGTERM or Ctrl-C came; what was running is saved.
    """
    from rltransfer.comparison import compare
    from rltransfer.report import write_report

    _refuse_negative(retries)
    runner = make_engine(engine, jobs=jobs, address=address, time_limit_seconds=time_limit_seconds)
    config, place, states, remarks = _set_up(study, folder, cache)
    _run_on(runner, states, retries, say, remarks)
    # Supervisors that share a study end together.
    with run_lock.one_at_a_time(place):
        comparison = compare(place, metric=config.metric)
        write_report(comparison, place)
    return comparison


def set_up_study(
    study: StudyConfig | Path | str, folder: Path | str | None = None, *, cache: Path | str | None = None
) -> Path:
    """Checks a study, writes it into its folder, and returns the folder: others can then work on it.

    Arguments and errors are those of ``run_study``; nothing is run.
    """
    return _set_up(study, folder, cache)[1]


def work_on_study(
    folder: Path,
    *,
    jobs: int | None = None,
    time_limit_seconds: float | None = None,
    retries: int = RETRIES,
    say: Callable[[str], None] | None = None,
) -> list[RunState]:
    """Joins the study in a folder with the processes of this machine, until nothing is left to do.

    Returns the states of its runs. Arguments and errors are those of ``run_study``.
    """
    _refuse_negative(retries)
    runner = make_engine("local", jobs=jobs, time_limit_seconds=time_limit_seconds)
    states = study_status(folder)
    _refuse_misread(states)
    _run_on(runner, states, retries, say)
    return study_status(folder)


def make_engine(
    name: EngineName,
    *,
    jobs: int | None = None,
    address: str | None = None,
    time_limit_seconds: float | None = None,
) -> Engine:
    """Returns an engine, nothing started yet; the arguments are those of ``run_study``.

    Raises:
        ConfigError: An argument is wrong, or not for this engine.
        MissingExtraError: Ray is not installed.
    """
    if jobs is not None and jobs < 1:
        raise ConfigError(f"jobs: expected at least 1, found {jobs}.")
    if time_limit_seconds is not None and time_limit_seconds <= 0:
        raise ConfigError(f"time limit: expected more than 0 seconds, found {time_limit_seconds:g}.")
    match name:
        case "local":
            from rltransfer.study.engines.local import LocalEngine

            if address is not None:
                raise ConfigError(f"address {address!r} is for the engine 'ray': --engine ray.")
            return LocalEngine(jobs or count_cores(), time_limit_seconds)
        case "ray":
            from rltransfer.study.engines.ray import RayEngine

            return RayEngine(jobs, address, time_limit_seconds)
        case _:
            raise unknown("engine", name, get_args(EngineName))


def _refuse_negative(retries: int) -> None:
    if retries < 0:
        raise ConfigError(f"retries: expected at least 0, found {retries}.")


def _run_on(
    engine: Engine,
    states: list[RunState],
    retries: int,
    say: Callable[[str], None] | None,
    remarks: Sequence[str] = (),
) -> None:
    with open_view(say) as view:
        for line in remarks:
            view.say(line)
        engine.run(Schedule(states, retries=retries, say=view.say), view)


def _set_up(
    study: StudyConfig | Path | str, folder: Path | str | None, cache: Path | str | None
) -> tuple[StudyConfig, Path, list[RunState], tuple[str, ...]]:
    place = Path(folder) if folder is not None else default_folder(study)
    config, where = (study, "") if isinstance(study, StudyConfig) else (read_study(Path(study)), f"{study}: ")
    chosen = cache if cache is not None else config.cache
    config = config.model_copy(update={"cache": None if chosen is None else str(Path(chosen).absolute())})
    with naming(where):
        jobs = expand_study(config, place)
    states = [run_state(job) for job in jobs]
    waiting = [state.job.config for state in states if state.state != "done"]
    remarks: tuple[str, ...] = ()
    if waiting:
        with naming(where):
            remarks = call_warm(check_study, config, waiting)
        _refuse_misread(states)
    write_study(config, place)
    return config, place, states, remarks


def _refuse_misread(states: Sequence[RunState]) -> None:
    """Raises RunError if a study goes on whose runs rltransfer 0.1 gave the wrong weights to."""
    begun = [state.job for state in states if state.state in ("done", "stopped") and state.job.config.role == "target"]
    old = [job for job in begun if read_record(job.folder).is_of_version_0_1]
    if old and any(state.state != "done" for state in states):
        call_warm(_check_misread, [job.folder for job in old], [job.config for job in old])


def _check_misread(folders: Sequence[Path], configs: Sequence[RunConfig]) -> None:
    from rltransfer.training.resume.older_runs import refuse_misread_study

    refuse_misread_study(folders, configs)


def default_folder(study: StudyConfig | Path | str) -> Path:
    """Returns where a study goes unless it is told: ``studies/<name of the file>``.

    Raises:
        ConfigError: It is not read from a file.
    """
    if isinstance(study, StudyConfig):
        raise ConfigError("A study that is not read from a file needs a folder.")
    return Path("studies") / Path(study).stem
