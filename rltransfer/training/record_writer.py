"""Writes the record of a run while it goes on."""

import contextlib
import datetime
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rltransfer import tasks
from rltransfer.config import RunConfig
from rltransfer.errors import FileWriteError, RunError
from rltransfer.records import OWN_FOLDER, RECORD, EvaluationFacts, RunRecord, read_record, write_record
from rltransfer.run_folder import read_settings
from rltransfer.strategies import dump_strategy
from rltransfer.training.prepare import has_plan

_PACKAGES = ("rltransfer", "stable-baselines3", "gymnasium", "torch", "numpy")


def first_record(config: RunConfig) -> RunRecord:
    """Returns the record of a run that begins now."""
    return RunRecord(
        status="running",
        role=config.role,
        task=config.task.facts(config.hyperparams, config.randomise),
        task_name=config.task_name,
        algo=config.algo,
        arm=config.arm,
        strategy=dump_strategy(config.strategy) if has_plan(config) else (),
        maps=config.maps(),
        seed=config.seed,
        n_timesteps=config.n_timesteps,
        hyperparams=config.hyperparams.flat(),
        arms_differ_in=config.arms_differ_in,
        evaluation=EvaluationFacts(
            eval_freq=config.evaluation.frequency(config.n_timesteps),
            episodes=config.evaluation.episodes,
            n_envs=config.evaluation.parallel,
            env_kwargs=config.evaluation.env_kwargs,
            max_episode_steps=config.evaluation.max_episode_steps,
            deterministic=tasks.evaluates_deterministically(config.task.env),
        ),
        reward_threshold=next(
            (level for level in config.thresholds if not isinstance(level, str)), tasks.reward_threshold(config.task)
        ),
        thresholds=config.thresholds,
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        versions=versions(),
    )


def update_record(folder: Path, **facts: Any) -> RunRecord:
    """Replaces facts in the record of a run, and returns it."""
    record = RunRecord.model_validate(read_record(folder).model_dump() | facts)
    write_record(folder, record)
    return record


def note_end(folder: Path, **facts: Any) -> None:
    """Replaces facts in the record of a run that comes to an early end; a full disk must not hide why."""
    with contextlib.suppress(FileWriteError):
        update_record(folder, **facts)


def finished_record(config: RunConfig, folder: Path) -> RunRecord | None:
    """Returns the record of a run that is done already; None where there is none.

    Raises:
        RunError: What is done is a run with other settings.
    """
    if not (folder / OWN_FOLDER / RECORD).is_file():
        return None
    record = read_record(folder)
    if record.status != "done":
        return None
    wanted, there = deciding_settings(config), deciding_settings(read_settings(folder))
    for key in wanted | there:
        if wanted.get(key) != there.get(key):
            raise RunError(
                f"{folder} holds a finished run with other settings: {key!r} is {json.dumps(there.get(key))}, not "
                f"{json.dumps(wanted.get(key))}. Use another folder, or delete that run."
            )
    return record


def deciding_settings(config: RunConfig) -> dict[str, Any]:
    """Returns the settings that decide a run's numbers; a source counts by its content, and may have been moved."""
    return {key: value for key, value in config.outcome_settings().items() if key != "source"}


def versions() -> dict[str, str]:
    """Returns the versions of the packages that decide the numbers of a run."""
    return {name: version(name) for name in _PACKAGES}
