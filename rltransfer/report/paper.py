"""Saves figures for papers, all in one style: PNG, SVG and PDF, the same bytes from the same data."""

import functools
import io
from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextToPath

from rltransfer.report.arm_styles import Look

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")

INK = "#222222"
GREY = "#6b6b6b"
RULE = "#e6e6e6"
_DASH = 0.5
_LABEL_INCHES = 1.95
_LONGEST = 240
# Fonts go into the file: as TrueType (a journal's check asks for it) or as shapes; SVG ids are the same each time.
_STYLE: Any = {"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "rltransfer", "font.family": "DejaVu Sans"}
_NO_DATES: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def rendered(make: Callable[[], Figure], formats: Sequence[Format]) -> dict[Format, bytes]:
    """Returns a figure in each format; the same figure gives the same bytes with the same matplotlib."""
    with mpl.rc_context(_STYLE):
        figure = make()
        drawn: dict[Format, bytes] = {}
        for kind in formats:
            content = io.BytesIO()
            figure.savefig(content, format=kind, dpi=160, metadata=_NO_DATES[kind])
            drawn[kind] = content.getvalue()
            # The layout stays as it was found: finding it takes as long as drawing.
            figure.set_layout_engine("none")
    return drawn


def tidy(axes: Axes) -> None:
    """Gives axes the look of all figures."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9)


def wrapped(name: str) -> str:
    """Returns an arm's name on several short lines."""
    return fitted(name, _LABEL_INCHES, 9)


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Returns the width of a line of text in inches."""
    return sum(_advance(letter, bold) for letter in text) * size / 72


def fitted(text: str, width_inches: float, size: float, *, bold: bool = False, lines: int = 3) -> str:
    """Returns text on lines that are no wider, broken behind a space, ``_``, ``-`` or ``/`` where there is one.

    What more lines would be needed for is left out in the middle.
    """
    text = " ".join(text.split())
    if len(text) > _LONGEST:
        text = f"{text[: _LONGEST // 2]}…{text[-_LONGEST // 2 :]}"
    pieces = _broken(text, width_inches, size, bold)
    kept = len(text)
    while len(pieces) > lines and kept > 2:
        kept -= 1
        pieces = _broken(f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}", width_inches, size, bold)
    return plain("\n".join(pieces))


def _broken(text: str, width_inches: float, size: float, bold: bool) -> list[str]:
    pieces: list[str] = []
    rest = text.strip()
    while rest:
        count = 1
        while count < len(rest) and text_width(rest[: count + 1], size, bold=bold) <= width_inches:
            count += 1
        if count < len(rest):
            places = [max(rest.rfind(sign, 0, count) for sign in signs) + 1 for signs in (" ", "_-/")]
            count = next((place for place in places if place > count // 2), count)
        pieces.append(rest[:count].rstrip())
        rest = rest[count:].lstrip()
    return pieces or [""]


@functools.cache
def _advance(letter: str, bold: bool) -> float:
    """Returns how far a letter takes a line of text on, in units of its size."""
    font = FontProperties(family="DejaVu Sans", weight="bold" if bold else "normal", size=100)
    width, _, _ = TextToPath().get_text_width_height_descent(plain(letter) or " ", font, ismath=False)
    return float(width) / 100


def line_style(look: Look) -> Any:
    """Returns the line of an arm as matplotlib takes it, whose dashes are in units of the line's width."""
    return (0, tuple(_DASH * length for length in look.dashes)) if look.dashes else "-"


def plain(text: str) -> str:
    """Returns text without what matplotlib would read as mathematics."""
    return text.replace("$", r"\$")
