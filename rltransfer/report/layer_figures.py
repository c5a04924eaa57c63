"""Draws what the layers of one task's arms represented, for papers and Markdown."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rltransfer.comparison import TaskComparison
from rltransfer.report.arm_styles import looks
from rltransfer.report.paper import GREY, INK, RULE, Format, fitted, line_style, plain, rendered, text_width, tidy
from rltransfer.report.scales import short
from rltransfer.report.sections.layers import (
    LEAST_TOP,
    MEASURES,
    ending,
    has_many_layers,
    layer_names,
    layers_at_the_end,
    layers_over_time,
)

_ROW_INCHES = 1.45
_COLUMN_INCHES = 1.75
_MARGIN_INCHES = 1.4
_TITLE = 8.5
_TICK = 7.5
# The panel of all layers, where there are too many for a panel each.
_DEPTH_COLUMNS = 2.4
_DEPTH_INCHES = 3.8
_NAME_INCHES = 1.5
_NAME = 6.5
_LINE_INCHES = 0.115


def draw_layers(task: TaskComparison, formats: Sequence[Format] = ("png",)) -> dict[Format, bytes]:
    """Returns the figure of what the layers represented: a row for each measure, a column for each layer over training.

    Of many layers a first column has all of them where training ends, and a few are drawn over training.
    """
    return rendered(lambda: layers_figure(task), formats)


def layers_figure(task: TaskComparison) -> Figure:
    """Returns that figure, to be saved."""
    names, is_many = layers_over_time(task), has_many_layers(task)
    shown = [arm.name for arm in task.arms if arm.layers is not None]
    first = _DEPTH_COLUMNS if is_many else 0.0
    width = max(6.0, _MARGIN_INCHES + _COLUMN_INCHES * (len(names) + first))
    columns = max(1, min(5, int((width - 0.3) / (0.6 + max(text_width(name, 8) for name in shown)))))
    below = _NAME_INCHES if is_many else 0.0
    height = _ROW_INCHES * len(MEASURES) + 0.7 + 0.2 * math.ceil(len(shown) / columns) + below
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    ratios = [*([first] if is_many else []), *(1 for _ in names)]
    grid = figure.subplots(len(MEASURES), len(ratios), sharex="col", sharey="row", squeeze=False, width_ratios=ratios)
    for row, measure in enumerate(MEASURES):
        _draw_row(task, measure, grid[row], names, is_first=row == 0)
    if is_many:
        _name_layers(grid[-1, 0], layer_names(task))
        for axes in grid[-1, 1:]:
            axes.set_xlabel("training steps", fontsize=_TICK, color=GREY)
    lines = {line.get_label(): line for axes in grid.flat for line in axes.get_lines()}
    arms = [plain(arm.name) for arm in task.arms if plain(arm.name) in lines]
    figure.legend(
        [lines[name] for name in arms], arms, loc="outside lower left", ncols=columns, fontsize=8, frameon=False
    )
    figure.suptitle(plain(task.title), x=0.01, ha="left", fontsize=11, fontweight="bold", color=INK)
    return figure


def _draw_row(task: TaskComparison, measure: str, row: Sequence[Axes], names: Sequence[str], *, is_first: bool) -> None:
    everything = layer_names(task)
    over_time = row[-len(names) :]
    if len(row) > len(names):
        _draw_over_depth(row[0], task, measure, [everything.index(name) + 1 for name in names])
        if is_first:
            row[0].set_title(f"all {len(everything)} layers at the end", fontsize=_TITLE, loc="left", color=INK)
    for axes, name in zip(over_time, names, strict=True):
        _draw_over_time(axes, task, measure, name)
        if is_first:
            title = _on_lines(name)
            if len(row) > len(names):
                title = f"{everything.index(name) + 1}  {ending(name, _fits(_COLUMN_INCHES - 0.4, _TITLE))}"
            axes.set_title(title, fontsize=_TITLE, loc="left", color=INK)
    row[0].set_ylim(0, max(row[0].get_ylim()[1], 1.05 * LEAST_TOP.get(measure, 0.0)))
    row[0].set_ylabel(fitted(MEASURES[measure], _ROW_INCHES - 0.15, 8), fontsize=8)


def _draw_over_time(axes: Axes, task: TaskComparison, measure: str, name: str) -> None:
    for arm in reversed(task.arms):
        if arm.layers is not None and name in arm.layers.names:
            values = arm.layers.measures[measure][:, arm.layers.names.index(name)]
            _draw_line(axes, task, arm.name, task.grid_steps, values)
    tidy(axes)
    axes.tick_params(labelsize=_TICK)
    axes.xaxis.set_major_locator(MaxNLocator(2))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def _draw_over_depth(axes: Axes, task: TaskComparison, measure: str, marked: Sequence[int]) -> None:
    names = layer_names(task)
    at = np.arange(1, len(names) + 1)
    for number in marked:
        axes.axvline(number, color=RULE, linewidth=0.9, zorder=0)
    for arm in reversed(task.arms):
        if arm.layers is not None:
            # A layer between two that the arm lacks has no line.
            _draw_line(axes, task, arm.name, at, layers_at_the_end(arm, names, measure), marker="o")
    tidy(axes)
    axes.tick_params(labelsize=_TICK)
    axes.set_xlim(0.4, len(names) + 0.6)


def _draw_line(
    axes: Axes, task: TaskComparison, arm: str, at: np.ndarray, values: np.ndarray, *, marker: str | None = None
) -> None:
    look = looks(task)[arm]
    axes.plot(
        at,
        values,
        color=look.on_light,
        linestyle=line_style(look),
        linewidth=1.4,
        marker=marker,
        markersize=2.6,
        label=plain(arm),
    )


def _name_layers(axes: Axes, names: Sequence[str]) -> None:
    """Writes numbers and names below the layers; of more than there is room for, every second, third, ..."""
    step = math.ceil(len(names) * _LINE_INCHES / _DEPTH_INCHES)
    named = range(0, len(names), step)
    labels = [f"{ending(names[index], _fits(_NAME_INCHES - 0.3, _NAME))}  {index + 1}" for index in named]
    axes.set_xticks([index + 1 for index in named], labels, rotation=90, fontsize=_NAME, color=GREY)


def _fits(width_inches: float, size: float) -> Callable[[str], bool]:
    return lambda text: text_width(text, size) <= width_inches


def _on_lines(name: str) -> str:
    """Returns a layer's name on lines that are broken behind dots where there is one."""
    if _fits(_COLUMN_INCHES - 0.05, _TITLE)(name):
        return plain(name)
    return fitted(name.replace(".", ". "), _COLUMN_INCHES - 0.15, _TITLE).replace(". ", ".")
