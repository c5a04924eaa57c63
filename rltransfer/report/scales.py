"""Places numbers on an axis: limits, ticks, labels that do not overlap."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from matplotlib.ticker import MaxNLocator


@dataclasses.dataclass(frozen=True)
class Scale:
    """An axis from ``low`` to ``high`` with ticks at round numbers inside."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: float) -> float:
        """Returns where on the axis a value is, 0 at the low end and 1 at the high one.

        >>> Scale(0.0, 10.0, ()).share(2.5)
        0.25
        """
        return (value - self.low) / (self.high - self.low)


def scale(values: Iterable[float], *, ticks: int = 6, margin: float = 0.04, low: float | None = None) -> Scale:
    """Returns an axis that holds all finite values, with a margin on both sides, or from ``low`` on without one.

    >>> scale([0.0, 10.0], margin=0.0).ticks
    (0.0, 2.0, 4.0, 6.0, 8.0, 10.0)
    """
    finite = [float(value) for value in values if math.isfinite(value)] or [0.0]
    bottom, top = min(finite), max(finite)
    if top - bottom < 1e-12 * max(1.0, abs(top)):
        bottom, top = bottom - 0.5 * max(1.0, abs(bottom)), top + 0.5 * max(1.0, abs(top))
    room = margin * (top - bottom)
    start, end = (bottom - room if low is None else low), top + room
    inside = [float(tick) for tick in MaxNLocator(ticks).tick_values(start, end) if start <= tick <= end]
    return Scale(start, end, tuple(inside))


def short(value: float) -> str:
    """Returns a number as ticks show it.

    >>> short(0.0), short(2500.0), short(1.5e6), short(-0.25)
    ('0', '2.5k', '1.5M', '-0.25')
    """
    if abs(value) >= 1e6:
        return f"{value / 1e6:.4g}M"
    return f"{value / 1e3:.4g}k" if abs(value) >= 1e3 else f"{value:.4g}"


def spread(heights: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Returns ascending heights moved as little as a simple sweep does, so that neighbours are ``gap`` apart.

    Where there is no room for that between ``low`` and ``high`` they are evenly spaced.

    >>> spread([1.0, 1.0, 5.0], gap=1.0, low=0.0, high=5.0)
    [1.0, 2.0, 5.0]
    >>> spread([5.0, 5.0], gap=1.0, low=0.0, high=5.0)
    [4.0, 5.0]
    """
    if len(heights) > 1:
        gap = min(gap, (high - low) / (len(heights) - 1))
    moved: list[float] = []
    for height in heights:
        moved.append(max(height, low, moved[-1] + gap if moved else low))
    ceiling = high
    for index in reversed(range(len(moved))):
        moved[index] = min(moved[index], ceiling)
        ceiling = moved[index] - gap
    return moved
