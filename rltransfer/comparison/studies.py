"""Reads the studies that runs belong to: what they say of a task, and which of their runs are not there yet."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rltransfer.comparison.tables import SkippedRun
from rltransfer.config import CONFIRM, SCRATCH_LONG, STUDY_FILE, TUNE, StudyConfig, StudyTask, read_study
from rltransfer.errors import ConfigError
from rltransfer.records import Run
from rltransfer.strategies import dump_strategy

_SETTINGS = ("reference", "sd", "effect")


def study_folder(run_folder: Path) -> Path:
    """Returns the folder of the study that a run would be of: ``<study>/<task>/<arm>/seed_<k>``."""
    place = run_folder.resolve()
    return (place, *place.parents)[:4][-1]


def is_within_study(folder: Path, root: Path) -> bool:
    """Returns whether a folder confirms what a study's sweep picked, or holds trials: runs in it are not the study's.

    A study may have been tuned and not run yet.
    """
    inside = folder.relative_to(root).parts
    places = [root.joinpath(*inside[: depth + 1]) for depth, part in enumerate(inside) if part in (CONFIRM, TUNE)]
    return any(
        (place / STUDY_FILE).is_file() and (place.name == TUNE or (place.parent / STUDY_FILE).is_file())
        for place in places
    )


def begun_studies(
    roots: Sequence[Path], run_folders: Iterable[Path]
) -> tuple[dict[Path, StudyConfig], tuple[str, ...]]:
    """Returns the studies in the folders, and those below them that have runs; and what cannot be read of them.

    A study file that cannot be read must not stop a report. Folders are below the roots, as these were given.
    """
    begun = {above for folder in run_folders for above in folder.resolve().parents}
    studies: dict[Path, StudyConfig] = {}
    problems: list[str] = []
    seen: set[Path] = set()
    for root in roots:
        for path in sorted(root.rglob(STUDY_FILE)):
            place = path.parent.resolve()
            is_one = path.parent == root or (place in begun and not is_within_study(path.parent, root))
            if not is_one or place in seen or not path.is_file():
                continue
            seen.add(place)
            try:
                studies[path.parent] = read_study(path)
            except ConfigError as error:
                problems.append(f"The study file cannot be read, so that missing runs are not known: {error}")
    return studies, tuple(problems)


def studies_of(runs: Sequence[Run], given: Mapping[Path, StudyConfig]) -> dict[Path, StudyConfig]:
    """Returns the studies that runs belong to, also where these lie above the folders that are reported on."""
    studies = {root.resolve(): study for root, study in given.items()}
    for folder in {study_folder(run.folder) for run in runs} - set(studies):
        if (folder / STUDY_FILE).is_file():
            with contextlib.suppress(ConfigError):
                studies[folder] = read_study(folder / STUDY_FILE)
    return studies


def missing_runs(root: Path, study: StudyConfig, targets: Sequence[Run]) -> list[SkippedRun]:
    """Returns the runs of a study in a folder that have left nothing on disk yet."""
    place = root.resolve()
    records = [run.record for run in targets if run.folder.resolve().is_relative_to(place)]
    there = {(record.task_name, record.arm, record.seed) for record in records}
    strategies: dict[str, tuple[dict[str, Any], ...]] = {
        name: dump_strategy(arm.strategy) for name, arm in study.planned_arms().items()
    }
    if study.scratch_long:
        strategies[SCRATCH_LONG] = ()
    return [
        SkippedRun(root / task / arm / f"seed_{seed}", arm, seed, "not started", task, strategy)
        for seed in study.seeds
        for task in study.tasks
        for arm, strategy in strategies.items()
        if (task, arm, seed) not in there
    ]


def settings_of(
    task_name: str, run_folders: Iterable[Path], studies: Mapping[Path, StudyConfig]
) -> tuple[StudyTask | None, tuple[str, ...]]:
    """Returns what the studies of a task's runs say of it, with a note for each setting that they do not agree in."""
    folders = sorted({study_folder(folder) for folder in run_folders} & set(studies))
    said = [studies[folder].tasks[task_name] for folder in folders if task_name in studies[folder].tasks]
    if not said:
        return None, ()
    agreed: dict[str, Any] = {}
    notes = []
    for name in _SETTINGS:
        values = sorted({value for task in said if (value := getattr(task, name)) is not None})
        agreed[name] = values[0] if len(values) == 1 else None
        if len(values) > 1:
            listed = ", ".join(f"{value:g}" for value in values)
            notes.append(
                f"The studies of these runs name different values of `{name}` ({listed}): none of them is used."
            )
    return said[0].model_copy(update=agreed), tuple(notes)
