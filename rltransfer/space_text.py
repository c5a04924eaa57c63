"""Rebuilds a space from the text that stands beside its pickle in an SB3 zip; nothing is evaluated.

SB3 writes each object as a pickle with a readable shadow of its attributes (sb3_facts.md#pickles). Arrays in the shadow
are NumPy's printed form, members of a Dict or Tuple space are Gymnasium's printed form. Here both become the data that
``space_from_json`` reads.
"""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from rltransfer.errors import SourceError
from rltransfer.spaces import space_from_json

_MAX_TEXT = 1_000_000
_CLASS = re.compile(r"<class '(?:gym|gymnasium)\.spaces\.\w+\.(\w+)'>")
_DTYPE = re.compile(r"\b(?:float|u?int)\d+\b")
# Where NumPy separates entries by blanks and newlines, Python wants commas.
_BLANK_IN_ARRAY = re.compile(r"(?<=[\w.\]])\s+(?=[\w.\-+\[])")
# Keys are quoted, and stay as they are whatever they hold.
_QUOTED_OR_ARRAY = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\[[\s\w.,\-+\[\]]*\]""")
_WORDS = {"inf": float("inf"), "nan": float("nan")}


def space_from_sb3_text(shadow: Any) -> spaces.Space[Any] | None:
    """Returns the space that a shadow in an SB3 zip's ``data`` describes, or None where its text does not tell.

    Spaces of ``gymnasium`` and of the old ``gym`` are read alike. A bound of which NumPy printed only the corners
    (``[0 0 ... 0]``) is taken as uniform if all printed entries are equal and ``low_repr`` says nothing else.
    """
    if not isinstance(shadow, Mapping):
        return None
    kind = _CLASS.fullmatch(str(shadow.get(":type:")))
    if kind is None or kind.group(1) not in _ATTRIBUTES:
        return None
    try:
        return space_from_json(_ATTRIBUTES[kind.group(1)](shadow))
    except (SourceError, ValueError, TypeError, KeyError, StopIteration, SyntaxError, RecursionError, MemoryError):
        # The shadow is anybody's text: whatever is wrong with it, the space is unknown.
        return None


def _box(shadow: Mapping[str, Any]) -> dict[str, Any]:
    shape = _first(shadow, "_shape", "shape")
    return _box_content(
        low=_bound(shadow, "low", shape), high=_bound(shadow, "high", shape), shape=shape, dtype=shadow["dtype"]
    )


def _box_content(low: Any, high: Any, shape: Any, dtype: Any) -> dict[str, Any]:
    name = _DTYPE.search(str(dtype))
    if name is None:
        raise ValueError(f"entries of type {dtype}")
    return {"type": "Box", "shape": list(shape), "dtype": name.group(), "low": low, "high": high}


def _bound(shadow: Mapping[str, Any], name: str, shape: Any) -> Any:
    """Returns a bound as a number or a nested list, from the printed array or from Gymnasium's short form of it."""
    numbers, is_complete = _numbers(str(shadow[name]))
    if is_complete:
        return numbers[0] if list(shape) == [] else np.reshape(numbers, shape).tolist()
    short = shadow.get(f"{name}_repr")
    if short is not None:
        short_numbers, short_is_complete = _numbers(str(short))
        if short_is_complete and len(short_numbers) == 1:
            return short_numbers[0]
    if len(set(numbers)) != 1:
        raise ValueError("NumPy left out entries of an array that is not uniform")
    return numbers[0]


def _numbers(text: str) -> tuple[list[float], bool]:
    """Returns the numbers of a printed array, and whether NumPy printed all of them."""
    if len(text) > _MAX_TEXT:
        raise ValueError("the text of an array is too long")
    words = re.sub(r"[\[\],]", " ", text).split()
    return [float(word) for word in words if word != "..."], "..." not in words


def _whole_numbers(value: Any) -> Any:
    """Returns a whole number or a nested list of them, from JSON or from its printed form."""
    if isinstance(value, int):
        return value
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return _value(ast.parse(_with_commas(str(value)), mode="eval").body)


def _discrete(shadow: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "Discrete",
        "n": _whole_numbers(shadow["n"]),
        "start": _whole_numbers(shadow.get("start", 0)),
    }


def _multi_discrete(shadow: Mapping[str, Any]) -> dict[str, Any]:
    content = {"type": "MultiDiscrete", "nvec": _whole_numbers(shadow["nvec"])}
    return content | ({"start": _whole_numbers(shadow["start"])} if "start" in shadow else {})


def _multi_binary(shadow: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "MultiBinary", "shape": list(_first(shadow, "_shape", "shape"))}


def _members(kind: str, shadow: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": kind, "spaces": _value(ast.parse(_with_commas(str(shadow["spaces"])), mode="eval").body)}


_ATTRIBUTES: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": _multi_binary,
    "Dict": lambda shadow: _members("Dict", shadow),
    "Tuple": lambda shadow: _members("Tuple", shadow),
}


def _first(shadow: Mapping[str, Any], *names: str) -> Any:
    return next(shadow[name] for name in names if shadow.get(name) is not None)


def _with_commas(text: str) -> str:
    if len(text) > _MAX_TEXT:
        raise ValueError("the text of a space is too long")
    return _QUOTED_OR_ARRAY.sub(
        lambda match: match.group() if match.group()[0] in "'\"" else _BLANK_IN_ARRAY.sub(", ", match.group()), text
    )


def _value(node: ast.expr) -> Any:
    """Returns the data of a parsed expression in which only literals and the names of spaces may stand."""
    match node:
        case ast.Constant(value=int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
        case ast.Name(id=name):
            return _WORDS.get(name, name)
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_value(key): _value(value) for key, value in zip(filter(None, keys), values, strict=True)}
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=keywords):
            named = {keyword.arg: _value(keyword.value) for keyword in keywords}
            return _call(name, [_value(argument) for argument in arguments], named)
    raise ValueError(f"cannot be read as part of a space: {ast.dump(node)[:80]}")


def _call(name: str, arguments: list[Any], named: dict[str | None, Any]) -> Any:
    match name, arguments:
        case "OrderedDict", [dict() | list() as items]:
            return dict(items)
        case "Box", [low, high, shape, dtype]:
            return _box_content(low, high, shape, dtype)
        case "Discrete", [n]:
            return {"type": "Discrete", "n": n, "start": named.get("start", 0)}
        case "MultiDiscrete", [nvec]:
            return {"type": "MultiDiscrete", "nvec": nvec} | ({"start": named["start"]} if "start" in named else {})
        case "MultiBinary", [shape]:
            return {"type": "MultiBinary", "shape": shape if isinstance(shape, list) else [shape]}
    raise ValueError(f"cannot be read as a space: {name}")
