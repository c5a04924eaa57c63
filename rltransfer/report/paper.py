"""Saves figures for papers, all in one style: PNG, SVG and PDF, the same bytes from the same data."""

import io
import textwrap
from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rltransfer.report.looks import Look

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = ("png", "svg", "pdf")

INK = "#222222"
GREY = "#6b6b6b"
RULE = "#e6e6e6"
_DASH = 0.5
_LABEL_WIDTH = 26
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
    return plain("\n".join(textwrap.wrap(name, _LABEL_WIDTH, break_on_hyphens=False, max_lines=3)) or name)


def line_style(look: Look) -> Any:
    """Returns the line of an arm as matplotlib takes it, whose dashes are in units of the line's width."""
    return (0, tuple(_DASH * length for length in look.dashes)) if look.dashes else "-"


def plain(text: str) -> str:
    """Returns text without what matplotlib would read as mathematics."""
    return text.replace("$", r"\$")
