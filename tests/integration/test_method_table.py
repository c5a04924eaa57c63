"""Every method on every algorithm: it trains, or it is refused in the words of the table, and no less trains than before.

The quick tests are of an algorithm of each family, and of what is refused; ``-m long`` has all.
"""

import json

import pytest
from method_table import ALGORITHMS, FAMILIES, TABLE, outcome

from rltransfer.strategies import KINDS

ROWS: dict[str, dict[str, str]] = json.loads(TABLE.read_text())


def test_the_table_has_every_method_and_every_algorithm() -> None:
    words = "write tests/data/methods_by_algorithm.json again: python tests/method_table.py"
    assert list(ROWS) == list(KINDS), words
    assert all(tuple(row) == ALGORITHMS for row in ROWS.values()), words


@pytest.mark.parametrize("algo", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_trains_or_is_refused_by_name(kind: str, algo: str) -> None:
    assert outcome(kind, algo) == ROWS[kind][algo]


@pytest.mark.long
@pytest.mark.parametrize("algo", [algo for algo in ALGORITHMS if algo not in FAMILIES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_on_any_algorithm_trains_or_is_refused_by_name(kind: str, algo: str) -> None:
    assert outcome(kind, algo) == ROWS[kind][algo]
