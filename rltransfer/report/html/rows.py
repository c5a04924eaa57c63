"""Draws charts with one row for each arm: differences to the baseline, and the score of each seed."""

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from rltransfer.comparison import Arm, Comparison, TaskComparison, is_confirmed, judged
from rltransfer.metrics import Undefined
from rltransfer.report import wording
from rltransfer.report.arm_styles import Look, looks
from rltransfer.report.html.elements import breakable, element, style
from rltransfer.report.scales import Scale, scale, short
from rltransfer.stats import Estimate

_ROW = 42
_NAME = 40


def differences(comparison: Comparison, task: TaskComparison) -> Element | None:
    """Returns the difference of each arm to the baseline with its interval; nothing where there is no difference."""
    by_arm = {arm.name: judged(arm).scores[comparison.metric].difference for arm in task.arms}
    estimates = [estimate for estimate in by_arm.values() if estimate is not None]
    if not estimates:
        return None
    x = scale([0.0, *_ends(estimates)], ticks=5, margin=0.05)
    rows = [_difference(task, index, arm, by_arm[arm.name], x) for index, arm in enumerate(task.arms)]
    several = any(estimate.low is not None for estimate in estimates)
    confirmed = ", ".join(arm.name for arm in task.arms if is_confirmed(arm))
    fresh = f"; on fresh seeds: {confirmed}" if confirmed else ""
    return _figure(
        looks(task),
        x,
        title=f"Difference to {task.baseline}",
        caption=("mean and 95 % interval; the verdict is corrected for the number of arms, the interval is not" + fresh)
        if several
        else "one seed: no interval",
        x_title=f"{wording.metric_name(comparison)}, difference",
        marks=[_upright(x.share(0.0)), *(mark for row in rows for mark in row)],
    )


def seeds(comparison: Comparison, task: TaskComparison) -> Element:
    """Returns one dot for each seed, with mean and interval of each arm."""
    metric = comparison.metric
    scores = [score for arm in task.arms for score in _scores(arm, metric)]
    means = [mean for arm in task.arms if (mean := arm.scores[metric].mean) is not None]
    x = scale([*scores, *_ends(means)], ticks=5, margin=0.05)
    marks = [mark for index, arm in enumerate(task.arms) for mark in _strip(comparison, task, index, arm, x)]
    base = next((arm.scores[metric].mean for arm in task.arms if arm.kind == "baseline"), None)
    several = any(len(arm.runs) > 1 for arm in task.arms)
    return _figure(
        looks(task),
        x,
        title="Each seed" if several else "The one seed",
        caption="with mean and 95 % interval of each arm" if several else "",
        x_title=wording.metric_name(comparison),
        marks=[*([] if base is None else [_upright(x.share(base.value))]), *marks],
    )


def estimates(styles: Mapping[str, Look], values: Sequence[Estimate], *, title: str, caption: str) -> Element:
    """Returns one estimate of each arm with its interval, on normalised scores."""
    x = scale(_ends(values), ticks=5, margin=0.05)
    rows = [
        _estimate(index, look, estimate, x, top=_ROW * (index + 0.5), tip=f"{name}: {wording.estimate(estimate)}")
        for index, ((name, look), estimate) in enumerate(zip(styles.items(), values, strict=True))
    ]
    marks = [mark for row in rows for mark in row]
    return _figure(styles, x, title=title, caption=caption, x_title="normalised score", marks=marks)


def _difference(task: TaskComparison, index: int, arm: Arm, estimate: Estimate | None, x: Scale) -> list[Element]:
    if estimate is None:
        return []
    whose = " on fresh seeds" if is_confirmed(arm) else ""
    text = f"{arm.name}: {wording.estimate(estimate, sign=True)} ({wording.verdict_word(arm)}{whose})"
    return _estimate(index, looks(task)[arm.name], estimate, x, top=_ROW * (index + 0.5), tip=text)


def _strip(comparison: Comparison, task: TaskComparison, index: int, arm: Arm, x: Scale) -> list[Element]:
    metric, look = comparison.metric, looks(task)[arm.name]
    scored = [(run.seed, run_score) for run in arm.runs if not isinstance(run_score := run.scores[metric], Undefined)]
    offsets = np.linspace(-6, 6, len(scored)) if len(scored) > 1 else np.zeros(len(scored))
    dots = [
        element(
            "i",
            {
                "class": "dot hollow" if look.is_control else "dot",
                "data-arm": str(index),
                "data-tip": f"{arm.name}, seed {seed}: {wording.number(score)}",
                **_place(x.share(score), _ROW * (index + 0.4) + offset, look),
            },
        )
        for (seed, score), offset in zip(scored, offsets, strict=True)
        if np.isfinite(score)
    ]
    mean = arm.scores[metric].mean
    if mean is None or mean.low is None:
        return dots
    tip = f"{arm.name}, mean: {wording.estimate(mean)}"
    return [*dots, *_estimate(index, look, mean, x, top=_ROW * (index + 0.78), tip=tip)]


def _estimate(index: int, look: Look, estimate: Estimate, x: Scale, *, top: float, tip: str) -> list[Element]:
    facts = {"data-arm": str(index), "data-tip": tip}
    kind = "mean hollow" if look.is_control else "mean"
    marks = [element("i", {"class": kind, **facts, **_place(x.share(estimate.value), top, look)})]
    if estimate.low is not None and estimate.high is not None:
        low, high = max(0.0, x.share(estimate.low)), min(1.0, x.share(estimate.high))
        at = f"left:{100 * low:.2f}%;width:{100 * (high - low):.2f}%;top:{top:.1f}px;--arm:var(--c{look.colour})"
        marks.insert(0, element("i", {"class": "interval", **facts, "style": at}))
    return marks


def _figure(
    styles: Mapping[str, Look], x: Scale, *, title: str, caption: str, x_title: str, marks: Sequence[Element]
) -> Element:
    shortened = wording.shortened(list(styles), _NAME)
    names = [
        element(
            "span",
            {
                "class": "row control" if look.is_control else "row",
                "data-arm": str(index),
                "title": name,
                "style": f"top:{_ROW * (index + 0.5):.1f}px;--arm:var(--c{look.colour})",
            },
            *breakable(shown),
        )
        for index, ((name, look), shown) in enumerate(zip(styles.items(), shortened, strict=True))
    ]
    grid = [element("i", {"class": "grid-x", **style(left=f"{100 * x.share(tick):.2f}%")}) for tick in x.ticks]
    ticks = [
        element("span", {"class": "tick-x", **style(left=f"{100 * x.share(tick):.2f}%")}, short(tick))
        for tick in x.ticks
    ]
    height = style(height=f"{_ROW * len(styles)}px")
    return element(
        "figure",
        {"class": "rows"},
        element("figcaption", None, element("strong", None, title), f" {caption}"),
        element("div", {"class": "plot", "role": "img", "aria-label": title, **height}, *grid, *ticks, *names, *marks),
        element("div", {"class": "x-title"}, x_title),
    )


def _upright(share: float) -> Element:
    return element("i", {"class": "upright", **style(left=f"{100 * share:.2f}%")})


def _place(share: float, top: float, look: Look) -> dict[str, str]:
    return {"style": f"left:{100 * share:.2f}%;top:{top:.1f}px;--arm:var(--c{look.colour})"}


def _scores(arm: Arm, metric: str) -> list[float]:
    return [score for run in arm.runs if not isinstance(score := run.scores[metric], Undefined)]


def _ends(estimates: Sequence[Estimate]) -> list[float]:
    return [end for estimate in estimates for end in (estimate.value, estimate.low, estimate.high) if end is not None]
