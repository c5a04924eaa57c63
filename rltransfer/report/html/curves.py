"""Draws charts with lines over a common axis: learning curves with bands, performance profiles."""

from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.report import wording
from rltransfer.report.arm_styles import Look, looks
from rltransfer.report.html.elements import element, path, style
from rltransfer.report.scales import Scale, scale, short, spread
from rltransfer.stats import Profile

_HEIGHT = 360
_LABEL = 17
_NAME = 18
_GUTTER = 22
_CLEAR = 5
_WASHES = {"curves": 0.13, "profiles": 0.07}


def curves(comparison: Comparison, task: TaskComparison) -> Element:
    """Returns the learning curves: IQM over seeds with its band."""
    x = scale([0, task.settings.n_timesteps], margin=0.0)
    y = scale(_heights(task))
    is_success = comparison.metric == "success_auc"
    marks = [mark for index, arm in reversed(list(enumerate(task.arms))) for mark in _curve(task, index, arm, x, y)]
    extra = [] if is_success else [mark for level in task.thresholds for mark in _threshold(level, y)]
    band = any(arm.band.low is not None for arm in task.arms)
    many = "interquartile mean over seeds, pointwise 95 % bootstrap band"
    return _figure(
        "curves",
        title="Learning curves",
        caption="; ".join(filter(None, [many if band else "one seed per arm: no band", wording.steps_left_out(task)])),
        y_title="success rate" if is_success else "mean return of an evaluation",
        x_title="training steps in the target task",
        plot=[*grid(x, y), lines(marks), *extra, *_ends(task, y)],
        arms=len(task.arms),
    )


def profiles(
    styles: Mapping[str, Look], arm_profiles: Sequence[Profile | None], *, x_title: str, who: str
) -> Element | None:
    """Returns the share of runs above each score with its band; nothing with single runs alone.

    Args:
        styles: The look of each arm, by name.
        arm_profiles: The profile of each arm, in the same order.
        x_title: What the scores are.
        who: What an arm's share is of.
    """
    shown = [profile for profile in arm_profiles if profile is not None and profile.low is not None]
    if not shown:
        return None
    x, y = profile_scale(shown), scale([0.0, 1.0], margin=0.03)
    marks = [
        mark
        for index, (look, profile) in reversed(list(enumerate(zip(styles.values(), arm_profiles, strict=True))))
        if profile is not None
        for mark in _profile(index, look, profile, x, y)
    ]
    return _figure(
        "profiles",
        title="Performance profiles",
        caption=f"share of {who} that score more than so much, with pointwise 95 % bands (Wilson): a curve further up "
        "and to the right is better (Agarwal et al., 2021)",
        y_title="share of runs",
        x_title=x_title,
        plot=[*grid(x, y), lines(marks)],
        arms=len(styles),
    )


def profile_scale(profiles: Sequence[Profile]) -> Scale:
    """Returns the axis of scores that profiles are drawn over; all of them have the same scores."""
    return scale(profiles[0].at, margin=0.01)


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
    finite = [point for point in points if np.isfinite(point).all()]
    up = [(x, y.share(low)) for x, low, _ in finite]
    down = [(x, y.share(high)) for x, _, high in reversed(finite)]
    shape = path([*up, *down])
    return element(
        "path", {"class": "band", "data-arm": str(index), "d": f"{shape}Z" if shape else "", **_colour(look)}
    )


def line(index: int, look: Look, shape: str) -> Element:
    """Returns the line of an arm along a path."""
    return element("path", {"class": "line", "data-arm": str(index), "d": shape, **_drawn(look)})


def swatch(look: Look) -> Element:
    """Returns a piece of an arm's line, for the key."""
    piece = element("path", {"class": "line", "d": "M0 2H40", **_drawn(look)})
    return element("svg", {"class": "swatch", "viewBox": "0 0 40 4", "aria-hidden": "true"}, piece)


def _profile(index: int, look: Look, profile: Profile, x: Scale, y: Scale) -> Iterable[Element]:
    xs = np.array([0.0, *(x.share(score) for score in profile.at), 1.0])
    if profile.low is not None and profile.high is not None:
        (corners, low), (_, high) = (_stairs(xs, ends) for ends in (profile.low, profile.high))
        yield _area(index, look, zip(corners, low, high, strict=True), y)
    points = zip(*_stairs(xs, profile.share), strict=True)
    yield line(index, look, path((at, y.share(share)) for at, share in points))


def _stairs(xs: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of a line that keeps each value until the next score, and the first one below them all."""
    levels = np.concatenate([[values[0]], values])
    return np.repeat(xs, 2)[1:-1], np.repeat(levels, 2)


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
    label = element("span", None, f"threshold {value:.4g}")
    return [element("div", {"class": "threshold", **style(bottom=f"{100 * share:.2f}%")}, label)]


def _ends(task: TaskComparison, y: Scale) -> list[Element]:
    """Writes each arm's name beside the end of its curve, with a thread where names had to be pushed apart."""
    shown = wording.shortened([arm.name for arm in task.arms], _NAME)
    ends = [(index, float(arm.band.middle[-1])) for index, arm in enumerate(task.arms)]
    ends = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: (end[1], -end[0]))
    tops = [_HEIGHT * y.share(value) for _, value in ends]
    places = spread(tops, _LABEL, _LABEL / 2, _HEIGHT - _LABEL / 2)
    threads, names = [], []
    for (index, _), start, place in zip(ends, tops, places, strict=True):
        look = looks(task)[task.arms[index].name]
        shape = f"M0 {_HEIGHT - start:.1f}L{_GUTTER} {_HEIGHT - place:.1f}"
        threads.append(element("path", {"class": "thread", "data-arm": str(index), "d": shape, **_colour(look)}))
        kind = "end control" if look.is_control else "end"
        at = f"bottom:{place:.1f}px;--arm:var(--c{look.colour})"
        facts = {"class": kind, "data-arm": str(index), "title": task.arms[index].name, "style": at}
        names.append(element("span", facts, shown[index]))
    gutter = element("svg", {"class": "gutter", "viewBox": f"0 0 {_GUTTER} {_HEIGHT}", "aria-hidden": "true"}, *threads)
    return [gutter, *names]


def _figure(
    kind: str, *, title: str, caption: str, y_title: str, x_title: str, plot: Sequence[Element], arms: int
) -> Element:
    """Returns a chart; the more arms it has, the fainter are their bands."""
    return element(
        "figure",
        {"class": kind, **style(__wash=f"{_WASHES[kind] / max(1.0, arms / _CLEAR):.3f}")},
        element("figcaption", None, element("strong", None, title), f" {caption}"),
        element("div", {"class": "y-title"}, y_title),
        element(
            "div",
            {"class": "plot", "data-plot": kind, "tabindex": "0", "role": "img", "aria-label": f"{title}: {caption}"},
            *plot,
        ),
        element("div", {"class": "x-title"}, x_title),
    )


def _drawn(look: Look) -> dict[str, str]:
    dashes = " ".join(f"{length:g}" for length in look.dashes)
    return {**_colour(look), **({"stroke-dasharray": dashes} if dashes else {})}


def _colour(look: Look) -> dict[str, str]:
    return {"style": f"--arm:var(--c{look.colour})"}
