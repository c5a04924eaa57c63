"""Draws what the layers of a task's arms represented: a small chart for each measure and layer, or over their depth."""

from collections.abc import Sequence
from xml.etree.ElementTree import Element

from rltransfer.comparison import TaskComparison
from rltransfer.report.arm_styles import looks
from rltransfer.report.html.charts import key
from rltransfer.report.html.curves import grid, line, lines
from rltransfer.report.html.elements import element, path, style
from rltransfer.report.scales import Scale, scale
from rltransfer.report.sections.layers import (
    LEAST_TOP,
    MEASURES,
    ending,
    has_many_layers,
    layer_names,
    layers_at_the_end,
    layers_over_time,
)

_DEPTH_PIXELS = 210
_TREAD = 0.25
_LETTERS = 14


def layer_charts(task: TaskComparison) -> Element:
    """Returns the charts of a task's layers: a row for each measure, a column for each layer over training.

    Of many layers a first column has all of them where training ends, and a few are drawn over training.
    """
    names, is_many = layers_over_time(task), has_many_layers(task)
    everything = layer_names(task)
    x = scale([0, task.settings.n_timesteps], margin=0.0, ticks=2)
    titles = {f"all {len(everything)} layers at the end": ""} if is_many else {}
    titles |= {_numbered(everything, name) if is_many else name: name for name in names}
    cells = [element("div", {"class": "corner"})]
    cells += [element("div", {"class": "layer", "title": name}, title) for title, name in titles.items()]
    for measure, title in MEASURES.items():
        y = _heights(task, measure)
        cells.append(element("div", {"class": "measure"}, title))
        cells += [_over_depth(task, measure, everything, y)] if is_many else []
        cells += [_over_time(task, measure, name, x, y) for name in names]
    first = f"minmax({_DEPTH_PIXELS}px, 1.7fr) " if is_many else ""
    columns = {"grid_template_columns": f"7.5em {first}repeat({len(names)}, minmax(112px, 1fr))"}
    table = element("div", {"class": "multiples", **style(**columns)}, *cells)
    return element("section", {"class": "layers"}, key(looks(task)), element("div", {"class": "scroll"}, table))


def _numbered(everything: Sequence[str], name: str) -> str:
    return f"{everything.index(name) + 1} {ending(name, lambda text: len(text) <= _LETTERS)}"


def _heights(task: TaskComparison, measure: str) -> Scale:
    values = [float(value) for arm in task.arms if arm.layers for value in arm.layers.measures[measure].ravel()]
    return scale([0.0, LEAST_TOP.get(measure, 0.0), *values], ticks=2, low=0.0)


def _over_time(task: TaskComparison, measure: str, name: str, x: Scale, y: Scale) -> Element:
    xs = [x.share(step) for step in task.grid_steps]
    marks = []
    for index, arm in reversed(list(enumerate(task.arms))):
        if arm.layers is None or name not in arm.layers.names:
            continue
        values = arm.layers.measures[measure][:, arm.layers.names.index(name)]
        shape = path(zip(xs, (y.share(float(value)) for value in values), strict=True))
        marks.append(line(index, looks(task)[arm.name], shape))
    return _plot(f"{MEASURES[measure]} of {name}", x, y, marks)


def _over_depth(task: TaskComparison, measure: str, names: Sequence[str], y: Scale) -> Element:
    x = scale([0.5, len(names) + 0.5], margin=0.0)
    x = Scale(x.low, x.high, tuple(tick for tick in x.ticks if tick == round(tick) and tick >= 1))
    marks = []
    for index, arm in reversed(list(enumerate(task.arms))):
        if arm.layers is None:
            continue
        values = layers_at_the_end(arm, names, measure)
        # Each layer is a tread, so that one between two that the arm lacks is seen.
        treads = [
            (x.share(number + side), y.share(float(value)))
            for number, value in enumerate(values, start=1)
            for side in (-_TREAD, _TREAD)
        ]
        marks.append(line(index, looks(task)[arm.name], path(treads)))
    return _plot(f"{MEASURES[measure]} of all {len(names)} layers at the end of training", x, y, marks)


def _plot(label: str, x: Scale, y: Scale, marks: Sequence[Element]) -> Element:
    return element("div", {"class": "plot", "role": "img", "aria-label": label}, *grid(x, y), lines(marks))
