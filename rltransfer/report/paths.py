"""Says where a run lies, as a reader of the report knows it."""

from pathlib import Path

from rltransfer.comparison import Comparison


def below(comparison: Comparison, folder: Path) -> str:
    """Returns a run's folder relative to the root that it was found below."""
    for root in comparison.roots:
        if folder.is_relative_to(root):
            return folder.relative_to(root).as_posix() or "."
    return folder.as_posix()
