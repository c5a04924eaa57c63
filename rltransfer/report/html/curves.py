"""Draws charts with lines over a common axis: learning curves with bands, performance profiles."""

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.report import words
from rltransfer.report.html.elements import element, path, style
from rltransfer.report.looks import Look, looks
from rltransfer.report.scales import Scale, scale, short, spread

_HEIGHT = 360
_LABEL = 17
_GUTTER = 22


def curves(comparison: Comparison, task: TaskComparison) -> Element:
    """Returns the learning curves: IQM over seeds with its band."""
    x = scale([0, task.settings.n_timesteps], margin=0.0)
    y = scale(_heights(task))
    is_success = comparison.metric == "success_auc"
    marks = [mark for index, arm in reversed(list(enumerate(task.arms))) for mark in _curve(task, index, arm, x, y)]
    extra = [] if is_success or task.threshold is None else _threshold(task.threshold, y)
    band = any(arm.band.low is not None for arm in task.arms)
    many = "interquartile mean over seeds, pointwise 95 % bootstrap band"
    return _figure(
        "curves",
        title="Learning curves",
        caption="; ".join(filter(None, [many if band else "one seed per arm: no band", words.steps_left_out(task)])),
        y_title="success rate" if is_success else "mean return of an evaluation",
        x_title="training steps in the target task",
        plot=[*grid(x, y), lines(marks), *extra, *_ends(task, y)],
    )


def profiles(comparison: Comparison, task: TaskComparison) -> Element | None:
    """Returns the share of runs that score at least so much, for every score; nothing with single runs alone."""
    found = {
        index: sorted(score for run in arm.runs if not isinstance(score := run.scores[comparison.metric], Undefined))
        for index, arm in enumerate(task.arms)
    }
    if max(len(values) for values in found.values()) < 2:
        return None
    x = scale([value for values in found.values() for value in values])
    y = scale([0.0, 1.0], margin=0.03)
    marks = [
        line(index, looks(task)[task.arms[index].name], _steps(values, x, y))
        for index, values in reversed(found.items())
        if values
    ]
    return _figure(
        "profiles",
        title="Performance profiles",
        caption="share of an arm's runs that score at least so much: a curve further to the right is better "
        "(Agarwal et al., 2021)",
        y_title="share of runs",
        x_title=words.metric_name(comparison),
        plot=[*grid(x, y), lines(marks)],
    )


def _heights(task: TaskComparison) -> list[float]:
    bands = [part for arm in task.arms for part in (arm.band.middle, arm.band.low, arm.band.high) if part is not None]
    return [float(value) for part in bands for value in part]


def _curve(task: TaskComparison, index: int, arm: Arm, x: Scale, y: Scale) -> Iterable[Element]:
    look = looks(task)[arm.name]
    xs = [x.share(step) for step in task.grid_steps]
    if arm.band.low is not None and arm.band.high is not None:
        yield _area(index, look, zip(xs, arm.band.low, arm.band.high, strict=True), y)
    yield line(index, look, path(zip(xs, (y.share(value) for value in arm.band.middle), strict=True)))


def _area(index: int, look: Look, points: Iterable[tuple[float, float, float]], y: Scale) -> Element:
    """Returns a band from x, low and high of its points; where a run has no number there is no band."""
    known = [point for point in points if np.isfinite(point).all()]
    up = [(x, y.share(low)) for x, low, _ in known]
    down = [(x, y.share(high)) for x, _, high in reversed(known)]
    shape = path([*up, *down])
    return element(
        "path", {"class": "band", "data-arm": str(index), "d": f"{shape}Z" if shape else "", **_colour(look)}
    )


def line(index: int, look: Look, shape: str) -> Element:
    """Returns the line of an arm along a path."""
    return element("path", {"class": f"line {look.line}", "data-arm": str(index), "d": shape, **_colour(look)})


def _steps(values: Sequence[float], x: Scale, y: Scale) -> str:
    """Returns the stairs of the share of values that are at least as high."""
    points = [(0.0, y.share(1.0))]
    for rank, value in enumerate(values):
        points += [(x.share(value), y.share(1 - rank / len(values)))]
        points += [(x.share(value), y.share(1 - (rank + 1) / len(values)))]
    return path([*points, (1.0, y.share(0.0))])


def lines(marks: Sequence[Element]) -> Element:
    """Returns a drawing that fills its plot, of paths in a 1000 x 1000 box."""
    return element("svg", {"viewBox": "0 0 1000 1000", "preserveAspectRatio": "none", "aria-hidden": "true"}, *marks)


def grid(x: Scale, y: Scale) -> list[Element]:
    """Returns the rules and the numbers of both axes."""
    across = [element("i", {"class": "grid-y", **style(bottom=f"{100 * y.share(tick):.2f}%")}) for tick in y.ticks]
    left = [
        element("span", {"class": "tick-y", **style(bottom=f"{100 * y.share(tick):.2f}%")}, short(tick))
        for tick in y.ticks
    ]
    below = [
        element("span", {"class": "tick-x", **style(left=f"{100 * x.share(tick):.2f}%")}, short(tick))
        for tick in x.ticks
    ]
    return [*across, *left, *below]


def _threshold(value: float, y: Scale) -> list[Element]:
    share = y.share(value)
    if not 0 <= share <= 1:
        return []
    label = element("span", None, f"threshold {value:g}")
    return [element("div", {"class": "threshold", **style(bottom=f"{100 * share:.2f}%")}, label)]


def _ends(task: TaskComparison, y: Scale) -> list[Element]:
    """Writes each arm's name beside the end of its curve, with a thread where names had to be pushed apart."""
    ends = [(index, float(arm.band.middle[-1])) for index, arm in enumerate(task.arms)]
    ends = sorted((one for one in ends if np.isfinite(one[1])), key=lambda one: (one[1], -one[0]))
    tops = [_HEIGHT * y.share(value) for _, value in ends]
    places = spread(tops, _LABEL, _LABEL / 2, _HEIGHT - _LABEL / 2)
    threads, names = [], []
    for (index, _), start, place in zip(ends, tops, places, strict=True):
        look = looks(task)[task.arms[index].name]
        shape = f"M0 {_HEIGHT - start:.1f}L{_GUTTER} {_HEIGHT - place:.1f}"
        threads.append(element("path", {"class": "thread", "data-arm": str(index), "d": shape, **_colour(look)}))
        kind = "end control" if look.is_control else "end"
        at = f"bottom:{place:.1f}px;--arm:var(--c{look.colour})"
        names.append(element("span", {"class": kind, "data-arm": str(index), "style": at}, task.arms[index].name))
    gutter = element("svg", {"class": "gutter", "viewBox": f"0 0 {_GUTTER} {_HEIGHT}", "aria-hidden": "true"}, *threads)
    return [gutter, *names]


def _figure(kind: str, *, title: str, caption: str, y_title: str, x_title: str, plot: Sequence[Element]) -> Element:
    return element(
        "figure",
        {"class": kind},
        element("figcaption", None, element("strong", None, title), f" {caption}"),
        element("div", {"class": "y-title"}, y_title),
        element("div", {"class": "plot", "tabindex": "0", "role": "img", "aria-label": f"{title}: {caption}"}, *plot),
        element("div", {"class": "x-title"}, x_title),
    )


def _colour(look: Look) -> dict[str, str]:
    return {"style": f"--arm:var(--c{look.colour})"}
