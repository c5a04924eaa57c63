"""Writes the scores and curves of a comparison for other tools: tidy CSV, and JSON in rliable's array shape."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rltransfer import files
from rltransfer.comparison import Arm, Comparison, RunScores, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.report import wording
from rltransfer.report.paths import below

FOLDER = "data"
NORMALISED = "normalised"
_COMMON_FRAMES = 101


def write_exports(comparison: Comparison, folder: Path) -> tuple[Path, ...]:
    """Writes ``runs.csv`` (a row per run), ``curves.csv`` (per run and step), ``rliable.json``; returns the paths."""
    contents = {
        "runs.csv": runs_csv(comparison),
        "curves.csv": curves_csv(comparison),
        "rliable.json": json.dumps(rliable_arrays(comparison), ensure_ascii=False, allow_nan=False) + "\n",
    }
    for name, content in contents.items():
        # Half of a surrogate pair, which JSON can bring in and UTF-8 cannot hold, must not stop a report.
        files.write_bytes(Path(folder) / name, content.encode(errors="replace"))
    return tuple(Path(folder) / name for name in contents)


def runs_csv(comparison: Comparison) -> str:
    """Returns one row for each run: what it is, its scores, time to threshold; an undefined score is an empty cell."""
    head = ["task", "algo", "arm", "kind", "strategy", "control_of", "seed", "source_sha256", "source_env_steps"]
    head += ["env_steps", "wall_seconds", "n_updates", *wording.METRIC_NAMES, NORMALISED, "source_task_return"]
    head += ["threshold", "steps_to_threshold", "reached_threshold", "folder"]
    rows = [
        [
            *(task.title, task.settings.algo, arm.name, arm.kind),
            json.dumps(arm.strategy, sort_keys=True, default=str),
            *(arm.control_of, run.seed),
            *((None, None) if run.source is None else (run.source.sha256, run.source.env_steps)),
            *(run.env_steps, run.wall_seconds or None, run.n_updates),
            *(_finite(run.scores[name]) for name in (*wording.METRIC_NAMES, NORMALISED)),
            _finite(run.retention),
            *(task.threshold, *((None, None) if run.time is None else (run.time.env_steps, run.time.reached))),
            below(comparison, run.folder),
        ]
        for task, arm, run in _runs(comparison)
    ]
    return _csv(head, rows)


def curves_csv(comparison: Comparison) -> str:
    """Returns one row for each run and step of its evaluation curve, on the grid of its task."""
    rows = [
        [task.title, arm.name, run.seed, int(step), _finite(float(value))]
        for task, arm, run in _runs(comparison)
        for step, value in zip(task.grid_steps, run.curve, strict=True)
    ]
    return _csv(["task", "arm", "seed", "env_steps", "value"], rows)


def rliable_arrays(comparison: Comparison) -> dict[str, Any]:
    """Returns ``scores`` {arm: runs x tasks} and ``curves`` {arm: runs x tasks x frames}, as rliable takes them.

    ``normalised`` are the scores from random policy (0) to reference (1), None where a task has no reference.
    rliable's arrays have no holes, so an arm has the tasks of all arms, and the seeds that it has in each of them;
    ``left_out`` lists the arms that lack a task, and the seeds that lack one. ``frames`` holds the steps of each task's
    curves: all evaluations where the tasks have equally many, otherwise evenly spaced points of each budget.
    """
    tasks = comparison.tasks
    by_arm = {name: [_arm(task, name) for task in tasks] for name in _names(tasks)}
    whole = {name: [arm for arm in arms if arm is not None] for name, arms in by_arm.items() if None not in arms}
    seeds = {name: _shared_seeds(arms) for name, arms in whole.items()}
    frames = [_frames(task, tasks) for task in tasks]
    left_out = [f"arm {name}: not in every task" for name in by_arm if name not in whole]
    left_out += [
        f"arm {name}, seed {seed}: not in every task"
        for name, arms in whole.items()
        for seed in sorted({seed for arm in arms for seed in arm.seeds} - set(seeds[name]))
    ]
    return {
        "metric": comparison.metric,
        "tasks": [task.title for task in tasks],
        "seeds": seeds,
        "scores": _scores(whole, seeds, comparison.metric),
        NORMALISED: _scores(whole, seeds, NORMALISED),
        "frames": [steps.tolist() for steps in frames],
        "curves": {
            name: [
                [
                    [_finite(float(value)) for value in np.interp(steps, task.grid_steps, _run(arm, seed).curve)]
                    for task, arm, steps in zip(tasks, arms, frames, strict=True)
                ]
                for seed in seeds[name]
            ]
            for name, arms in whole.items()
        },
        "left_out": left_out,
    }


def _scores(
    whole: Mapping[str, Sequence[Arm]], seeds: Mapping[str, Sequence[int]], metric: str
) -> dict[str, list[list[float | None]]]:
    return {
        name: [[_finite(_run(arm, seed).scores[metric]) for arm in arms] for seed in seeds[name]]
        for name, arms in whole.items()
    }


def _runs(comparison: Comparison) -> Iterable[tuple[TaskComparison, Arm, RunScores]]:
    for task in comparison.tasks:
        for arm in task.arms:
            for run in arm.runs:
                yield task, arm, run


def _names(tasks: Sequence[TaskComparison]) -> list[str]:
    return list(dict.fromkeys(arm.name for task in tasks for arm in task.arms))


def _arm(task: TaskComparison, name: str) -> Arm | None:
    return next((arm for arm in task.arms if arm.name == name), None)


def _run(arm: Arm, seed: int) -> RunScores:
    return next(run for run in arm.runs if run.seed == seed)


def _shared_seeds(arms: Sequence[Arm]) -> list[int]:
    return sorted(set.intersection(*(set(arm.seeds) for arm in arms)))


def _frames(task: TaskComparison, tasks: Sequence[TaskComparison]) -> np.ndarray:
    if len({len(each.grid_steps) for each in tasks}) == 1:
        return task.grid_steps
    return np.linspace(0, task.settings.n_timesteps, _COMMON_FRAMES)


def _finite(value: float | Undefined) -> float | None:
    """Returns a number, None where there is none."""
    return None if isinstance(value, Undefined) or not math.isfinite(value) else value


def _csv(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return text.getvalue()
