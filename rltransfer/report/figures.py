"""Draws the learning curves and the per-seed scores of one task as a PNG."""

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.report import words

# Okabe & Ito's palette without its yellow, which is not seen on white; told apart with any colour vision.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_BASELINE = "#222222"
_GREY = "#6b6b6b"
_THIN_LINES_UP_TO = 5
_LABEL_WIDTH = 26
_Style = dict[str, Any]


def draw(comparison: Comparison, task: TaskComparison) -> bytes:
    """Returns a PNG: IQM curves with bands on the left, one dot per seed with mean and interval on the right."""
    height = max(4.0, 2.2 + 0.42 * len(task.arms))
    figure = Figure(figsize=(11.5, height), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    curves, strips = figure.subplots(1, 2, width_ratios=(1.75, 1))
    styles = _styles(task)
    _draw_curves(curves, comparison, task, styles)
    _label_ends(curves, task, styles, gap=0.3 / height)
    _draw_strips(strips, comparison, task, styles)
    figure.suptitle(task.title, x=0.01, ha="left", fontsize=12, fontweight="bold", color=_BASELINE)
    figure.supxlabel(_footnote(task), x=0.01, ha="left", fontsize=8, color=_GREY)
    content = io.BytesIO()
    canvas.print_figure(content, format="png", dpi=160, metadata={"Software": None})
    return content.getvalue()


def _styles(task: TaskComparison) -> dict[str, _Style]:
    """Returns colour and dashes of each arm: a control has the colour of its arm, dashed, so that pairs are seen."""
    styles: dict[str, _Style] = {}
    fresh = 0
    for arm in task.arms:
        if arm.kind == "baseline":
            colour = _BASELINE
        elif arm.control_of in styles:
            colour = styles[str(arm.control_of)]["color"]
        else:
            colour = _COLOURS[fresh % len(_COLOURS)]
            fresh += 1
        dashes = "-" if fresh <= len(_COLOURS) else "-."
        styles[arm.name] = {"color": colour, "linestyle": (0, (3.5, 1.8)) if arm.kind == "control" else dashes}
    return styles


def _draw_curves(axes: Axes, comparison: Comparison, task: TaskComparison, styles: dict[str, _Style]) -> None:
    for arm in reversed(task.arms):
        style = styles[arm.name]
        if arm.band.low is not None and arm.band.high is not None:
            axes.fill_between(
                task.grid_steps,
                arm.band.low,
                arm.band.high,
                color=style["color"],
                alpha=0.07 if arm.kind == "control" else 0.14,
                linewidth=0,
            )
            if len(arm.runs) <= _THIN_LINES_UP_TO:
                for run in arm.runs:
                    axes.plot(task.grid_steps, run.curve, linewidth=0.5, alpha=0.3, **style)
        axes.plot(task.grid_steps, arm.band.middle, linewidth=2.2, **style)
    is_success = comparison.metric == "success_auc"
    if task.threshold is not None and not is_success:
        axes.axhline(task.threshold, color=_GREY, linewidth=0.8, linestyle=":")
        axes.annotate(
            f"threshold {task.threshold:g}",
            (0, task.threshold),
            (3, 3),
            textcoords="offset points",
            fontsize=8,
            color=_GREY,
        )
    axes.set_xlim(0, task.settings.n_timesteps)
    axes.set_xlabel("training steps in the target task")
    axes.set_ylabel("success rate" if is_success else "mean return of an evaluation")
    axes.set_title(_curve_title(task), loc="left", fontsize=9.5, color=_GREY)
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    _plain(axes)


def _label_ends(axes: Axes, task: TaskComparison, styles: dict[str, _Style], *, gap: float) -> None:
    """Writes each arm's name beside the end of its curve, pushed apart where curves end together.

    ``gap`` is the height of a label as a share of the axes.
    """
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    gap *= high - low
    ends = {arm.name: float(arm.band.middle[-1]) for arm in task.arms if np.isfinite(arm.band.middle[-1])}
    arms = sorted((arm for arm in task.arms if arm.name in ends), key=lambda arm: ends[arm.name])
    heights = spread([ends[arm.name] for arm in arms], gap, low + gap / 2, high - gap / 2)
    for arm, height in zip(arms, heights, strict=True):
        colour = styles[arm.name]["color"]
        axes.annotate(
            _wrapped(arm.name),
            xy=(1.0, ends[arm.name]),
            xytext=(1.035, height),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            fontsize=9,
            color=colour,
            fontweight="bold" if arm.kind != "control" else "normal",
            fontstyle="italic" if arm.kind == "control" else "normal",
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "alpha": 0.6, "shrinkA": 1, "shrinkB": 0},
        )


def spread(heights: list[float], gap: float, low: float, high: float) -> list[float]:
    """Returns ascending heights moved as little as a simple sweep does, so that neighbours are ``gap`` apart.

    >>> spread([1.0, 1.0, 5.0], gap=1.0, low=0.0, high=5.0)
    [1.0, 2.0, 5.0]
    >>> spread([5.0, 5.0], gap=1.0, low=0.0, high=5.0)
    [4.0, 5.0]
    """
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, low, moved[-1] + gap if moved else low))
    ceiling = high
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved


def _draw_strips(axes: Axes, comparison: Comparison, task: TaskComparison, styles: dict[str, _Style]) -> None:
    for row, arm in enumerate(task.arms):
        _draw_strip(axes, row, arm, comparison.metric, styles[arm.name]["color"])
        mean = arm.scores[comparison.metric].mean
        if arm.kind == "baseline" and mean is not None:
            axes.axvline(mean.value, color=_BASELINE, linewidth=0.8, linestyle=":", zorder=0)
    axes.set_yticks(range(len(task.arms)), [_wrapped(arm.name) for arm in task.arms], fontsize=9)
    for label, arm in zip(axes.get_yticklabels(), task.arms, strict=True):
        label.set_color(styles[arm.name]["color"])
        label.set_fontstyle("italic" if arm.kind == "control" else "normal")
    axes.set_ylim(len(task.arms) - 0.4, -0.6)
    axes.set_xlabel(words.metric_name(comparison))
    several = any(len(arm.runs) > 1 for arm in task.arms)
    axes.set_title(
        "each seed; mean and 95 % interval" if several else "the one seed", loc="left", fontsize=9.5, color=_GREY
    )
    axes.tick_params(axis="y", length=0)
    _plain(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color="#e6e6e6", linewidth=0.7)


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


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def _curve_title(task: TaskComparison) -> str:
    most = max(len(arm.runs) for arm in task.arms)
    if most == 1:
        return "one seed per arm: no band"
    thin = "; thin: each seed" if most <= _THIN_LINES_UP_TO else ""
    return f"interquartile mean over seeds, 95 % bootstrap band{thin}"


def _footnote(task: TaskComparison) -> str:
    """Says what the horizontal axis leaves out."""
    known = [arm.steps.source_steps for arm in task.arms if arm.steps.source_steps]
    unknown = any(arm.steps.source_steps is None for arm in task.arms)
    parts = ["Dashed, italic, hollow: controls, in the colour of their arm."] if _has_controls(task) else []
    if known:
        low, high = (f"{round(steps):,}" for steps in (min(known), max(known)))
        count = low if low == high else f"{low} to {high}"
        parts.append(f"Not on the axis: {count} steps per seed that trained the source.")
    elif unknown:
        parts.append("Not on the axis: the steps that trained the source (not recorded).")
    return "  ".join(parts)


def _has_controls(task: TaskComparison) -> bool:
    return any(arm.kind == "control" for arm in task.arms)


def _wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, _LABEL_WIDTH, break_on_hyphens=False)) or name


def _thousands(value: float, _position: int) -> str:
    if abs(value) >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if abs(value) >= 1e3 else f"{value:g}"
