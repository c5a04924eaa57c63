"""Draws performance profiles for papers and Markdown: of one task, and of all tasks with their aggregates."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from rltransfer.comparison import Comparison, TaskComparison
from rltransfer.report import wording
from rltransfer.report.arm_styles import Look, looks, looks_across
from rltransfer.report.paper import FORMATS, GREY, INK, RULE, Format, line_style, plain, rendered, tidy, wrapped
from rltransfer.stats import Estimate, Profile

_WIDTH = 11.5
_CLEAR = 5


def has_profiles(task: TaskComparison) -> bool:
    """Returns whether an arm has a profile with a band: with single runs there is nothing to draw."""
    return any(arm.profile is not None and arm.profile.low is not None for arm in task.arms)


def draw_profiles(
    comparison: Comparison, task: TaskComparison, formats: Sequence[Format] = FORMATS
) -> dict[Format, bytes]:
    """Returns the profiles of a task in each format; nothing where no arm has several runs."""
    if not has_profiles(task):
        return {}
    return rendered(lambda: _of_task(comparison, task), formats)


def draw_across(comparison: Comparison, formats: Sequence[Format] = FORMATS) -> dict[Format, bytes]:
    """Returns the IQM, optimality gap and profiles of the arms over all tasks; nothing where there are none."""
    if not comparison.across:
        return {}
    return rendered(lambda: _of_all_tasks(comparison), formats)


def _of_task(comparison: Comparison, task: TaskComparison) -> Figure:
    profiles = {arm.name: arm.profile for arm in task.arms if arm.profile is not None}
    figure = Figure(figsize=(_WIDTH, max(3.8, 0.9 + _key_height(profiles))), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _draw(axes, profiles, looks(task))
    axes.set_xlabel(wording.metric_name(comparison))
    figure.suptitle(plain(task.title), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def _of_all_tasks(comparison: Comparison) -> Figure:
    styles, arms = looks_across(comparison), comparison.across
    height = max(4.0, 2.0 + 0.35 * len(arms), 0.9 + _key_height(arm.name for arm in arms))
    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    FigureCanvasAgg(figure)
    places = figure.add_gridspec(1, 3, width_ratios=(1, 1, 2))
    for column, (title, estimates) in enumerate(
        {
            "interquartile mean": [arm.iqm for arm in arms],
            "optimality gap (less is better)": [arm.optimality_gap for arm in arms],
        }.items()
    ):
        axes = figure.add_subplot(places[column])
        _draw_estimates(axes, [arm.name for arm in arms], estimates, styles, named=column == 0)
        axes.set_title(title, loc="left", fontsize=9.5, color=GREY)
        axes.set_xlabel("normalised score")
    axes = figure.add_subplot(places[2])
    _draw(axes, {arm.name: arm.profile for arm in arms}, styles)
    axes.set_xlabel("normalised score")
    title = f"{wording.metric_name(comparison)} over {len(arms[0].tasks)} tasks"
    figure.suptitle(plain(title), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK)
    return figure


def _draw(axes: Axes, profiles: Mapping[str, Profile], styles: Mapping[str, Look]) -> None:
    handles = []
    shade = 0.07 / max(1.0, len(profiles) / _CLEAR)
    for name, profile in list(profiles.items())[::-1]:
        look = styles[name]
        xs = np.concatenate([profile.at, profile.at[-1:] + 0.02 * (profile.at[-1] - profile.at[0])])
        if profile.low is not None and profile.high is not None:
            low, high = (np.append(band, band[-1]) for band in (profile.low, profile.high))
            axes.fill_between(xs, low, high, step="post", color=look.on_light, alpha=shade, linewidth=0)
        share = np.append(profile.share, profile.share[-1])
        handles += axes.step(xs, share, where="post", color=look.on_light, linestyle=line_style(look), linewidth=2)
    axes.legend(
        handles[::-1],
        [wrapped(name) for name in profiles],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        fontsize=9,
        frameon=False,
    )
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of runs above the score")
    axes.set_title("performance profiles, pointwise 95 % bands", loc="left", fontsize=9.5, color=GREY)
    axes.margins(x=0)
    tidy(axes)


def _key_height(names: Iterable[str]) -> float:
    """Returns the height of the key in inches, which stands beside the curves."""
    return sum(0.07 + 0.155 * (1 + wrapped(name).count("\n")) for name in names)


def _draw_estimates(
    axes: Axes, names: Sequence[str], estimates: Sequence[Estimate], styles: Mapping[str, Look], *, named: bool
) -> None:
    for row, (name, estimate) in enumerate(zip(names, estimates, strict=True)):
        look = styles[name]
        face = "white" if look.is_control else look.on_light
        if estimate.low is not None and estimate.high is not None:
            axes.plot([estimate.low, estimate.high], [row, row], color=look.on_light, linewidth=1.8)
        axes.plot([estimate.value], [row], marker="D", markersize=6, color=look.on_light, markerfacecolor=face)
    axes.set_yticks(range(len(names)), [wrapped(name) if named else "" for name in names], fontsize=9)
    for label, name in zip(axes.get_yticklabels(), names, strict=True):
        label.set_color(styles[name].on_light)
        label.set_fontstyle("italic" if styles[name].is_control else "normal")
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    tidy(axes)
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=RULE, linewidth=0.7)
