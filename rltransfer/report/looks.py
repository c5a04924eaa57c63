"""Gives each arm of a task its colour and its line, the same in every figure and on the page."""

import dataclasses
from typing import Literal

from rltransfer.comparison import Comparison, TaskComparison

# Okabe & Ito's palette without its yellow, which is not seen on white, and two of Paul Tol's muted colours: in each
# row all pairs are told apart with any colour vision (tests/unit/test_looks.py measures it). The baseline comes first.
ON_LIGHT = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#332288")
ON_DARK = ("#f0f0f0", "#2f8fd8", "#f0702a", "#12a87a", "#e8a6d0", "#f2b632", "#8fd3ff", "#b8406f", "#7a68e0")
_FRESH = len(ON_LIGHT) - 1

Line = Literal["solid", "dashed", "dashdotted"]


@dataclasses.dataclass(frozen=True)
class Look:
    """How an arm is drawn: the place of its colour in the palettes, and its line."""

    colour: int
    line: Line
    is_control: bool

    @property
    def on_light(self) -> str:
        """The colour on white."""
        return ON_LIGHT[self.colour]


def looks(task: TaskComparison) -> dict[str, Look]:
    """Returns the look of each arm: a control has the colour of its arm, dashed, so that pairs are seen.

    The ninth arm and those behind it take the first colours again, dash-dotted.
    """
    found: dict[str, Look] = {}
    fresh = 0
    for arm in task.arms:
        is_control = arm.kind == "control"
        if arm.kind == "baseline":
            found[arm.name] = Look(0, "solid", is_control=False)
        elif arm.control_of in found:
            found[arm.name] = Look(found[str(arm.control_of)].colour, "dashed", is_control)
        else:
            again: Line = "solid" if fresh < _FRESH else "dashdotted"
            found[arm.name] = Look(1 + fresh % _FRESH, "dashed" if is_control else again, is_control)
            fresh += 1
    return found


def looks_across(comparison: Comparison) -> dict[str, Look]:
    """Returns the look of each arm that is on all tasks: that of the first task, on which such arms all are."""
    first = next(task for task in comparison.tasks if task.name == comparison.across[0].tasks[0])
    return {name: look for name, look in looks(first).items() if name in {arm.name for arm in comparison.across}}
