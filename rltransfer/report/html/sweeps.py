"""Draws the pictures of sweeps: a table whose cells have the colour of their effect, or effects over source budgets."""

from xml.etree.ElementTree import Element

from rltransfer.comparison import Arm, Cell, Comparison, EffectGrid, EffectLine, judged
from rltransfer.report import wording
from rltransfer.report.arm_styles import ON_LIGHT
from rltransfer.report.html.elements import element, path, style
from rltransfer.report.scales import Scale, scale, short
from rltransfer.report.sections.sweeps import cell_words
from rltransfer.stats import Estimate

_STRONGEST = 45
"""How much of the colour the largest effect has, in percent: text on it can still be read."""


def sweep_chart(comparison: Comparison, sweep: EffectGrid | EffectLine) -> Element:
    """Returns the picture of a sweep."""
    return _grid(comparison, sweep) if isinstance(sweep, EffectGrid) else _line(comparison, sweep)


def largest_effect(comparison: Comparison, sweep: EffectGrid) -> float:
    """Returns the size of the largest difference in a grid, by which colours are scaled; 1 where there is none."""
    sizes = [abs(estimate.value) for row in sweep.cells for cell in row if (estimate := effect(comparison, cell.arm))]
    return max(sizes, default=1.0) or 1.0


def effect(comparison: Comparison, arm: Arm | None) -> Estimate | None:
    """Returns the difference of an arm to the baseline that its verdict is of; None where there is none."""
    return None if arm is None else judged(arm).scores[comparison.metric].difference


def _grid(comparison: Comparison, sweep: EffectGrid) -> Element:
    strongest = largest_effect(comparison, sweep)
    head = element(
        "tr",
        None,
        element("th", {"scope": "col"}, sweep.row_title),
        *(element("th", {"scope": "col"}, name) for name in sweep.columns),
    )
    rows = []
    for name, cells in zip(sweep.rows, sweep.cells, strict=True):
        drawn = [
            _cell(comparison, cell, strongest, is_own=sweep.task is None and column == name)
            for column, cell in zip(sweep.columns, cells, strict=True)
        ]
        rows.append(element("tr", None, element("th", {"scope": "row"}, name), *drawn))
    table = element("table", {"class": "heat"}, element("thead", None, head), element("tbody", None, *rows))
    caption = f"Columns: {sweep.column_title}. Colour: size of the difference."
    return element(
        "figure",
        {"class": "sweep"},
        element("figcaption", None, caption),
        element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": sweep.title}, table),
    )


def _cell(comparison: Comparison, cell: Cell, strongest: float, *, is_own: bool) -> Element:
    kind = ["own"] if is_own else []
    tip = {"data-tip": cell_words(comparison, cell)}
    if cell.arm is None:
        return element("td", {"class": " ".join([*kind, "gap"]), **tip}, wording.NOTHING)
    estimate = effect(comparison, cell.arm)
    if estimate is None:
        mean = cell.arm.scores[comparison.metric].mean
        text = wording.NOTHING if mean is None else wording.number(mean.value)
        return element("td", {"class": " ".join([*kind, "level"]), **tip}, text)
    kind.append("up" if estimate.value >= 0 else "down")
    sign = element("span", {"class": "sign", "aria-hidden": "true"}, wording.SIGNS[wording.verdict_word(cell.arm)])
    share = f"--share:{_STRONGEST * min(1.0, abs(estimate.value) / strongest):.0f}%"
    ends = "" if estimate.low is None or estimate.high is None else wording.estimate(estimate).partition(" ")[2]
    return element(
        "td",
        {"class": " ".join(kind), "style": share, **tip},
        sign,
        element("span", {"class": "effect"}, wording.number(estimate.value, sign=True)),
        element("small", None, ends) if ends else None,
    )


def _line(comparison: Comparison, sweep: EffectLine) -> Element:
    effects = [
        estimate
        for points in sweep.points.values()
        for _, arm in points
        if (estimate := effect(comparison, arm)) is not None
    ]
    x = scale([0, *(steps for points in sweep.points.values() for steps, _ in points)], margin=0.03, low=0.0)
    y = scale(
        [
            0.0,
            *(end for estimate in effects for end in (estimate.value, estimate.low, estimate.high) if end is not None),
        ]
    )
    names = list(sweep.points)
    marks = [mark for name in reversed(names) for mark in _series(comparison, sweep, name, x, y)]
    dots = [dot for name in names for dot in _dots(comparison, sweep, name, x, y)]
    keys = [
        element(
            "span",
            {"class": "series", "style": _colour(sweep, name)},
            element("i", {"class": "swatch"}),
            name,
        )
        for name in names
    ]
    svg = {"viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "aria-hidden": "true"}
    zero = element("div", {"class": "threshold", **style(bottom=f"{100 * y.share(0.0):.2f}%")})
    return element(
        "figure",
        {"class": "sweep effects"},
        element("figcaption", None, "mean and 95 % interval; dotted: no effect"),
        element("div", {"class": "keys static"}, *keys),
        element("div", {"class": "y-title"}, f"{wording.metric_name(comparison)}, difference to {comparison.baseline}"),
        element(
            "div",
            {"class": "plot", "role": "img", "aria-label": sweep.title},
            *_axes(x, y),
            element("svg", svg, *marks),
            zero,
            *dots,
        ),
        element("div", {"class": "x-title"}, "steps that the source was trained for"),
    )


def _colour(sweep: EffectLine, name: str) -> str:
    return f"--arm:var(--c{1 + list(sweep.points).index(name) % (len(ON_LIGHT) - 1)})"


def _series(comparison: Comparison, sweep: EffectLine, name: str, x: Scale, y: Scale) -> tuple[Element, Element]:
    points = [(x.share(steps), estimate) for steps, arm in sweep.points[name] if (estimate := effect(comparison, arm))]
    low = [(at, y.share(estimate.low)) for at, estimate in points if estimate.low is not None]
    high = [(at, y.share(estimate.high)) for at, estimate in points if estimate.high is not None]
    shape = path([*low, *reversed(high)])
    look = {"style": _colour(sweep, name)}
    return (
        element("path", {"class": "band", "d": f"{shape}Z" if shape else "", **look}),
        element("path", {"class": "line", "d": path((at, y.share(estimate.value)) for at, estimate in points), **look}),
    )


def _dots(comparison: Comparison, sweep: EffectLine, name: str, x: Scale, y: Scale) -> list[Element]:
    marks = []
    for steps, arm in sweep.points[name]:
        estimate = effect(comparison, arm)
        if arm is None or estimate is None:
            continue
        place = f"left:{100 * x.share(steps):.2f}%;bottom:{100 * y.share(estimate.value):.2f}%"
        tip = {"data-tip": f"{steps:,} source steps; {cell_words(comparison, Cell(sweep.task, arm))}"}
        sign = wording.SIGNS[wording.verdict_word(arm)]
        look = f"{place};{_colour(sweep, name)}"
        marks.append(element("span", {"class": "mark", "style": look, **tip}, sign))
    return marks


def _axes(x: Scale, y: Scale) -> list[Element]:
    return [
        *(element("i", {"class": "grid-y", **style(bottom=f"{100 * y.share(tick):.2f}%")}) for tick in y.ticks),
        *(
            element("span", {"class": "tick-y", **style(bottom=f"{100 * y.share(tick):.2f}%")}, short(tick))
            for tick in y.ticks
        ),
        *(
            element("span", {"class": "tick-x", **style(left=f"{100 * x.share(tick):.2f}%")}, short(tick))
            for tick in x.ticks
        ),
    ]
