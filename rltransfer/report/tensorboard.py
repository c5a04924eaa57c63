"""Writes the IQM curves and bands of a comparison as TensorBoard runs, without torch or tensorflow.

One run per arm at ``aggregate/<task>/<arm>`` with the scalars ``<task>/iqm``, ``<task>/low`` and ``<task>/high``, and a
*Custom scalars* layout with one margin chart per task. TensorBoard is a view: nothing here is ever read back.
"""

import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
from tensorboard.compat.proto.types_pb2 import DT_STRING  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar import layout_pb2, metadata  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

from rltransfer import files
from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.comparison.names import safe_names

FOLDER = "aggregate"
_SUFFIX = ".rltransfer"
_CATEGORY = "Interquartile mean over seeds, 95 % band"


def write_aggregates(comparison: Comparison, root: Path) -> tuple[Path, ...]:
    """Writes ``<root>/aggregate/<task>/<arm>`` and returns these folders; files of an earlier call are replaced."""
    folder = root / FOLDER
    written = {}
    for task in comparison.tasks:
        for arm, name in zip(task.arms, safe_names([arm.name for arm in task.arms]), strict=True):
            # TensorBoard follows a folder by the names of its files, so a new file has to have a later name.
            path = folder / task.name / name / f"events.out.tfevents.{int(time.time()):010d}{_SUFFIX}"
            files.write_bytes(path, _events(task, arm))
            written[path] = path.parent
    _remove_others(folder, keep=set(written))
    return tuple(written.values())


def _events(task: TaskComparison, arm: Arm) -> bytes:
    content = io.BytesIO()
    writer = RecordWriter(content)
    now = time.time()
    writer.write(Event(wall_time=now, file_version="brain.Event:2").SerializeToString())
    writer.write(Event(wall_time=now, summary=_layout(task)).SerializeToString())
    for step, values in _points(task, arm):
        summary = Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])
        writer.write(Event(wall_time=now, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def _points(task: TaskComparison, arm: Arm) -> Iterator[tuple[int, dict[str, float]]]:
    """Yields the step and the scalars of each point; a single run is its own band, so that its chart is drawn."""
    low = arm.band.middle if arm.band.low is None else arm.band.low
    high = arm.band.middle if arm.band.high is None else arm.band.high
    for step, middle, lower, upper in zip(task.grid_steps, arm.band.middle, low, high, strict=True):
        if np.isfinite([middle, lower, upper]).all():
            yield int(step), dict(zip(_tags(task), (float(middle), float(lower), float(upper)), strict=True))


def _tags(task: TaskComparison) -> tuple[str, str, str]:
    return f"{task.name}/iqm", f"{task.name}/low", f"{task.name}/high"


def _layout(task: TaskComparison) -> Summary:
    """Returns the layout as the custom scalars plugin reads it; its own ``summary.pb`` would need tensorflow."""
    middle, low, high = _tags(task)
    series = layout_pb2.MarginChartContent.Series(value=middle, lower=low, upper=high)
    chart = layout_pb2.Chart(title=task.title, margin=layout_pb2.MarginChartContent(series=[series]))
    layout = layout_pb2.Layout(category=[layout_pb2.Category(title=_CATEGORY, chart=[chart])])
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG,
        # The plugin's metadata and the compat protos are two builds of one message: copied by its bytes.
        metadata=SummaryMetadata.FromString(metadata.create_summary_metadata().SerializeToString()),
        tensor=TensorProto(dtype=DT_STRING, string_val=[layout.SerializeToString()]),
    )
    return Summary(value=[value])


def _remove_others(folder: Path, *, keep: set[Path]) -> None:
    """Removes our event files of earlier calls and the folders that this empties; nothing else."""
    for path in folder.rglob(f"events.out.tfevents.*{_SUFFIX}"):
        if path not in keep:
            path.unlink()
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(path.iterdir()):
            path.rmdir()
