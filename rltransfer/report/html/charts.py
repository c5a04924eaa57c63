"""Lays out the charts of one task: the key of its arms, curves, differences, seeds, profiles."""

from typing import Any
from xml.etree.ElementTree import Element

import numpy as np

from rltransfer.comparison import Comparison, TaskComparison
from rltransfer.report.html.curves import curves, profiles
from rltransfer.report.html.elements import element
from rltransfer.report.html.rows import differences, seeds
from rltransfer.report.looks import looks


def charts(comparison: Comparison, task: TaskComparison) -> Element:
    """Returns the charts of a task; every mark of arm ``i`` carries ``data-arm="i"``, which the key switches."""
    index = comparison.tasks.index(task)
    return element(
        "section",
        {"class": "charts", "data-task": str(index)},
        key(task),
        curves(comparison, task),
        element("div", {"class": "pair"}, differences(comparison, task), seeds(comparison, task)),
        profiles(comparison, task),
    )


def chart_data(task: TaskComparison) -> dict[str, Any]:
    """Returns what the script shows at the pointer: steps, and middle, low and high of each arm, None for a gap."""
    return {
        "steps": task.grid_steps.tolist(),
        "arms": [
            {
                "name": arm.name,
                "colour": looks(task)[arm.name].colour,
                "middle": _short_list(arm.band.middle),
                "low": None if arm.band.low is None else _short_list(arm.band.low),
                "high": None if arm.band.high is None else _short_list(arm.band.high),
            }
            for arm in task.arms
        ],
    }


def key(task: TaskComparison) -> Element:
    """Returns the buttons that hide and show the arms of the section that they stand in."""
    styles = looks(task)
    buttons = [
        element(
            "button",
            {
                "type": "button",
                "aria-pressed": "true",
                "data-key": str(index),
                "class": f"key {styles[arm.name].line}",
                "style": f"--arm:var(--c{styles[arm.name].colour})",
            },
            element("span", {"class": "swatch", "aria-hidden": "true"}),
            element("span", None, arm.name),
        )
        for index, arm in enumerate(task.arms)
    ]
    hint = element("span", {"class": "hint"}, "click: hide or show; double-click: only this one, or all")
    return element("div", {"class": "keys", "role": "group", "aria-label": "arms shown"}, *buttons, hint)


def _short_list(values: np.ndarray) -> list[float | None]:
    return [float(f"{value:.5g}") if np.isfinite(value) else None for value in values]
