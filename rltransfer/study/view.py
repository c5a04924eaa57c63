"""Shows how far a study is while it runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rltransfer.study.status import RunState, progress_of

LINE_SECONDS = 300.0
"""Without a terminal, a line about the whole study comes this often."""
_BAR_WIDTHS = (8, 30)
_LEAST_NAME_WIDTH = 16
_GAP = 2
_ROWS = 20


class View(Protocol):
    """Where a study tells how far it is."""

    def say(self, line: str) -> None:
        """Tells that something happened, in a line that stays."""
        ...

    def show(self, states: Sequence[RunState]) -> None:
        """Shows how far every run is now."""
        ...


class Lines:
    """Tells everything in lines, and how far the study is now and then."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._shown = time.monotonic()

    def say(self, line: str) -> None:
        """Tells that something happened."""
        self._say(line)

    def show(self, states: Sequence[RunState]) -> None:
        """Tells how far the study is, if that was long ago."""
        if time.monotonic() - self._shown >= LINE_SECONDS:
            self._shown = time.monotonic()
            self._say(str(progress_of(states)))


class LiveTable:
    """Keeps a table of the runs that are going on below the lines."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def say(self, line: str) -> None:
        """Prints a line above the table."""
        self._live.console.print(Text(line))

    def show(self, states: Sequence[RunState]) -> None:
        """Draws the table anew, as large as the terminal is now."""
        width, height = self._live.console.size
        self._live.update(table_of(states, width=width, height=height), refresh=True)


@contextlib.contextmanager
def open_view(say: Callable[[str], None] | None = None) -> Iterator[View]:
    """Yields the view of a study: of lines if they are received by ``say``, or if nobody watches."""
    # What cannot move its cursor is no better than a file.
    if say is not None or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "", "dumb", "unknown"):
        yield Lines(say or _print)
        return
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield LiveTable(live)


def table_of(states: Sequence[RunState], *, width: int, height: int) -> Group:
    """Returns the runs that are going on with their bars, and the whole study in a line below.

    Args:
        states: How far every run is.
        width: Columns of the terminal: each run stays in one line, and its bar is what shrinks first.
        height: Lines of the terminal.
    """
    running = [state for state in states if state.state == "running"]
    shown = running[: max(1, min(_ROWS, height - 4))]
    steps = [f"{state.env_steps:,} of {state.job.config.n_timesteps:,} steps" for state in shown]
    speeds = [f"{state.steps_per_second:,.0f} per second" if state.steps_per_second else "" for state in shown]
    names = [state.job.name for state in shown]
    room = width - sum(_GAP + max(map(len, texts), default=0) for texts in (steps, speeds))
    name_width = min(max(map(len, names), default=0), max(_LEAST_NAME_WIDTH, room - _GAP - _BAR_WIDTHS[0]))
    bar_width = min(_BAR_WIDTHS[1], room - _GAP - name_width)
    table = Table.grid(padding=(0, _GAP))
    for state, name, done, speed in zip(shown, names, steps, speeds, strict=True):
        total = state.job.config.n_timesteps
        bar = [ProgressBar(total=total, completed=min(state.env_steps, total), width=bar_width)]
        table.add_row(
            Text(_shortened(name, name_width), no_wrap=True),
            *(bar if bar_width >= _BAR_WIDTHS[0] else []),
            Text(done, justify="right", no_wrap=True),
            Text(speed, justify="right", no_wrap=True),
        )
    more = [Text(f"and {len(running) - len(shown)} more")] if len(running) > len(shown) else []
    return Group(table, *more, Text(str(progress_of(states)), style="bold"))


def _shortened(name: str, width: int) -> str:
    """Returns the end of a name, which tells the runs of a task apart.

    >>> _shortened("cartpole/frozen/seed_0", 16)
    '…e/frozen/seed_0'
    """
    return name if len(name) <= width else "…" + name[1 - width :]


def _print(line: str) -> None:
    print(line, flush=True)
