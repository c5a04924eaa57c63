"""Builds TensorBoard's messages, without torch or tensorflow: events, texts, band charts, hyperparameters.

TensorBoard's own ``summary.pb`` functions for texts and layouts need tensorflow; its protos do not.
"""

import io
from collections.abc import Iterable, Mapping, Sequence

from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata  # type: ignore[import-untyped]
from tensorboard.compat.proto.tensor_pb2 import TensorProto  # type: ignore[import-untyped]
from tensorboard.compat.proto.types_pb2 import DT_STRING  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar import layout_pb2  # type: ignore[import-untyped]
from tensorboard.plugins.custom_scalar import metadata as layout_metadata
from tensorboard.plugins.hparams import summary_v2 as hparams  # type: ignore[import-untyped]
from tensorboard.plugins.text import metadata as text_metadata  # type: ignore[import-untyped]
from tensorboard.summary.writer.record_writer import RecordWriter  # type: ignore[import-untyped]

Setting = str | float | bool
Points = Iterable[tuple[int, Summary]]
"""Summaries, each with its step."""


def event_file(summaries: Points, *, wall_time: float) -> bytes:
    """Returns an event file with the summaries, each at its step, all at a time in seconds since 1970."""
    content = io.BytesIO()
    writer = RecordWriter(content)
    writer.write(Event(wall_time=wall_time, file_version="brain.Event:2").SerializeToString())
    for step, summary in summaries:
        writer.write(Event(wall_time=wall_time, step=step, summary=summary).SerializeToString())
    return content.getvalue()


def scalars(values: Mapping[str, float]) -> Summary:
    """Returns scalars by tag."""
    return Summary(value=[Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def text(tag: str, markdown: str) -> Summary:
    """Returns a text for the *Text* tab, which renders Markdown."""
    return _strings(tag, text_metadata.create_summary_metadata(display_name=tag, description=""), markdown.encode())


def band_charts(category: str, charts: Mapping[str, tuple[str, str, str]]) -> Summary:
    """Returns a layout for the *Custom scalars* tab: one margin chart for each title, of the tags middle, low, high.

    A chart shows every run that has the tags: arms overlay without any set-up.
    """
    layout = layout_pb2.Layout(
        category=[layout_pb2.Category(title=category, chart=[_chart(*chart) for chart in charts.items()])]
    )
    metadata = layout_metadata.create_summary_metadata()
    return _strings(layout_metadata.CONFIG_SUMMARY_TAG, metadata, layout.SerializeToString())


def experiment(settings: Sequence[str], metrics: Mapping[str, str], *, wall_time: float) -> Summary:
    """Returns the columns of the *HParams* tab: settings by name, metrics by tag with the name that is shown."""
    shown = [hparams.Metric(tag, display_name=name) for tag, name in metrics.items()]
    columns = [hparams.HParam(name) for name in settings]
    return _summary_of(hparams.hparams_config_pb(columns, shown, time_created_secs=wall_time))


def session(name: str, settings: Mapping[str, Setting], *, wall_time: float) -> Summary:
    """Returns one row of the *HParams* tab."""
    return _summary_of(hparams.hparams_pb(dict(settings), trial_id=name, start_time_secs=wall_time))


def _chart(title: str, tags: tuple[str, str, str]) -> layout_pb2.Chart:
    middle, low, high = tags
    series = layout_pb2.MarginChartContent.Series(value=middle, lower=low, upper=high)
    return layout_pb2.Chart(title=title, margin=layout_pb2.MarginChartContent(series=[series]))


def _strings(tag: str, metadata: SummaryMetadata, content: bytes) -> Summary:
    value = Summary.Value(
        tag=tag,
        # The plugins' messages and the compat protos are two builds of one message: copied by their bytes.
        metadata=SummaryMetadata.FromString(metadata.SerializeToString()),
        tensor=TensorProto(dtype=DT_STRING, string_val=[content]),
    )
    return Summary(value=[value])


def _summary_of(summary: Summary) -> Summary:
    return Summary.FromString(summary.SerializeToString())
