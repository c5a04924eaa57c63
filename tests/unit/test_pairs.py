"""``key:value`` words of the command line."""

import argparse
from typing import Any

import pytest

from rltransfer.cli.pairs import StorePairs, read_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-1.5", -1.5),
        ("1e-3", 0.001),
        ("1_000", 1000),
        ("True", True),
        ("false", False),
        ("None", None),
        ("null", None),
        ("none", "none"),
        ("lin_3e-4", "lin_3e-4"),
        ("'5'", "5"),
        ("[64, 64]", [64, 64]),
        ("{'a': 1}", {"a": 1}),
        ("dict(net_arch=[1])", "dict(net_arch=[1])"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_a_word_is_read_as_the_value_that_it_spells_and_never_run(text: str, value: Any) -> None:
    result = read_value(text)
    assert result == value
    assert type(result) is type(value)


def parse(*argv: str) -> Any:
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--env-kwargs", nargs="+", action=StorePairs)
    return parser.parse_args(argv).env_kwargs


def test_words_are_collected_and_a_later_one_wins() -> None:
    assert parse("--env-kwargs", "a:1", "b:x:y", "a:2") == {"a": 2, "b": "x:y"}
    assert parse("--env-kwargs", "a:1", "--env-kwargs", "b:2") == {"a": 1, "b": 2}
    assert parse() is None


@pytest.mark.parametrize("word", ["length=1.5", ":1", "length"])
def test_a_word_without_key_or_colon_is_refused_by_name(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--env-kwargs", word)
    assert caught.value.code == 2
    assert f"argument --env-kwargs: expected key:value, found {word!r}" in capsys.readouterr().err
