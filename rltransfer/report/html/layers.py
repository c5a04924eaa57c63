"""Draws what the layers of a task's arms represented over training: a small chart for each measure and layer."""

from xml.etree.ElementTree import Element

from rltransfer.comparison import TaskComparison
from rltransfer.report.arm_styles import looks
from rltransfer.report.html.charts import key
from rltransfer.report.html.curves import grid, line, lines
from rltransfer.report.html.elements import element, path, style
from rltransfer.report.scales import Scale, scale
from rltransfer.report.sections.layers import LEAST_TOP, MEASURES, layer_names


def layer_charts(task: TaskComparison) -> Element:
    """Returns the charts of a task's layers; a row for each measure, a column for each layer."""
    names = layer_names(task)
    x = scale([0, task.settings.n_timesteps], margin=0.0, ticks=2)
    cells = [element("div", {"class": "corner"}), *(element("div", {"class": "layer"}, name) for name in names)]
    for measure, title in MEASURES.items():
        y = _heights(task, measure)
        cells.append(element("div", {"class": "measure"}, title))
        cells += [_chart(task, measure, name, x, y) for name in names]
    columns = {"grid_template_columns": f"7.5em repeat({len(names)}, minmax(112px, 1fr))"}
    table = element("div", {"class": "multiples", **style(**columns)}, *cells)
    return element("section", {"class": "layers"}, key(looks(task)), element("div", {"class": "scroll"}, table))


def _heights(task: TaskComparison, measure: str) -> Scale:
    values = [float(value) for arm in task.arms if arm.layers for value in arm.layers.measures[measure].ravel()]
    return scale([0.0, LEAST_TOP.get(measure, 0.0), *values], ticks=2, low=0.0)


def _chart(task: TaskComparison, measure: str, name: str, x: Scale, y: Scale) -> Element:
    xs = [x.share(step) for step in task.grid_steps]
    marks = []
    for index, arm in reversed(list(enumerate(task.arms))):
        if arm.layers is None or name not in arm.layers.names:
            continue
        values = arm.layers.measures[measure][:, arm.layers.names.index(name)]
        shape = path(zip(xs, (y.share(float(value)) for value in values), strict=True))
        marks.append(line(index, looks(task)[arm.name], shape))
    label = f"{MEASURES[measure]} of {name}"
    return element("div", {"class": "plot", "role": "img", "aria-label": label}, *grid(x, y), lines(marks))
