"""Puts the arms of sweeps into the pictures that they are drawn as: layers, sources by targets, source budgets."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rltransfer.comparison.names import sweep_names
from rltransfer.comparison.studies import study_folder
from rltransfer.comparison.tables import Arm, Cell, EffectGrid, EffectLine, TaskComparison
from rltransfer.config import StudyConfig
from rltransfer.strategies import needs_source
from rltransfer.sweeps import LayerSweep, SourceStepsSweep, SweptArm, matrix_arm


def pictures(
    tasks: Sequence[TaskComparison], studies: Mapping[Path, StudyConfig]
) -> tuple[EffectGrid | EffectLine, ...]:
    """Returns what is to be drawn of the sweeps of all studies; arms without a finished run leave a gap."""
    drawn = [picture for folder, study in studies.items() for picture in _of_study(folder, study, tasks)]
    names = sweep_names([picture.name for picture in drawn], [task.name for task in tasks])
    return tuple(dataclasses.replace(picture, name=name) for picture, name in zip(drawn, names, strict=True))


def _of_study(folder: Path, study: StudyConfig, tasks: Sequence[TaskComparison]) -> Iterator[EffectGrid | EffectLine]:
    if study.confirms:
        return
    study_tasks = {task.settings.task_name: task for task in tasks if folder in _folders(task)}
    for task in study_tasks.values():
        if study.sweeps.layers is not None:
            yield _layers(folder, task, study.sweeps.layers)
        if study.sweeps.source_steps is not None:
            yield _source_steps(folder, task, study.sweeps.source_steps)
    if study.source_tasks and study_tasks:
        for name in (name for name, strategy in study.arms.items() if needs_source(strategy)):
            yield _matrix(folder, study_tasks, study, name)


def _folders(task: TaskComparison) -> set[Path]:
    return {study_folder(run.folder) for arm in task.arms for run in arm.runs}


def _arm(folder: Path, task: TaskComparison | None, name: str) -> Arm | None:
    """Returns the arm whose runs lie in the folder of that name in the study."""
    for arm in task.arms if task is not None else ():
        place = arm.runs[0].folder
        if place.parent.name == name and study_folder(place) == folder:
            return arm
    return None


def _layers(folder: Path, task: TaskComparison, sweep: LayerSweep) -> EffectGrid:
    swept = {(arm.row, arm.column, arm.is_control): arm for arm in sweep.arms()}
    rows = [(row, control) for row in dict.fromkeys(arm.row for arm in sweep.arms()) for control in (False, True)]
    rows = [(row, control) for row, control in rows if any(key[0] == row and key[2] == control for key in swept)]
    columns = sorted(sweep.layers)
    return EffectGrid(
        name=f"{task.name}_layer_sweep",
        title="How many layers to move",
        task=task.name,
        row_title="what moves, and how it may change",
        column_title="layers moved, from the observations on",
        rows=tuple(f"{row}, shuffled" if control else row for row, control in rows),
        columns=tuple(f"{count} (scratch)" if count == 0 else str(count) for count in columns),
        cells=tuple(
            tuple(Cell(task.name, _at(folder, task, swept.get((row, count, control)), count)) for count in columns)
            for row, control in rows
        ),
    )


def _at(folder: Path, task: TaskComparison, swept: SweptArm | None, count: int) -> Arm | None:
    if count == 0:
        return None if task.baseline is None else task.arm(task.baseline)
    return None if swept is None else _arm(folder, task, swept.name)


def _source_steps(folder: Path, task: TaskComparison, sweep: SourceStepsSweep) -> EffectLine:
    points: dict[str, list[tuple[int, Arm | None]]] = {}
    for swept in sweep.arms():
        points.setdefault(swept.row, []).append((swept.column, _arm(folder, task, swept.name)))
    seeds = {run.seed for row in points.values() for _, arm in row if arm is not None for run in arm.runs}
    return EffectLine(
        name=f"{task.name}_source_steps",
        title="How long to pretrain",
        task=task.name,
        points={row: tuple(some) for row, some in points.items()},
        source_steps=max(sweep.at),
        seeds=len(seeds),
    )


def _matrix(folder: Path, study_tasks: Mapping[str, TaskComparison], study: StudyConfig, name: str) -> EffectGrid:
    return EffectGrid(
        name=f"matrix_{name}",
        title=f"Which source helps which target: {name}",
        task=None,
        row_title="source",
        column_title="target",
        rows=study.source_tasks,
        columns=tuple(study.tasks),
        cells=tuple(
            tuple(
                Cell(target, _arm(folder, study_tasks.get(target), matrix_arm(name, source))) for target in study.tasks
            )
            for source in study.source_tasks
        ),
    )
