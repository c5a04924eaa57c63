"""Draws the learning curves and the per-seed scores of one task for papers and Markdown: PNG, SVG, PDF, one style.

Up to six arms share one panel. More of them, and each (with its control) has a panel of its own beside the baseline's
curve: ten bands in one panel hide one another.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rltransfer import files
from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.comparison.names import ACROSS, LAYERS, PROFILES
from rltransfer.metrics import Undefined
from rltransfer.report import wording
from rltransfer.report.arm_styles import Look, looks
from rltransfer.report.layer_figures import draw_layers
from rltransfer.report.paper import (
    FORMATS,
    GREY,
    INK,
    RULE,
    Format,
    fitted,
    line_style,
    plain,
    rendered,
    tidy,
    wrapped,
)
from rltransfer.report.profile_figures import draw_across, draw_profiles
from rltransfer.report.scales import short, spread
from rltransfer.report.sections.layers import layer_names

_CLEAR = 5
_THIN_LINES_UP_TO = 5
_ONE_PANEL_UP_TO = 6
_PANELS_WIDTH = 5.1
_PANEL_TITLE = 8.5
_LINES_OF_NAMES = 2


def save_figures(comparison: Comparison, folder: Path, formats: Sequence[Format] = FORMATS) -> tuple[Path, ...]:
    """Writes the figures of each task and of all tasks together in each format, and returns the paths.

    They are ``<task>.<format>``, ``<task>_profiles.<format>`` where an arm has several runs, ``<task>_layers.<format>``
    where runs recorded their layers, and ``across_tasks.<format>`` where arms share several tasks.
    """
    figures: dict[str, dict[Format, bytes]] = {}
    for task in comparison.tasks:
        figures[task.name] = draw(comparison, task, formats)
        figures[f"{task.name}{PROFILES}"] = draw_profiles(comparison, task, formats)
        if layer_names(task):
            figures[f"{task.name}{LAYERS}"] = draw_layers(task, formats)
    figures[ACROSS] = draw_across(comparison, formats)
    written = []
    for name, drawn in figures.items():
        for kind, content in drawn.items():
            written.append(Path(folder) / f"{name}.{kind}")
            files.write_bytes(written[-1], content)
    return tuple(written)


def draw(comparison: Comparison, task: TaskComparison, formats: Sequence[Format] = ("png",)) -> dict[Format, bytes]:
    """Returns the figure in each format: IQM curves with bands; one dot per seed with mean and interval.

    The same comparison gives the same bytes with the same matplotlib.
    """
    return rendered(lambda: _figure(comparison, task), formats)


def _figure(comparison: Comparison, task: TaskComparison) -> Figure:
    styles = looks(task)
    panels = _panels(task)
    columns = _columns(panels)
    rows = math.ceil(len(panels) / columns)
    titles = sum(_panel_title(arms, columns).count("\n") for arms in panels) if len(panels) > 1 else 0
    height = max(4.0, 2.2 + 0.42 * len(task.arms), 0.9 + 2.05 * rows + 0.14 * titles if len(panels) > 1 else 0.0)
    figure = Figure(figsize=(11.5, height), layout="constrained")
    FigureCanvasAgg(figure)
    outer = figure.add_gridspec(1, 2, width_ratios=(1.75, 1))
    if len(panels) == 1:
        axes = figure.add_subplot(outer[0])
        _draw_curves(axes, comparison, task, task.arms, styles)
        axes.set_title(_curve_title(task), loc="left", fontsize=9.5, color=GREY)
        axes.set_xlabel("training steps in the target task")
        _label_ends(axes, task, styles, gap=0.3 / height)
    else:
        _draw_panels(figure, outer[0], comparison, task, panels)
    _draw_strips(figure.add_subplot(outer[1]), comparison, task, styles)
    figure.suptitle(plain(task.title), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    figure.supxlabel(_footnote(task), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _panels(task: TaskComparison) -> list[tuple[Arm, ...]]:
    """Returns which arms share a panel: all, or each with its control and the baseline where there are many."""
    if len(task.arms) <= _ONE_PANEL_UP_TO:
        return [task.arms]
    base = tuple(arm for arm in task.arms if arm.kind == "baseline")
    leaders = [arm for arm in task.arms if arm.kind != "baseline" and arm.control_of is None]
    return [
        (*base, leader, *(arm for arm in task.arms if arm.kind == "control" and arm.control_of == leader.name))
        for leader in leaders
    ]


def _columns(panels: Sequence[tuple[Arm, ...]]) -> int:
    return 3 if len(panels) > 4 else 2


def _panel_title(arms: Sequence[Arm], columns: int) -> str:
    """Returns the name of a panel's arm on lines that end before the next panel."""
    leader, *controls = (arm.name for arm in arms if arm.kind != "baseline")
    its = "its control" if len(controls) == 1 else "its controls"
    titles = [
        fitted(" / ".join(names), _PANELS_WIDTH / columns, _PANEL_TITLE, bold=True)
        for names in ((leader, *controls), (leader, its) if controls else (leader,))
    ]
    return next((title for title in titles if title.count("\n") < _LINES_OF_NAMES), titles[-1])


def _draw_panels(
    figure: Figure, place: SubplotSpec, comparison: Comparison, task: TaskComparison, panels: Sequence[tuple[Arm, ...]]
) -> None:
    styles = looks(task)
    columns = _columns(panels)
    grid = place.subgridspec(math.ceil(len(panels) / columns), columns)
    first: Axes | None = None
    for index, arms in enumerate(panels):
        axes = figure.add_subplot(grid[index // columns, index % columns], sharex=first, sharey=first)
        first = first or axes
        _draw_curves(axes, comparison, task, arms, styles)
        leader = next(arm for arm in arms if arm.kind != "baseline")
        title = _panel_title(arms, columns)
        axes.set_title(title, loc="left", fontsize=_PANEL_TITLE, color=styles[leader.name].on_light, fontweight="bold")
        axes.tick_params(labelsize=8, labelleft=index % columns == 0, labelbottom=index + columns >= len(panels))
        axes.set_ylabel(axes.get_ylabel() if index == 0 else "", fontsize=8.5)
        axes.xaxis.set_major_locator(MaxNLocator(3))


def _draw_curves(
    axes: Axes, comparison: Comparison, task: TaskComparison, arms: Sequence[Arm], styles: dict[str, Look]
) -> None:
    for arm in reversed(arms):
        _draw_curve(axes, task, arm, styles[arm.name], arms=len(arms))
    is_success = comparison.metric == "success_auc"
    for level in () if is_success else task.thresholds:
        axes.axhline(level, color=GREY, linewidth=0.8, linestyle=":")
        text = f"threshold {level:.4g}"
        axes.annotate(text, (0, level), (3, 3), textcoords="offset points", fontsize=8, color=GREY)
    axes.set_xlim(0, task.settings.n_timesteps)
    axes.set_ylabel("success rate" if is_success else "mean return of an evaluation")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    tidy(axes)


def _draw_curve(axes: Axes, task: TaskComparison, arm: Arm, look: Look, *, arms: int) -> None:
    """Draws one of several curves; the more there are, the fainter are their bands."""
    style: dict[str, Any] = {"color": look.on_light, "linestyle": line_style(look)}
    if arm.band.low is not None and arm.band.high is not None:
        shade = (0.07 if look.is_control else 0.14) / max(1.0, arms / _CLEAR)
        axes.fill_between(task.grid_steps, arm.band.low, arm.band.high, color=look.on_light, alpha=shade, linewidth=0)
        if len(arm.runs) <= _THIN_LINES_UP_TO:
            for run in arm.runs:
                axes.plot(task.grid_steps, run.curve, linewidth=0.5, alpha=0.3, **style)
    axes.plot(task.grid_steps, arm.band.middle, linewidth=2.2, **style)


def _label_ends(axes: Axes, task: TaskComparison, styles: dict[str, Look], *, gap: float) -> None:
    """Writes each arm's name beside the end of its curve, pushed apart where curves end together.

    ``gap`` is the height of a label as a share of the axes. A thread ends at the left edge of its name, so that it
    never crosses another name.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap *= high - low
    ends = {arm.name: float(arm.band.middle[-1]) for arm in task.arms if np.isfinite(arm.band.middle[-1])}
    arms = sorted((arm for arm in task.arms if arm.name in ends), key=lambda arm: ends[arm.name])
    heights = spread([ends[arm.name] for arm in arms], gap, low + gap / 2, high - gap / 2)
    for arm, height in zip(arms, heights, strict=True):
        colour = styles[arm.name].on_light
        axes.annotate(
            wrapped(arm.name),
            xy=(1.0, ends[arm.name]),
            xytext=(1.045, height),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            fontweight="bold" if arm.kind != "control" else "normal",
            fontstyle="italic" if arm.kind == "control" else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.7,
                "alpha": 0.6,
                "relpos": (0.0, 0.5),
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )


def _draw_strips(axes: Axes, comparison: Comparison, task: TaskComparison, styles: dict[str, Look]) -> None:
    for row, arm in enumerate(task.arms):
        _draw_strip(axes, row, arm, comparison.metric, styles[arm.name].on_light)
        mean = arm.scores[comparison.metric].mean
        if arm.kind == "baseline" and mean is not None:
            axes.axvline(mean.value, color=INK, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_yticks(range(len(task.arms)), [wrapped(arm.name) for arm in task.arms], fontsize=9)
    for label, arm in zip(axes.get_yticklabels(), task.arms, strict=True):
        label.set_color(styles[arm.name].on_light)
        label.set_fontstyle("italic" if arm.kind == "control" else "normal")
    axes.set_ylim(len(task.arms) - 0.4, -0.6)
    axes.set_xlabel(wording.metric_name(comparison))
    several = any(len(arm.runs) > 1 for arm in task.arms)
    title = "each seed; mean and 95 % interval" if several else "the one seed"
    axes.set_title(title, loc="left", fontsize=9.5, color=GREY)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    tidy(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.7)


def _draw_strip(axes: Axes, row: int, arm: Arm, metric: str, colour: str) -> None:
    face = "white" if arm.kind == "control" else colour
    scores = [score for run in arm.runs if not isinstance(score := run.scores[metric], Undefined)]
    offsets = np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else np.zeros(len(scores))
    axes.scatter(scores, row + offsets, s=22, facecolor=face, edgecolor=colour, linewidth=0.9, alpha=0.75)
    mean = arm.scores[metric].mean
    if mean is None or mean.low is None or mean.high is None:
        return
    axes.plot([mean.low, mean.high], [row + 0.28, row + 0.28], color=colour, linewidth=1.6)
    axes.plot([mean.value], [row + 0.28], marker="D", markersize=5.5, color=colour, markerfacecolor=face)


def _curve_title(task: TaskComparison) -> str:
    most = max(len(arm.runs) for arm in task.arms)
    if most == 1:
        return "one seed per arm: no band"
    thin = "; thin: each seed" if most <= _THIN_LINES_UP_TO else ""
    return f"interquartile mean over seeds, 95 % bootstrap band{thin}"


def _footnote(task: TaskComparison) -> str:
    """Says how to read the lines, and what the horizontal axis leaves out."""
    panels = len(_panels(task)) > 1
    parts = [f"Each panel: {_curve_title(task)}; black: {task.baseline}; steps in the target task."] if panels else []
    if any(arm.kind == "control" for arm in task.arms):
        parts.append("Dashed, italic, hollow: controls, in the colour of their arm.")
    left_out = wording.steps_left_out(task)
    if left_out:
        parts.append(f"{left_out[0].upper()}{left_out[1:]}.")
    return "\n".join(["  ".join(parts[:1]), "  ".join(parts[1:])]).strip() if panels else "  ".join(parts)
