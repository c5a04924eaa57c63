"""Tells from disk how far a study is, without torch."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from rltransfer import files, yaml_file
from rltransfer.config import StudyConfig, read_study
from rltransfer.errors import ConfigError, RunError
from rltransfer.records import OWN_FOLDER, RECORD, read_record
from rltransfer.study.expand import Job, expand_study

STUDY_FILE = "study.yaml"
State = Literal["missing", "running", "stopped", "done", "failed"]


@dataclasses.dataclass(frozen=True)
class RunState:
    """How far one run of a study is; ``detail`` is the reason of a failure."""

    job: Job
    state: State
    detail: str = ""


def write_study(study: StudyConfig, folder: Path) -> None:
    """Writes the study as resolved into its folder."""
    files.write_text(folder / STUDY_FILE, yaml_file.dump(study.model_dump(mode="json")))


def study_status(folder: Path) -> list[RunState]:
    """Returns the state of every run of the study in a folder.

    Raises:
        RunError: The folder holds no study.
    """
    return [run_state(job) for job in expand_study(read_study(study_file(folder)), folder)]


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
    """Returns how far one run is.

    Raises:
        ConfigError: The folder holds a run with other settings; a failed one does not count, its mistake may have been
            in them.
    """
    if not (job.folder / OWN_FOLDER / RECORD).is_file():
        return RunState(job, "missing")
    record = read_record(job.folder)
    if record.status != "failed":
        _refuse_other_settings(job)
    return RunState(job, record.status, record.error or "")


def count_states(states: Sequence[RunState]) -> dict[State, int]:
    """Returns how many runs are in each state."""
    counts: dict[State, int] = {"done": 0, "running": 0, "stopped": 0, "failed": 0, "missing": 0}
    for state in states:
        counts[state.state] += 1
    return counts


def _refuse_other_settings(job: Job) -> None:
    path = job.folder / OWN_FOLDER / "config.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        raise RunError(f"{path} is missing or damaged. Delete {job.folder} to run it again.") from None
    settings = job.config.outcome_settings()
    if job.config.save_replay_buffer:
        # An arm that came later needs what a source run that is done did not keep.
        settings["save_replay_buffer"] = True
    for key, wanted in settings.items():
        if found.get(key) != wanted and not (key == "source" and _is_source_of(job, found.get(key))):
            raise ConfigError(
                f"{job.folder} holds a run with other settings: {key!r} is {found.get(key)!r}, the study says "
                f"{wanted!r}. Use another folder (-f), or delete that run."
            )


def _is_source_of(job: Job, path: object) -> bool:
    """Says whether a path is the run's own source within its study, which may have been moved or be named otherwise."""
    return job.after is not None and isinstance(path, str) and Path(path).parts[-3:] == job.after.parts[-3:]
