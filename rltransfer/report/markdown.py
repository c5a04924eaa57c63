"""Renders blocks as Markdown; what comes from names and files cannot become HTML, a link or an image."""

import re
from collections.abc import Iterable, Sequence
from typing import assert_never

from rltransfer.comparison.names import ACROSS, LAYERS, PROFILES
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
    Span,
    SweepChart,
    Table,
    one_line,
    printable,
    spans,
)
from rltransfer.report.profile_figures import has_profiles

FIGURES = "figures"

# What CommonMark reads as the start of a tag, of an entity, or of the target of a link or image.
_ESCAPES = (
    (re.compile(r"&(?=#?\w+;)"), "&amp;"),
    (re.compile(r"<(?=[A-Za-z/!?])"), "&lt;"),
    (re.compile(r"\]\("), r"]\\("),
    # As an entity: CommonMark pairs backticks by the length of their run, so that a stray one would shift every pair.
    (re.compile("`"), "&#96;"),
)


def render(blocks: Iterable[Block]) -> str:
    """Returns the blocks as Markdown; figures are linked at ``figures/<task>.png``."""
    return "\n\n".join(_block(block) for block in blocks) + "\n"


def _block(block: Block) -> str:  # noqa: PLR0911 - one case for each kind of block
    match block:
        case Heading(text=text, level=level):
            return f"{'#' * level} {_literal(text)}"
        case Paragraph(text=text):
            return marked(text)
        case Bullets(lines=lines):
            return _list(lines)
        case Findings(lines=findings):
            return _list(text for _, text in findings)
        case Alert(lead=lead, lines=lines):
            return f"> {marked(lead)}\n>\n" + "\n".join(f"> - {marked(line)}" for line in lines)
        case Table():
            return _table(block)
        case Charts() | LayerCharts() | SweepChart() | Picture():
            return _figure(block)
        case Code(text=text, language=language):
            return _fenced(printable(text), language)
        case Folded(title=title, level=level, blocks=inner):
            return "\n\n".join(_block(child) for child in (Heading(title, level), *inner))
        case _:
            assert_never(block)


def _figure(block: Chart | Picture) -> str:
    if isinstance(block, Picture):
        return f"![{_literal(block.text)}]({FIGURES}/{block.name}.png)"
    if isinstance(block, SweepChart):
        return f"![{_literal(block.sweep.title)}]({FIGURES}/{block.sweep.name}.png)"
    if isinstance(block, LayerCharts):
        return f"![What the layers represent over training]({FIGURES}/{block.task.name}{LAYERS}.png)"
    if block.task is None:
        return f"![The arms over all tasks]({FIGURES}/{ACROSS}.png)"
    images = [f"![Learning curves and scores per seed]({FIGURES}/{block.task.name}.png)"]
    if has_profiles(block.task):
        images.append(f"![Performance profiles]({FIGURES}/{block.task.name}{PROFILES}.png)")
    return "\n\n".join(images)


def marked(text: str) -> str:
    r"""Returns marked text as Markdown.

    >>> marked("**`a` helps** <b> ![x](http://y)")
    '**`a` helps** &lt;b> ![x]\\(http://y)'
    """
    return "".join(_span(span, text) for span, text in _with_marks(spans(text)))


def _with_marks(pieces: Sequence[Span]) -> Iterable[tuple[Span, str]]:
    """Yields each piece with the marks that open before it; the last one closes what is open."""
    plain = Span("")
    before = plain
    for piece in (*pieces, plain):
        yield piece, _marks(before, piece)
        before = piece


def _marks(before: Span, after: Span) -> str:
    return ("**" if before.bold != after.bold else "") + ("*" if before.italic != after.italic else "")


def _span(span: Span, marks: str) -> str:
    return marks + (f"`{span.text}`" if span.code else _escaped(span.text))


def _escaped(text: str) -> str:
    for pattern, replacement in _ESCAPES:
        text = pattern.sub(replacement, text)
    return text


def _literal(text: str) -> str:
    return _escaped(one_line(text)).replace("*", r"\*")


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {marked(line)}" for line in lines)


def _table(table: Table) -> str:
    """Returns a Markdown table, padded so that it reads as text too."""
    cells = [[marked(text).replace("|", "\\|") for text in row] for row in (table.head, *table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.head))]
    left = [table.left or column == 0 for column in range(len(widths))]
    lines = [
        "| "
        + " | ".join(
            text.ljust(width) if to_left else text.rjust(width)
            for text, width, to_left in zip(row, widths, left, strict=True)
        )
        + " |"
        for row in cells
    ]
    rule = (
        "|"
        + "|".join("-" * (width + 1) + ("-" if to_left else ":") for width, to_left in zip(widths, left, strict=True))
        + "|"
    )
    return "\n".join([lines[0], rule, *lines[1:]])
