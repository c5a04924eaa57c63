"""Finds runs on disk, and reads them."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from rltransfer.errors import RunError
from rltransfer.records.curves import Curve, read_curve
from rltransfer.records.names import CURVE, OWN_FOLDER, RECORD
from rltransfer.records.record import RunRecord, read_record


@dataclasses.dataclass(frozen=True)
class Run:
    """A run as found on disk."""

    folder: Path
    record: RunRecord
    curve: Curve | None


def read_run(run_folder: Path) -> Run:
    """Returns the record of a run folder, with its curve where there is one."""
    record = read_record(run_folder)
    curve = read_curve(run_folder) if (run_folder / CURVE).exists() else None
    return Run(folder=run_folder, record=record, curve=curve)


def find_runs(root: Path, say_unreadable: Callable[[Path, RunError], None] | None = None) -> Iterator[Run]:
    """Yields every run of ours below ``root``, in the order of their paths.

    Args:
        root: The folder.
        say_unreadable: Receives the folder of a run whose record or curve is damaged, and what is wrong; without it,
            the first such run stops the search.

    Raises:
        RunError: A run cannot be read.
    """
    for path in sorted(root.rglob(f"{OWN_FOLDER}/{RECORD}")):
        folder = path.parent.parent
        try:
            run = read_run(folder)
        except RunError as error:
            if say_unreadable is None:
                raise
            say_unreadable(folder, error)
        else:
            yield run
