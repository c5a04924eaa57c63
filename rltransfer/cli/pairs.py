"""Reads ``key:value`` words as RL Zoo's flags take them, without ``eval``."""

import argparse
import ast
from collections.abc import Sequence
from typing import Any


class StorePairs(argparse.Action):
    """Collects ``key:value`` words into a dictionary; a later word for a key wins."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Reads the words that follow one flag."""
        words = [values] if isinstance(values, str) else list(values or [])
        pairs = dict(getattr(namespace, self.dest) or {})
        for word in words:
            key, colon, text = word.partition(":")
            if not colon or not key:
                parser.error(f"argument {option_string}: expected key:value, found {word!r}")
            pairs[key] = read_value(text)
        setattr(namespace, self.dest, pairs)


def read_value(text: str) -> Any:
    """Returns the number, boolean, None, list or dictionary that a word spells, or the word itself.

    >>> read_value("1.5"), read_value("[3, 4]"), read_value("true"), read_value("frozen")
    (1.5, [3, 4], True, 'frozen')
    """
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words:
        # `none` stays a word: it is a value of `layers`.
        return text if text == "none" else words[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
