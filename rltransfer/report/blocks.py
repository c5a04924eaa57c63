"""What a report is made of: blocks of text, tables and charts, which Markdown and HTML each render in their own way.

Texts of blocks are *marked*: ```code```, ``**bold**`` and ``*italic*`` as the sentences of a comparison use them.
Everything else in them is literal. Names and reasons come from files that others wrote, so a renderer works on
``spans`` and escapes each one; nothing is pasted into a page.
"""

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from rltransfer.comparison import EffectGrid, EffectLine, TaskComparison

Tone = Literal["positive", "negative", "inconclusive", "plain"]

_MARKS = re.compile(r"(`[^`]+`|\*\*|\*)")
# Control characters, and halves of surrogate pairs, which JSON can hold and UTF-8 cannot.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Heading:
    """A heading; its text is literal, without marks. Level 1 is the title."""

    text: str
    level: int


@dataclasses.dataclass(frozen=True)
class Paragraph:
    """A paragraph of marked text."""

    text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list of marked lines."""

    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Findings:
    """One marked sentence per arm, each with the tone of its verdict."""

    lines: tuple[tuple[Tone, str], ...]


@dataclasses.dataclass(frozen=True)
class Alert:
    """What must be read before anything else: a marked lead and marked lines."""

    lead: str
    lines: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of marked cells: the first column is left, the others right; ``tones`` colours the rows' verdicts."""

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    tones: tuple[Tone, ...] = ()
    left: bool = False


@dataclasses.dataclass(frozen=True)
class Charts:
    """The place of the charts of a task; None for those of all tasks together."""

    task: TaskComparison | None


@dataclasses.dataclass(frozen=True)
class LayerCharts:
    """The place of the charts of what the layers of a task's arms represented."""

    task: TaskComparison


@dataclasses.dataclass(frozen=True)
class SweepChart:
    """The place of the picture of a sweep."""

    sweep: EffectGrid | EffectLine


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that was drawn before: what it shows, its name among the report's figures, and its PNG."""

    text: str
    name: str
    png: bytes


@dataclasses.dataclass(frozen=True)
class Code:
    """Literal text of a language, such as a file or a command."""

    text: str
    language: str


@dataclasses.dataclass(frozen=True)
class Folded:
    """Blocks under a heading that a reader opens when they want them."""

    title: str
    level: int
    blocks: tuple["Block", ...]


Chart = Charts | LayerCharts | SweepChart
"""What each renderer draws in its own way, from a comparison."""
Block = Heading | Paragraph | Bullets | Findings | Alert | Table | Chart | Picture | Code | Folded


@dataclasses.dataclass(frozen=True)
class Span:
    """A piece of literal text in one style."""

    text: str
    code: bool = False
    bold: bool = False
    italic: bool = False


def spans(marked: str) -> list[Span]:
    """Returns the pieces of a marked text; a mark without its other half is literal.

    >>> [(span.text, span.code, span.bold) for span in spans("**`frozen` helps.** a * b")]
    [('frozen', True, True), (' helps.', False, True), (' a * b', False, False)]
    """
    pieces = [piece for piece in _MARKS.split(one_line(marked)) if piece]
    literal = {mark for mark in ("*", "**") if pieces.count(mark) % 2}
    spans_of_text: list[Span] = []
    bold = italic = False
    for piece in pieces:
        if piece == "**" and piece not in literal:
            bold = not bold
        elif piece == "*" and piece not in literal:
            italic = not italic
        elif len(piece) > 2 and piece[0] == piece[-1] == "`":
            spans_of_text.append(Span(piece[1:-1], code=True, bold=bold, italic=italic))
        elif spans_of_text and spans_of_text[-1] == Span(spans_of_text[-1].text, bold=bold, italic=italic):
            spans_of_text[-1] = Span(spans_of_text[-1].text + piece, bold=bold, italic=italic)
        else:
            spans_of_text.append(Span(piece, bold=bold, italic=italic))
    return spans_of_text


def one_line(text: str) -> str:
    r"""Returns text on one line, with what cannot be printed replaced.

    >>> one_line("a\n b\x00")
    'a b\ufffd'
    """
    return _UNPRINTABLE.sub("\ufffd", re.sub(r"[ \t\r\n]+", " ", text))


def printable(text: str) -> str:
    """Returns text of several lines with what cannot be printed replaced."""
    return _UNPRINTABLE.sub("\ufffd", text.replace("\r\n", "\n"))


def bullets(lines: Sequence[str]) -> tuple[Block, ...]:
    """Returns a list of the lines, or nothing where there are none."""
    return (Bullets(tuple(lines)),) if lines else ()
