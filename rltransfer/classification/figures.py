"""Draws a classification: accuracies over epochs and seeds, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rltransfer.classification.results import BASELINE, ArmResult, Classification
from rltransfer.report.arm_styles import ON_LIGHT
from rltransfer.report.paper import GREY, INK, RULE, Format, plain, rendered, tidy, wrapped

_NUMBERED = 20


def draw_accuracies(result: Classification, formats: Sequence[Format]) -> dict[Format, bytes]:
    """Returns the test accuracy of each arm over epochs, and of each seed at the end."""
    return rendered(lambda: _accuracies(result), formats)


def draw_confusion(result: Classification, formats: Sequence[Format]) -> dict[Format, bytes]:
    """Returns the confusion matrix of the network, in shares of each true class."""
    return rendered(lambda: _confusion(result), formats)


def _accuracies(result: Classification) -> Figure:
    figure = Figure(figsize=(11.5, max(3.8, 1.8 + 0.45 * len(result.arms))), layout="constrained")
    FigureCanvasAgg(figure)
    curves, ends = figure.subplots(1, 2, width_ratios=(1.6, 1))
    colours = _colours(result)
    for arm in reversed(result.arms):
        values = np.array([fit.test_accuracy for fit in arm.fits])
        epochs = np.arange(1, values.shape[1] + 1)
        dashes = "-" if arm is result.arms[0] or arm.name == BASELINE else "--"
        curves.plot(epochs, values.mean(axis=0), dashes, color=colours[arm.name], linewidth=1.8, label=plain(arm.name))
        curves.fill_between(
            epochs, values.min(axis=0), values.max(axis=0), color=colours[arm.name], alpha=0.12, linewidth=0
        )
    curves.set_xlabel("epoch")
    curves.set_ylabel("test accuracy")
    curves.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    band = "; band: lowest to highest" if result.settings.seeds > 1 else ""
    curves.set_title(f"mean over seeds{band}" if band else "one seed", loc="left", fontsize=9.5, color=GREY)
    handles, labels = curves.get_legend_handles_labels()
    curves.legend(handles[::-1], labels[::-1], fontsize=8.5, frameon=False, loc="best")
    tidy(curves)
    for row, arm in enumerate(result.arms):
        _draw_end(ends, row, arm, colours[arm.name])
    ends.axvline(1 / len(result.classes), color=GREY, linewidth=0.8, linestyle=":", zorder=0)
    ends.set_yticks(range(len(result.arms)), [wrapped(arm.name) for arm in result.arms], fontsize=9)
    ends.set_ylim(len(result.arms) - 0.4, -0.6)
    ends.set_xlabel("test accuracy after the last epoch (dotted: chance)")
    ends.set_title("each seed; mean and 95 % interval", loc="left", fontsize=9.5, color=GREY)
    tidy(ends)
    ends.tick_params(axis="y", length=0)
    ends.grid(axis="y", visible=False)
    ends.grid(axis="x", color=RULE, linewidth=0.7)
    return figure


def _draw_end(axes: Axes, row: int, arm: ArmResult, colour: str) -> None:
    scores = arm.hits.mean(axis=1)
    offsets = np.linspace(-0.12, 0.12, len(scores)) if len(scores) > 1 else np.zeros(1)
    axes.scatter(scores, row + offsets, s=22, color=colour, alpha=0.75, linewidth=0)
    accuracy = arm.accuracy
    assert accuracy.low is not None
    assert accuracy.high is not None
    axes.plot([accuracy.low, accuracy.high], [row + 0.28] * 2, color=colour, linewidth=1.6)
    axes.plot([accuracy.value], [row + 0.28], marker="D", markersize=5.5, color=colour)


def _colours(result: Classification) -> dict[str, str]:
    """Returns the colour of each arm: that of the baseline is the palette's first, as in all reports."""
    others = [arm.name for arm in result.arms if arm.name != BASELINE]
    return {BASELINE: ON_LIGHT[0]} | dict(zip(others, ON_LIGHT[1:], strict=False))


def _confusion(result: Classification) -> Figure:
    counts = result.confusion()
    shares = counts / counts.sum(axis=1, keepdims=True)
    n_classes = len(counts)
    side = min(12.0, max(3.6, 2.2 + 0.45 * n_classes))
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    # Names that do not fit are in the table of predictions.
    step = -(-n_classes // 60)
    ticks = range(0, n_classes, step)
    names = [plain(result.classes[tick]) for tick in ticks]
    axes.set_xticks(ticks, names, rotation=45 if n_classes > 4 else 0, ha="right" if n_classes > 4 else "center")
    axes.set_yticks(ticks, names)
    axes.tick_params(labelsize=9 if n_classes <= _NUMBERED else 6, length=0)
    axes.set_xlabel("predicted class", color=INK)
    axes.set_ylabel("true class", color=INK)
    axes.spines[:].set_visible(False)
    if n_classes <= _NUMBERED:
        for row in range(n_classes):
            for column in range(n_classes):
                colour = "white" if shares[row, column] > 0.55 else INK
                axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=colour, fontsize=9)
    return figure
