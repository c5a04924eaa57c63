"""Lays out the charts of one task, and of all tasks together: the key of the arms, then one chart after the other."""

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from rltransfer.comparison import ArmAcrossTasks, Comparison, TaskComparison
from rltransfer.report import wording
from rltransfer.report.arm_styles import Look, looks, looks_across
from rltransfer.report.html.curves import curves, profile_scale, profiles, swatch
from rltransfer.report.html.elements import element
from rltransfer.report.html.rows import differences, estimates, seeds
from rltransfer.stats import Profile


def charts(comparison: Comparison, task: TaskComparison) -> Element:
    """Returns the charts of a task; every mark of arm ``i`` carries ``data-arm="i"``, which the key switches."""
    styles = looks(task)
    return _section(
        comparison.tasks.index(task),
        key(styles),
        curves(comparison, task),
        element("div", {"class": "pair"}, differences(comparison, task), seeds(comparison, task)),
        profiles(
            styles,
            [arm.profile for arm in task.arms],
            x_title=wording.metric_name(comparison),
            who="an arm's runs",
        ),
    )


def across_charts(comparison: Comparison) -> Element:
    """Returns the charts of the arms over all tasks."""
    styles = looks_across(comparison)
    arms = across_arms(comparison)
    return _section(
        len(comparison.tasks),
        key(styles),
        element(
            "div",
            {"class": "pair"},
            estimates(styles, [arm.iqm for arm in arms], title="Interquartile mean", caption="and 95 % interval"),
            estimates(styles, [arm.optimality_gap for arm in arms], title="Optimality gap", caption="less is better"),
        ),
        profiles(
            styles, [arm.profile for arm in arms], x_title="normalised score", who="an arm's runs, averaged over tasks,"
        ),
    )


def chart_data(comparison: Comparison) -> list[dict[str, Any]]:
    """Returns what the script shows at the pointer: for each section its arms, and its plots by name."""
    sections: list[dict[str, Any]] = [
        {
            "arms": _named(looks(task)),
            "plots": {"curves": _of_curves(task), **_of_profiles([arm.profile for arm in task.arms])},
        }
        for task in comparison.tasks
    ]
    if comparison.across:
        profiles = [arm.profile for arm in across_arms(comparison)]
        sections.append({"arms": _named(looks_across(comparison)), "plots": _of_profiles(profiles)})
    return sections


def across_arms(comparison: Comparison) -> list[ArmAcrossTasks]:
    """Returns the arms over all tasks in the order of their looks."""
    by_name = {arm.name: arm for arm in comparison.across}
    return [by_name[name] for name in looks_across(comparison)]


def _section(index: int, *children: Element | None) -> Element:
    return element("section", {"class": "charts", "data-section": str(index)}, *children)


def _named(styles: Mapping[str, Look]) -> list[dict[str, Any]]:
    return [{"name": name, "colour": look.colour} for name, look in styles.items()]


def _of_curves(task: TaskComparison) -> dict[str, Any]:
    """Returns steps, and middle, low and high of each arm, None for a gap."""
    return {
        "label": "step",
        "stairs": False,
        "start": 0,
        "end": task.settings.n_timesteps,
        "at": task.grid_steps.tolist(),
        "lines": [_line(arm.band.middle, arm.band.low, arm.band.high) for arm in task.arms],
    }


def _of_profiles(profiles: Sequence[Profile | None]) -> dict[str, Any]:
    shown = [profile for profile in profiles if profile is not None and profile.low is not None]
    if not shown:
        return {}
    x = profile_scale(shown)
    lines = [None if profile is None else _line(profile.share, profile.low, profile.high) for profile in profiles]
    at = [float(f"{score:.5g}") for score in shown[0].at]
    plot = {"label": "more than", "stairs": True, "start": x.low, "end": x.high, "at": at, "lines": lines}
    return {"profiles": plot}


def _line(middle: np.ndarray, low: np.ndarray | None, high: np.ndarray | None) -> dict[str, Any]:
    return {
        "middle": _short_list(middle),
        "low": None if low is None else _short_list(low),
        "high": None if high is None else _short_list(high),
    }


def key(styles: Mapping[str, Look]) -> Element:
    """Returns the buttons that hide and show the arms of the section that they stand in."""
    buttons = [
        element(
            "button",
            {
                "type": "button",
                "aria-pressed": "true",
                "data-key": str(index),
                "class": "key",
                "style": f"--arm:var(--c{look.colour})",
            },
            swatch(look),
            element("span", None, name),
        )
        for index, (name, look) in enumerate(styles.items())
    ]
    hint = element("span", {"class": "hint"}, "click: hide or show; double-click: only this one, or all")
    return element("div", {"class": "keys", "role": "group", "aria-label": "arms shown"}, *buttons, hint)


def _short_list(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
