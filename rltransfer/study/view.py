"""Shows how far a study is while it runs: a live table on a terminal, plain lines elsewhere."""

import contextlib
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
_BAR_WIDTH = 30
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
        """Draws the table anew."""
        self._live.update(table_of(states), refresh=True)


@contextlib.contextmanager
def open_view(say: Callable[[str], None] | None = None) -> Iterator[View]:
    """Yields the view of a study: of lines if they are received by ``say``, or if nobody watches."""
    if say is not None or not sys.stdout.isatty():
        yield Lines(say or _print)
        return
    with Live(console=Console(), auto_refresh=False, transient=True) as live:
        yield LiveTable(live)


def table_of(states: Sequence[RunState]) -> Group:
    """Returns the runs that are going on with their bars, and the whole study in a line below."""
    running = [state for state in states if state.state == "running"]
    table = Table.grid(padding=(0, 2))
    for state in running[:_ROWS]:
        total = state.job.config.n_timesteps
        table.add_row(
            Text(state.job.name),
            ProgressBar(total=total, completed=min(state.env_steps, total), width=_BAR_WIDTH),
            Text(f"{state.env_steps:,} of {total:,} steps", justify="right"),
            Text(f"{state.steps_per_second:,.0f} per second" if state.steps_per_second else "", justify="right"),
        )
    more = [Text(f"and {len(running) - _ROWS} more")] if len(running) > _ROWS else []
    return Group(table, *more, Text(str(progress_of(states)), style="bold"))


def _print(line: str) -> None:
    print(line, flush=True)
