"""Turns a comparison into a page, Markdown, figures, tables for other tools, and TensorBoard bands."""

from pathlib import Path

from rltransfer import files
from rltransfer.comparison import Comparison
from rltransfer.report import exports, html, markdown
from rltransfer.report.exports import write_exports
from rltransfer.report.figures import draw, save_figures
from rltransfer.report.provenance import read_provenance
from rltransfer.report.sections import document
from rltransfer.report.sweep_figures import save_sweep_figures
from rltransfer.report.tensorboard import write_aggregates
from rltransfer.report.terminal import print_comparison

__all__ = ["draw", "print_comparison", "save_figures", "write_aggregates", "write_exports", "write_report"]

FOLDER = "report"
REPORT = "report.md"
PAGE = "report.html"


def write_report(comparison: Comparison, folder: Path) -> Path:
    """Writes ``<folder>/report/report.html`` and returns its path; an earlier report in the folder is replaced.

    Beside it the same as ``report.md``, ``figures/<task>.png`` and one figure for each sweep (``.svg``, ``.pdf``),
    ``data/`` for other tools; and TensorBoard runs at ``<folder>/aggregate`` and ``<folder>/hparams``. With the
    compared folder as ``folder``, ``tensorboard --logdir <folder>`` shows runs and aggregates together.
    """
    report = Path(folder) / FOLDER
    provenance = read_provenance(comparison)
    blocks = document(comparison, provenance)
    write_exports(comparison, report / exports.FOLDER)
    save_figures(comparison, report / markdown.FIGURES)
    save_sweep_figures(comparison, report / markdown.FIGURES)
    write_aggregates(comparison, provenance, Path(folder))
    files.write_text(report / REPORT, markdown.render(blocks))
    files.write_text(report / PAGE, html.render(comparison, blocks))
    return report / PAGE
