"""Turns a comparison into Markdown, figures and TensorBoard bands."""

from pathlib import Path

from rltransfer import files
from rltransfer.comparison import Comparison
from rltransfer.report import markdown
from rltransfer.report.figures import draw
from rltransfer.report.provenance import read_provenance
from rltransfer.report.sections import document
from rltransfer.report.tensorboard import write_aggregates
from rltransfer.report.terminal import print_comparison

__all__ = ["draw", "print_comparison", "write_aggregates", "write_report"]

FOLDER = "report"
REPORT = "report.md"


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Writes ``<folder>/report/report.md`` and returns its path; an earlier report in the folder is replaced.

    Also writes ``figures/<task>.png`` beside it, and TensorBoard aggregates at ``<folder>/aggregate/<task>/<arm>``.
    With the compared folder as ``folder``, ``tensorboard --logdir <folder>`` shows runs and aggregates together.
    """
    report = Path(folder) / FOLDER
    for task in comparison.tasks:
        files.write_bytes(report / markdown.FIGURES / f"{task.name}.png", draw(comparison, task))
    write_aggregates(comparison, Path(folder))
    path = report / REPORT
    files.write_text(path, markdown.render(document(comparison, read_provenance(comparison))))
    return path
