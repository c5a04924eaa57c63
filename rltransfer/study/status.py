"""Tells from disk how far a study is, without torch."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from rltransfer import files, run_lock, yaml_file
from rltransfer.config import LATER_SETTINGS, STUDY_FILE, StudyConfig, absolute, read_study
from rltransfer.errors import ConfigError, RLTransferError, RunError
from rltransfer.records import CONFIG, OWN_FOLDER, RECORD, read_heartbeat, read_record
from rltransfer.study.expand import Job, expand_study

State = Literal["done", "running", "stopped", "failed", "missing"]


@dataclasses.dataclass(frozen=True)
class RunState:
    """How far one run of a study is.

    ``detail`` is the reason of a failure, or who is running it; ``version`` tells one writing of its record from the
    next.
    """

    job: Job
    state: State
    detail: str = ""
    env_steps: int = 0
    steps_per_second: float = 0.0
    version: int = 0

    def to_json(self) -> dict[str, Any]:
        """Returns the state as plain data."""
        return {
            "name": self.job.name,
            "folder": str(self.job.folder),
            "state": self.state,
            "detail": self.detail,
            "env_steps": self.env_steps,
            "n_timesteps": self.job.config.n_timesteps,
            "steps_per_second": self.steps_per_second,
        }


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a study is: runs in each state, the speed of those that are running, and what is left at that speed."""

    counts: dict[State, int]
    steps_per_second: float
    seconds_left: float | None

    def __str__(self) -> str:
        parts = [f"{count} {state}" for state, count in self.counts.items()]
        if self.steps_per_second:
            parts.append(f"{self.steps_per_second:,.0f} steps per second")
        if self.seconds_left is not None:
            parts.append(f"about {duration(self.seconds_left)} left")
        return ", ".join(parts)


def write_study(study: StudyConfig, folder: Path) -> None:
    """Writes the study as resolved into its folder, so that others can work on it from any working directory."""
    paths = {"path": absolute(study.source.path), "normaliser": absolute(study.source.normaliser)}
    source = study.source.model_copy(update=paths)
    placed = study.model_copy(update={"source": source})
    files.write_text(folder / STUDY_FILE, yaml_file.dump(placed.model_dump(mode="json")))


def study_status(folder: Path) -> list[RunState]:
    """Returns the state of every run of the study in a folder; runs that wait for a failed one have failed with it.

    Raises:
        RunError: The folder holds no study.
    """
    states: dict[Path, RunState] = {}
    for job in expand_study(read_study(study_file(folder)), folder):
        state = run_state(job)
        source = states.get(job.after) if job.after else None
        if state.state == "missing" and source is not None and source.state == "failed":
            state = failed_with(source, job)
        states[job.folder] = state
    return list(states.values())


def failed_with(source: RunState, job: Job) -> RunState:
    """Returns the state of a job whose source run failed."""
    return RunState(job, "failed", f"its source run failed: {source.job.folder}")


def study_file(folder: Path) -> Path:
    """Returns the path of the study in a folder.

    Raises:
        RunError: The folder holds no study.
    """
    path = folder / STUDY_FILE
    if not path.is_file():
        raise RunError(f"{folder} holds no study: {path} is missing. Start one with: rltransfer study run FILE")
    return path


def run_state(job: Job) -> RunState:
    """Returns how far one run is; a source run may be in the cache and not in the study yet.

    Raises:
        ConfigError: The folder holds a run with other settings; a failed one does not count, its mistake may have been
            in them.
    """
    state = state_in(job.folder, job)
    if job.shared is None or state.state == "done":
        return state
    shared = state_in(job.shared, job)
    # One that is only in the cache has still to be copied.
    return dataclasses.replace(shared, state="missing") if shared.state == "done" else shared


def state_in(folder: Path, job: Job) -> RunState:
    """Returns how far a job's run is that is made in a folder; like ``run_state``, which chooses the folder."""
    path = folder / OWN_FOLDER / RECORD
    if not path.is_file():
        return RunState(job, "missing")
    version = path.stat().st_mtime_ns
    try:
        record = read_record(folder)
        if record.status == "failed":
            return RunState(job, "failed", record.error or "", record.env_steps, version=version)
        _refuse_other_settings(job, folder)
    except RunError as error:
        # Damaged files are of this run alone, which is made again.
        return RunState(job, "failed", str(error), version=version)
    if record.status == "done":
        return RunState(job, "done", env_steps=record.env_steps, version=version)
    if not run_lock.is_claimed(folder):
        return RunState(job, "stopped", env_steps=record.env_steps, version=version)
    return with_heartbeat(RunState(job, "running", version=version), folder)


def with_heartbeat(state: RunState, folder: Path) -> RunState:
    """Returns the state of a run that goes on, with what its latest sign of life tells."""
    beat = read_heartbeat(folder)
    if beat is None:
        return state
    who = f"process {beat.pid} on {beat.host}"
    return dataclasses.replace(state, detail=who, env_steps=beat.env_steps, steps_per_second=beat.steps_per_second)


def progress_of(states: Sequence[RunState]) -> Progress:
    """Returns how far a study is; what is left to do takes as long as at the present speed of all its runs."""
    speed = sum(state.steps_per_second for state in states if state.state == "running")
    left = sum(
        max(0, state.job.config.n_timesteps - state.env_steps)
        for state in states
        if state.state not in ("done", "failed")
    )
    return Progress(count_states(states), speed, left / speed if speed else None)


def count_states(states: Sequence[RunState]) -> dict[State, int]:
    """Returns how many runs are in each state."""
    counts: dict[State, int] = dict.fromkeys(get_args(State), 0)
    for state in states:
        counts[state.state] += 1
    return counts


def duration(seconds: float) -> str:
    """Returns a time in words, no more exact than a guess deserves.

    >>> duration(42), duration(200), duration(9000)
    ('42 s', '3 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def is_damaged(folder: Path) -> bool:
    """Returns whether there is a record of a run in a folder that cannot be read."""
    try:
        read_record(folder)
    except RunError:
        return (folder / OWN_FOLDER / RECORD).exists()
    return False


def has_settings_of(job: Job, folder: Path) -> bool:
    """Returns whether what is in a folder was begun with the settings of a job."""
    try:
        _refuse_other_settings(job, folder)
    except RLTransferError:
        return False
    return True


def _refuse_other_settings(job: Job, place: Path) -> None:
    path = place / OWN_FOLDER / CONFIG
    try:
        begun = {**LATER_SETTINGS, **json.loads(path.read_text())}
    except (OSError, ValueError):
        raise RunError(f"{path} is missing or damaged. Delete {place} to run it again.") from None
    settings = {**LATER_SETTINGS, **job.config.outcome_settings()}
    if job.config.save_replay_buffer:
        # An arm that came later needs what a source run that is done did not keep.
        settings["save_replay_buffer"] = True
    if not set(job.config.save_at) <= set(begun.get("save_at", ())):
        settings["save_at"] = list(job.config.save_at)
    for key, wanted in settings.items():
        if begun.get(key) != wanted and not (key == "source" and _is_same_source(job, begun.get(key))):
            raise ConfigError(
                f"{place} holds a run with other settings: {key!r} is {begun.get(key)!r}, the study says "
                f"{wanted!r}. Use another folder (-f), or delete that run."
            )


def _is_same_source(job: Job, source: Any) -> bool:
    """Returns whether a run began with a job's source: from another folder, or in its study, which may have moved."""
    paths = tuple(source) if isinstance(source, list) else source
    if paths is not None and absolute(paths) == absolute(job.config.source):
        return True
    return job.after is not None and isinstance(source, str) and Path(source).parts[-3:] == job.after.parts[-3:]
