"""Writes a comparison as TensorBoard runs, which show verdicts, bands and a table of runs without any set-up.

Below ``aggregate/``: the folder itself holds the verdicts (*Text*) and the columns of *HParams*; ``<task>/<arm>`` the
scalars ``<task>/iqm``, ``<task>/low``, ``<task>/high``, a margin chart over them (*Custom scalars*) and what was moved
(*Text*); ``<task>/<arm>/seed_<k>`` one row of *HParams*. TensorBoard is a view: nothing here is ever read back.
"""

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rltransfer import files
from rltransfer.comparison import Arm, Comparison, RunScores, TaskComparison
from rltransfer.comparison.names import safe_names
from rltransfer.metrics import Undefined
from rltransfer.report import markdown, summaries, words
from rltransfer.report.blocks import Block
from rltransfer.report.provenance import Provenance
from rltransfer.report.sections import plans, verdicts

FOLDER = "aggregate"
_SUFFIX = ".rltransfer"
_CATEGORY = "Interquartile mean over seeds, 95 % band"
_SETTINGS = ("task", "arm", "strategy", "seed", "algo", "source")


def write_aggregates(comparison: Comparison, provenance: Provenance, root: Path) -> tuple[Path, ...]:
    """Writes the runs below ``<root>/aggregate`` and returns the arms' folders; an earlier call's files are replaced."""
    folder = root / FOLDER
    contents = {folder: summaries.event_file(_overview(comparison))}
    arms: list[Path] = []
    for task in comparison.tasks:
        for arm, name in zip(task.arms, safe_names([arm.name for arm in task.arms]), strict=True):
            arms.append(folder / task.name / name)
            contents[arms[-1]] = summaries.event_file(_arm(task, arm, provenance))
            for run in arm.runs:
                place = arms[-1] / f"seed_{run.seed}"
                contents[place] = summaries.event_file(_run(task, arm, run))
    # TensorBoard follows a folder by the names of its files, so a new file has to have a later name.
    name = f"events.out.tfevents.{int(time.time()):010d}{_SUFFIX}"
    for place, content in contents.items():
        files.write_bytes(place / name, content)
    _remove_others(folder, keep={place / name for place in contents})
    return tuple(arms)


def _overview(comparison: Comparison) -> Iterator[tuple[int, summaries.Summary]]:
    yield 0, summaries.experiment(_SETTINGS, {_tag(name): title for name, title in words.METRIC_NAMES.items()})
    for task in comparison.tasks:
        blocks: Sequence[Block] = [*verdicts.findings(comparison, task), *verdicts.table(comparison, task)]
        text = markdown.render([*verdicts.failed_checks(comparison), *blocks, *verdicts.notes(task)])
        yield 0, summaries.text(f"{task.name}/verdict", text)


def _arm(task: TaskComparison, arm: Arm, provenance: Provenance) -> Iterator[tuple[int, summaries.Summary]]:
    yield 0, summaries.band_charts(_CATEGORY, {task.title: _tags(task)})
    plan = provenance.plans.get(task.name, {}).get(arm.name)
    if plan is not None:
        yield 0, summaries.text(f"{task.name}/plan", markdown.render(plans.arm_blocks(arm.name, plan)))
    for step, values in _points(task, arm):
        yield step, summaries.scalars(values)


def _run(task: TaskComparison, arm: Arm, run: RunScores) -> Iterator[tuple[int, summaries.Summary]]:
    """Yields the row of one run; a metric that is undefined for it is an empty cell."""
    values: dict[str, summaries.Setting] = {
        "task": task.title,
        "arm": arm.name,
        "strategy": " + ".join(str(part.get("kind")) for part in arm.strategy) or "unknown",
        "seed": run.seed,
        "algo": task.settings.algo,
        "source": "none" if run.source is None else run.source.task.label() if run.source.task else "unknown",
    }
    yield 0, summaries.session(f"{task.name}/{arm.name}/seed_{run.seed}", values)
    scores = {_tag(name): run.scores[name] for name in words.METRIC_NAMES}
    known = {tag: score for tag, score in scores.items() if not isinstance(score, Undefined) and math.isfinite(score)}
    yield run.env_steps, summaries.scalars(known)


def _tag(metric: str) -> str:
    return f"run/{metric}"


def _points(task: TaskComparison, arm: Arm) -> Iterator[tuple[int, dict[str, float]]]:
    """Yields the step and the scalars of each point; a single run is its own band, so that its chart is drawn."""
    low = arm.band.middle if arm.band.low is None else arm.band.low
    high = arm.band.middle if arm.band.high is None else arm.band.high
    for step, middle, lower, upper in zip(task.grid_steps, arm.band.middle, low, high, strict=True):
        if np.isfinite([middle, lower, upper]).all():
            yield int(step), dict(zip(_tags(task), (float(middle), float(lower), float(upper)), strict=True))


def _tags(task: TaskComparison) -> tuple[str, str, str]:
    return f"{task.name}/iqm", f"{task.name}/low", f"{task.name}/high"


def _remove_others(folder: Path, *, keep: set[Path]) -> None:
    """Removes our event files of earlier calls and the folders that this empties; nothing else."""
    for path in folder.rglob(f"events.out.tfevents.*{_SUFFIX}"):
        if path not in keep:
            path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
