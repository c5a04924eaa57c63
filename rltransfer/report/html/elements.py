"""Builds HTML as a tree, so that text and attributes are escaped by the serialiser and never by hand."""

import math
import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

from rltransfer.report.blocks import one_line, printable, spans

Child = Element | str | None


def element(tag: str, attributes: dict[str, str] | None = None, *children: Child) -> Element:
    """Returns an element; children are elements or literal text, None is left out."""
    made = Element(tag, {name: one_line(value) for name, value in (attributes or {}).items()})
    for child in children:
        append(made, child)
    return made


def append(parent: Element, child: Child) -> None:
    """Adds an element or literal text at the end of another element."""
    if isinstance(child, Element):
        parent.append(child)
    elif child:
        text = printable(child)
        if len(parent):
            parent[-1].tail = (parent[-1].tail or "") + text
        else:
            parent.text = (parent.text or "") + text


def marked(tag: str, text: str, attributes: dict[str, str] | None = None) -> Element:
    """Returns an element that holds marked text."""
    made = element(tag, attributes)
    for span in spans(text):
        piece: Child = element("code", None, span.text) if span.code else span.text
        for wrapper, on in (("em", span.italic), ("strong", span.bold)):
            piece = element(wrapper, None, piece) if on else piece
        append(made, piece)
    return made


def breakable(name: str) -> list[Child]:
    """Returns a name that a browser may break behind ``_``, ``-`` and ``/``."""
    first, *others = re.split(r"(?<=[_/-])(?=.)", name)
    return [first, *(piece for other in others for piece in (element("wbr"), other))]


def serialise(root: Element) -> str:
    """Returns an element as HTML."""
    return tostring(root, encoding="unicode", method="html")


def style(**properties: str) -> dict[str, str]:
    """Returns a style attribute; names are written with ``_`` for ``-``."""
    return {"style": ";".join(f"{name.replace('_', '-')}:{value}" for name, value in properties.items())}


def path(points: Iterable[tuple[float, float]]) -> str:
    """Returns the ``d`` of a line through points given as shares of a 1000 x 1000 box, y upwards; a gap breaks it."""
    parts: list[str] = []
    pen_up = True
    for x, y in points:
        if math.isnan(y):
            pen_up = True
            continue
        parts.append(f"{'M' if pen_up else 'L'}{1000 * x:.4g} {1000 * (1 - y):.4g}")
        pen_up = False
    return "".join(parts)
