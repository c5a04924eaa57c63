"""How often the intervals of this package cover the truth, as measured by ``scripts/measure_coverage.py``."""

import dataclasses
import functools
import json
import math
from importlib import resources

from rltransfer.errors import unknown

ACCEPTED = 0.93
_TABLE = "coverage.json"


@dataclasses.dataclass(frozen=True)
class Coverage:
    """The share of simulated studies whose 95 % interval held the truth, by the distribution of the scores.

    Without ``shares`` it was not measured.
    """

    method: str
    runs: int
    shares: dict[str, float]

    @property
    def least(self) -> float:
        """The share under the distribution that suits the method least: nobody knows that of their own scores.

        NaN where nothing was measured.
        """
        return min(self.shares.values(), default=math.nan)


def measured_coverage(method: str, runs: int) -> Coverage:
    """Returns what was measured for a method with so many runs per arm, or with the next smaller number measured.

    With fewer runs than were ever measured nothing is known of it, and there are no shares.

    Args:
        method: A name in the table.
        runs: Runs per arm, of the smaller arm where they differ.

    Raises:
        UnknownNameError: There is no such method.
    """
    table = _table()
    if method not in table:
        raise unknown("method", method, table)
    at = max((number for number in table[method] if number <= runs), default=None)
    return Coverage(method, runs, {}) if at is None else Coverage(method, at, table[method][at])


def measured_methods() -> frozenset[str]:
    """Returns the names of the methods whose coverage was measured."""
    return frozenset(_table())


@functools.cache
def _table() -> dict[str, dict[int, dict[str, float]]]:
    text = resources.files("rltransfer.stats").joinpath(_TABLE).read_text()
    rows = json.loads(text)["coverage"]
    return {method: {int(runs): shares for runs, shares in by_runs.items()} for method, by_runs in rows.items()}
