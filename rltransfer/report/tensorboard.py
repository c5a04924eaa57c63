"""Writes a comparison as TensorBoard runs, which show verdicts, bands and a table of runs without any set-up.

``aggregate/`` holds the verdicts (*Text*), ``aggregate/<task>/<arm>`` the scalars ``<task>/iqm``, ``<task>/low``,
``<task>/high``, a margin chart over them (*Custom scalars*) and what was moved (*Text*). ``hparams/`` holds the columns
of *HParams*; its rows go into the runs' own TensorBoard folders where they have one. TensorBoard shows no run by itself
where there are more than 40: then ``--logdir <folder>/aggregate`` still overlays all arms. TensorBoard is a view:
nothing here is ever read back.
"""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from rltransfer import files
from rltransfer.comparison import Arm, Comparison, RunScores, TaskComparison
from rltransfer.comparison.names import safe_names
from rltransfer.metrics import Undefined
from rltransfer.report import markdown, summaries, wording
from rltransfer.report.blocks import Block
from rltransfer.report.provenance import Provenance
from rltransfer.report.sections import plans, verdicts

FOLDER = "aggregate"
ROWS = "hparams"
_EVENTS = "events.out.tfevents."
_SECOND = re.compile(rf"{re.escape(_EVENTS)}(\d+)\.")
_SUFFIX = ".rltransfer"
_CATEGORY = "Interquartile mean over seeds, 95 % band"
_SETTINGS = ("task", "arm", "strategy", "seed", "algo", "source")


def write_aggregates(comparison: Comparison, provenance: Provenance, root: Path) -> tuple[Path, ...]:
    """Writes the runs below ``root`` and returns the folders of the arms; files of an earlier call are replaced.

    What was written before and would be the same stays as it is: times are those of the runs, not of this call.
    """
    root = Path(root)
    ended = max((run.ended for task in comparison.tasks for arm in task.arms for run in arm.runs), default=0.0)
    contents: dict[Path, tuple[summaries.Points, float]] = {
        root / FOLDER: (_verdicts(comparison), ended),
        root / ROWS: (_columns(ended), ended),
    }
    arms: list[Path] = []
    for task in comparison.tasks:
        for arm, name in zip(task.arms, safe_names([arm.name for arm in task.arms]), strict=True):
            arms.append(root / FOLDER / task.name / name)
            contents[arms[-1]] = _arm(task, arm, provenance), ended
            for run in arm.runs:
                contents[_place(run, root, Path(task.name, name))] = _row(task, arm, run), run.ended
    written = {_write(place, points, ended) for place, (points, ended) in contents.items()}
    for place in {root / FOLDER, root / ROWS, *contents}:
        _remove_others(place, keep=written)
    return tuple(arms)


def _write(place: Path, points: summaries.Points, ended: float) -> Path:
    """Writes an event file into a folder, unless the latest of ours there has the same content; returns its path."""
    content = summaries.event_file(points, wall_time=ended)
    written = sorted(place.glob(f"{_EVENTS}*{_SUFFIX}"))
    if written and written[-1].read_bytes() == content:
        return written[-1]
    # TensorBoard follows a folder by the names of its files, so a new file has to have a later name than all others.
    matches = [_SECOND.match(path.name) for path in place.glob(f"{_EVENTS}*")]
    second = max([int(ended), *(int(match.group(1)) for match in matches if match)]) + 1
    path = place / f"{_EVENTS}{second:010d}{_SUFFIX}"
    files.write_bytes(path, content)
    return path


def _place(run: RunScores, root: Path, name: Path) -> Path:
    """Returns where the row of a run goes: into its own TensorBoard folder, if it has one in the folder reported on."""
    folders = sorted(path.parent for path in (run.folder / "tb").glob(f"*/{_EVENTS}*"))
    if folders and run.folder.resolve().is_relative_to(root.resolve()):
        return folders[0]
    return root / ROWS / name / f"seed_{run.seed}"


def _columns(ended: float) -> summaries.Points:
    titles = {_tag(name): title for name, title in wording.METRIC_NAMES.items()}
    yield 0, summaries.experiment(_SETTINGS, titles, wall_time=ended)


def _verdicts(comparison: Comparison) -> summaries.Points:
    for task in comparison.tasks:
        blocks: Sequence[Block] = [*verdicts.findings(comparison, task), *verdicts.table(comparison, task)]
        text = markdown.render([*verdicts.failed_checks(comparison), *blocks, *verdicts.notes(task)])
        yield 0, summaries.text(f"{task.name}/verdict", text)


def _arm(task: TaskComparison, arm: Arm, provenance: Provenance) -> summaries.Points:
    yield 0, summaries.band_charts(_CATEGORY, {task.title: _tags(task)})
    plan = provenance.plans.get(task.name, {}).get(arm.name)
    if plan is not None:
        yield 0, summaries.text(f"{task.name}/what_moved", markdown.render(plans.arm_blocks(arm.name, plan)))
    for step, values in _points(task, arm):
        yield step, summaries.scalars(values)


def _row(task: TaskComparison, arm: Arm, run: RunScores) -> summaries.Points:
    """Yields the row of one run; a metric that is undefined for it is an empty cell."""
    values: dict[str, summaries.Setting] = {
        "task": task.title,
        "arm": arm.name,
        "strategy": " + ".join(str(part.get("kind")) for part in arm.strategy) or "unknown",
        "seed": run.seed,
        "algo": task.settings.algo,
        "source": "none" if run.source is None else run.source.task.label() if run.source.task else "unknown",
    }
    yield 0, summaries.session(f"{task.name}/{arm.name}/seed_{run.seed}", values, wall_time=run.ended)
    scores = {_tag(name): run.scores[name] for name in wording.METRIC_NAMES}
    finite = {tag: score for tag, score in scores.items() if not isinstance(score, Undefined) and math.isfinite(score)}
    yield run.env_steps, summaries.scalars(finite)


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
    for path in folder.rglob(f"{_EVENTS}*{_SUFFIX}"):
        if path not in keep:
            path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
