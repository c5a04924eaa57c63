"""Every method on every algorithm: it trains and its effect is seen, or it is refused in the words of the table.

The quick tests are of an algorithm of each family, and of what is refused; ``-m long`` has all.
"""

import json

import pytest
from method_table import ALGORITHMS, FAMILIES, TABLE, measured, outcome

from rltransfer.strategies import KINDS, parse_strategy
from rltransfer.transfer.methods import method_class, method_of

ROWS: dict[str, dict[str, str]] = json.loads(TABLE.read_text())


def test_the_table_has_every_method_and_every_algorithm() -> None:
    words = "write tests/data/methods_by_algorithm.json again: python tests/method_table.py"
    assert list(ROWS) == list(KINDS), words
    assert all(tuple(row) == ALGORITHMS for row in ROWS.values()), words


def check(kind: str, algo: str) -> None:
    """Checks a row: a refusal in its words, or an agent that trains and shows the method's effect."""
    if ROWS[kind][algo] != "trains":
        assert outcome(kind, algo) == ROWS[kind][algo]
        return
    method, run = measured(kind, algo)
    assert list(method.missing_effects(run)) == []


@pytest.mark.parametrize("algo", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_shows_its_effect_or_is_refused_by_name(kind: str, algo: str) -> None:
    check(kind, algo)


@pytest.mark.long
@pytest.mark.parametrize("algo", [algo for algo in ALGORITHMS if algo not in FAMILIES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_on_any_algorithm_shows_its_effect_or_is_refused_by_name(kind: str, algo: str) -> None:
    check(kind, algo)


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_has_its_room(kind: str) -> None:
    assert method_class(kind).__module__ == f"rltransfer.transfer.methods.{kind}"
    assert KINDS[kind].__module__ == f"rltransfer.strategies.{kind}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("auto", "scratch")])
def test_an_effect_is_missed_where_a_method_does_nothing(kind: str) -> None:
    algo = next(algo for algo in FAMILIES if ROWS[kind][algo] == "trains")
    method, run = measured(kind, algo)
    _, other = measured("scratch", algo)
    assert list(method.missing_effects(other)), f"the effect of {kind} is seen on an agent of scratch"
    assert run.plan != other.plan


def test_the_effect_of_scratch_is_missed_where_weights_moved() -> None:
    method = method_of(parse_strategy("scratch")[0])
    assert list(method.missing_effects(measured("full", "ppo")[1]))
