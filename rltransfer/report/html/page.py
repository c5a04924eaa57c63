"""Assembles the page: its head, the blocks in order, the data that the script reads."""

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterable
from importlib.resources import files as package_files
from typing import assert_never
from xml.etree.ElementTree import Element

from rltransfer.comparison import Comparison
from rltransfer.report.arm_styles import ON_DARK, ON_LIGHT
from rltransfer.report.blocks import (
    Alert,
    Block,
    Bullets,
    Chart,
    Charts,
    Code,
    Findings,
    Folded,
    Heading,
    LayerCharts,
    Paragraph,
    Picture,
    SweepChart,
    Table,
    Tone,
)
from rltransfer.report.html.charts import across_charts, chart_data, charts
from rltransfer.report.html.elements import element, marked, serialise
from rltransfer.report.html.layers import layer_charts
from rltransfer.report.html.sweeps import sweep_chart

_SIGNS = {"positive": "▲", "negative": "▼", "inconclusive": "●", "plain": "○"}
_TAGS = {1: "h1", 2: "h2", 3: "h3"}


def render(comparison: Comparison, blocks: Iterable[Block]) -> str:
    """Returns the page of a report."""
    data = json.dumps(chart_data(comparison), separators=(",", ":"), allow_nan=False)
    script = _packaged("page.js")
    behind = (
        element("div", {"id": "tip", "role": "status", "hidden": ""}),
        # A data block: "<" is written as an escape, so that no name can end it.
        element("script", {"type": "application/json", "id": "data"}, data.replace("<", "\\u003c")),
        element("script", None, script),
    )
    main = element("main", None, *(_block(functools.partial(_chart, comparison), block) for block in blocks))
    return _page(_title(comparison), script, main, *behind)


def render_without_charts(title: str, blocks: Iterable[Block]) -> str:
    """Returns a page whose pictures were drawn before, and which needs no script."""

    def refused(block: Chart) -> Element:
        raise TypeError(f"{type(block).__name__} is drawn from a comparison, and there is none")

    return _page(title, "", element("main", None, *(_block(refused, block) for block in blocks)))


def _page(title: str, script: str, *body: Element) -> str:
    head = element(
        "head",
        None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"http-equiv": "Content-Security-Policy", "content": _policy(script)}),
        element("title", None, title),
        # An empty icon, or browsers ask for one.
        element("link", {"rel": "icon", "href": "data:,"}),
        element("style", None, _colours() + _packaged("page.css")),
    )
    return "<!doctype html>\n" + serialise(element("html", {"lang": "en"}, head, element("body", None, *body))) + "\n"


def _block(draw: Callable[[Chart], Element], block: Block) -> Element:  # noqa: PLR0911 - one case for each kind of block
    match block:
        case Heading(text=text, level=level):
            return element(_TAGS[level], None, text)
        case Paragraph(text=text):
            return marked("p", text)
        case Bullets(lines=lines):
            return element("ul", None, *(marked("li", line) for line in lines))
        case Findings(lines=findings):
            return element("ul", {"class": "findings"}, *(_finding(tone, text) for tone, text in findings))
        case Alert(lead=lead, lines=lines):
            listed = element("ul", None, *(marked("li", line) for line in lines))
            return element("aside", {"class": "alert", "role": "alert"}, marked("p", lead), listed)
        case Table():
            return _table(block)
        case Charts() | LayerCharts() | SweepChart() | Picture():
            return _picture(block) if isinstance(block, Picture) else draw(block)
        case Code(text=text):
            return element("pre", None, element("code", None, text))
        case Folded(title=title, level=level, blocks=inner):
            heading = element("summary", None, element(_TAGS[level], None, title))
            return element("details", None, heading, *(_block(draw, child) for child in inner))
        case _:
            assert_never(block)


def _picture(picture: Picture) -> Element:
    source = f"data:image/png;base64,{base64.b64encode(picture.png).decode()}"
    return element("figure", {"class": "picture"}, element("img", {"src": source, "alt": picture.text}))


def _chart(comparison: Comparison, block: Chart) -> Element:
    if isinstance(block, SweepChart):
        return sweep_chart(comparison, block.sweep)
    if isinstance(block, LayerCharts):
        return layer_charts(block.task)
    return across_charts(comparison) if block.task is None else charts(comparison, block.task)


def _finding(tone: Tone, text: str) -> Element:
    line = marked("span", text)
    return element("li", {"class": tone}, element("span", {"class": "sign", "aria-hidden": "true"}, _SIGNS[tone]), line)


def _table(table: Table) -> Element:
    head = element("tr", None, *(marked("th", text, {"scope": "col"}) for text in table.head))
    plain: tuple[Tone, ...] = ("plain",)
    tones = table.tones or plain * len(table.rows)
    rows = [
        element(
            "tr",
            {"class": tone},
            marked("th", row[0], {"scope": "row"}),
            *(marked("td", cell) for cell in row[1:]),
        )
        for row, tone in zip(table.rows, tones, strict=True)
    ]
    kind = "left" if table.left else "numbers"
    whole = element("table", {"class": kind}, element("thead", None, head), element("tbody", None, *rows))
    return element("div", {"class": "scroll", "tabindex": "0", "role": "region", "aria-label": "table"}, whole)


def _title(comparison: Comparison) -> str:
    titles = ", ".join(task.title for task in comparison.tasks[:2])
    return f"Does transfer help? {titles}{' …' if len(comparison.tasks) > 2 else ''}"


def _policy(script: str) -> str:
    """Allows this page's own script, if any, and nothing else: no network, and no script that a name smuggled in."""
    if not script:
        return "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"


def _colours() -> str:
    light = "".join(f"--c{index}:{colour};" for index, colour in enumerate(ON_LIGHT))
    dark = "".join(f"--c{index}:{colour};" for index, colour in enumerate(ON_DARK))
    return f":root{{{light}}}\n@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}\n"


def _packaged(name: str) -> str:
    return package_files("rltransfer.report.html").joinpath(name).read_text(encoding="utf-8")
