"""Draws the pictures of sweeps for papers and Markdown: PNG, SVG, PDF, in the style of the other figures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from rltransfer import files
from rltransfer.comparison import Arm, Cell, Comparison, EffectGrid, EffectLine, is_confirmed
from rltransfer.report import wording
from rltransfer.report.arm_styles import ON_LIGHT
from rltransfer.report.html.sweeps import effect, largest_effect
from rltransfer.report.paper import FORMATS, GREY, INK, RULE, Format, fitted, rendered
from rltransfer.report.scales import short

_EMPTY = "#f3f4f6"
_GOOD, _BAD = (0, 114, 178), (179, 65, 14)
_STRONGEST = 0.55


def save_sweep_figures(comparison: Comparison, folder: Path, formats: Sequence[Format] = FORMATS) -> tuple[Path, ...]:
    """Writes ``<folder>/<sweep>.<format>`` for each sweep and format, and returns the paths."""
    written = []
    for sweep in comparison.sweeps:
        for kind, content in draw_sweep(comparison, sweep, formats).items():
            written.append(Path(folder) / f"{sweep.name}.{kind}")
            files.write_bytes(written[-1], content)
    return tuple(written)


def draw_sweep(
    comparison: Comparison, sweep: EffectGrid | EffectLine, formats: Sequence[Format] = ("png",)
) -> dict[Format, bytes]:
    """Returns the picture of a sweep in each format; the same comparison gives the same bytes."""
    if isinstance(sweep, EffectGrid):
        return rendered(lambda: _grid(comparison, sweep), formats)
    return rendered(lambda: _line(comparison, sweep), formats)


def _grid(comparison: Comparison, sweep: EffectGrid) -> Figure:
    rows, columns = len(sweep.rows), len(sweep.columns)
    figure = Figure(figsize=(max(6.5, 2.6 + 1.35 * columns), 1.9 + 0.62 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    strongest = largest_effect(comparison, sweep)
    for row, (name, cells) in enumerate(zip(sweep.rows, sweep.cells, strict=True)):
        for column, cell in enumerate(cells):
            is_own = sweep.task is None and sweep.columns[column] == name
            _draw_cell(axes, comparison, cell, (column, row), strongest, is_own=is_own)
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_xticks(range(columns), [_plain(name) for name in sweep.columns], fontsize=9)
    axes.set_yticks(range(rows), [_plain(name) for name in sweep.rows], fontsize=9)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    axes.xaxis.set_label_position("top")
    axes.set_xlabel(sweep.column_title, fontsize=9, color=GREY)
    axes.set_ylabel(sweep.row_title, fontsize=9, color=GREY)
    _frame(figure, comparison, sweep)
    return figure


def _draw_cell(
    axes: Axes, comparison: Comparison, cell: Cell, at: tuple[int, int], strongest: float, *, is_own: bool
) -> None:
    estimate = effect(comparison, cell.arm)
    colour = _EMPTY if estimate is None else _mixed(estimate.value, strongest)
    patch = Rectangle((at[0] - 0.47, at[1] - 0.45), 0.94, 0.9, facecolor=colour, edgecolor=INK if is_own else "none")
    axes.add_patch(patch)
    if cell.arm is None or estimate is None:
        mean = None if cell.arm is None else cell.arm.scores[comparison.metric].mean
        text = wording.NOTHING if mean is None else wording.number(mean.value)
        axes.text(*at, text, ha="center", va="center", fontsize=10, color=GREY)
        return
    sign = wording.SIGNS[wording.verdict_word(cell.arm)]
    text = f"{sign} {wording.number(estimate.value, sign=True)}"
    axes.text(at[0], at[1] - 0.1, text, ha="center", va="center", fontsize=10, color=INK, fontweight="bold")
    ends = wording.estimate(estimate).partition(" ")[2]
    axes.text(at[0], at[1] + 0.25, ends, ha="center", va="center", fontsize=7.5, color=INK)


def _mixed(value: float, strongest: float) -> str:
    """Returns the colour of an effect: white for none, the stronger the larger it is."""
    share = _STRONGEST * min(1.0, abs(value) / strongest)
    full = _GOOD if value >= 0 else _BAD
    return "#" + "".join(f"{round(255 + share * (part - 255)):02x}" for part in full)


def _line(comparison: Comparison, sweep: EffectLine) -> Figure:
    figure = Figure(figsize=(8.0, 4.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.axhline(0.0, color=INK, linewidth=0.9, linestyle=":")
    for index, (name, points) in enumerate(sweep.points.items()):
        measured = [
            (steps, arm, estimate) for steps, arm in points if arm is not None and (estimate := effect(comparison, arm))
        ]
        colour = ON_LIGHT[1 + index % (len(ON_LIGHT) - 1)]
        steps = [at for at, _, _ in measured]
        banded = [
            (at, estimate.low, estimate.high)
            for at, _, estimate in measured
            if estimate.low is not None and estimate.high is not None
        ]
        if banded:
            at_steps, low, high = np.array(banded).T
            axes.fill_between(at_steps, low, high, color=colour, alpha=0.14, linewidth=0)
        axes.plot(
            steps, [estimate.value for _, _, estimate in measured], color=colour, linewidth=2.0, label=_plain(name)
        )
        for at, arm, estimate in measured:
            sign = wording.SIGNS[wording.verdict_word(arm)]
            axes.text(at, estimate.value, sign, color=colour, ha="center", va="center", fontsize=11)
    axes.set_xlim(left=0)
    axes.set_xlabel("steps that the source was trained for")
    axes.set_ylabel(f"{wording.metric_name(comparison)}, difference to {_plain(comparison.baseline)}")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    if sweep.points:
        axes.legend(frameon=False, fontsize=9, loc="best")
    _frame(figure, comparison, sweep)
    return figure


def _frame(figure: Figure, comparison: Comparison, sweep: EffectGrid | EffectLine) -> None:
    task = next((task.title for task in comparison.tasks if task.name == sweep.task), "")
    title = f"{sweep.title}: {task}" if task else sweep.title
    width = figure.get_figwidth() - 0.2
    figure.suptitle(fitted(title, width, 11, bold=True), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    note = (
        f"Difference in {wording.metric_name(comparison)} to {comparison.baseline}, 95 % interval. "
        "▲ positive, ▼ negative, ● inconclusive, △ candidate."
    )
    if any(arm is not None and is_confirmed(arm) for arm in _arms(sweep)):
        note += " Of confirmed arms: on fresh seeds."
    figure.supxlabel(fitted(note, width, 8), x=0.01, ha="left", fontsize=8, color=GREY)


def _arms(sweep: EffectGrid | EffectLine) -> list[Arm | None]:
    if isinstance(sweep, EffectGrid):
        return [cell.arm for row in sweep.cells for cell in row]
    return [arm for points in sweep.points.values() for _, arm in points]


def _plain(text: str) -> str:
    """Returns text without what matplotlib would read as mathematics."""
    return text.replace("$", r"\$")
