"""Gives each arm of a task its colour and its line, the same in every figure and on the page."""

import dataclasses

from rltransfer.comparison import Comparison, TaskComparison

# Okabe & Ito's palette without its yellow, which is not seen on white, and two of Paul Tol's muted colours: in each
# row all pairs are told apart with any colour vision (tests/unit/test_looks.py measures it). The baseline comes first.
ON_LIGHT = ("#222222", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#332288")
ON_DARK = ("#f0f0f0", "#2f8fd8", "#f0702a", "#12a87a", "#e8a6d0", "#f2b632", "#8fd3ff", "#b8406f", "#7a68e0")
_FRESH = len(ON_LIGHT) - 1

_LONG, _SHORT, _DOT, _GAP = 9.0, 5.0, 1.5, 3.0


@dataclasses.dataclass(frozen=True)
class Look:
    """How an arm is drawn: the place of its colour in the palettes, and its line.

    ``dots`` follow each dash of the line: as many as arms before had the colour.
    """

    colour: int
    dots: int
    is_control: bool

    @property
    def dashes(self) -> tuple[float, ...]:
        """The lengths of dash and gap by turns, in pixels; none for a solid line.

        >>> Look(1, 0, False).dashes, Look(1, 0, True).dashes, Look(1, 1, False).dashes
        ((), (5.0, 3.0), (9.0, 3.0, 1.5, 3.0))
        """
        if not (self.dots or self.is_control):
            return ()
        return (_SHORT if self.is_control else _LONG, _GAP, *(_DOT, _GAP) * self.dots)

    @property
    def on_light(self) -> str:
        """The colour on white."""
        return ON_LIGHT[self.colour]


def looks(task: TaskComparison) -> dict[str, Look]:
    """Returns the look of each arm: a control has the colour of its arm, dashed, so that pairs are seen.

    The ninth arm and those behind it take the first colours again, with a dot after each dash, then with two.
    """
    styles: dict[str, Look] = {}
    fresh = 0
    for arm in task.arms:
        is_control = arm.kind == "control"
        controlled = styles.get(arm.control_of or "")
        if arm.kind == "baseline":
            styles[arm.name] = Look(0, 0, is_control=False)
        elif (
            controlled is not None
            and (look := Look(controlled.colour, controlled.dots, is_control)) not in styles.values()
        ):
            styles[arm.name] = look
        else:
            styles[arm.name] = Look(1 + fresh % _FRESH, fresh // _FRESH, is_control)
            fresh += 1
    return styles


def looks_across(comparison: Comparison) -> dict[str, Look]:
    """Returns the look of each arm that is on all tasks: that of the first task, on which such arms all are."""
    first = next(task for task in comparison.tasks if task.name == comparison.across[0].tasks[0])
    return {name: look for name, look in looks(first).items() if name in {arm.name for arm in comparison.across}}
