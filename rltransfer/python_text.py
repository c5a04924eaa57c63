"""Reads the Python expressions that RL Zoo writes into YAML, such as ``dict(net_arch=[64, 64])``, without ``eval``."""

import ast
from typing import Any

_MAX_TEXT = 10_000


def parse_expression(text: str) -> Any:
    """Returns the plain data that an expression spells; a dotted name becomes text.

    Literals, lists, tuples, dictionaries, ``dict(...)`` and names are all there is.

    >>> parse_expression("dict(net_arch=[64, 64], activation_fn=nn.ReLU, ortho_init=False)")
    {'net_arch': [64, 64], 'activation_fn': 'nn.ReLU', 'ortho_init': False}

    Raises:
        ValueError: It is no such expression.
    """
    if len(text) > _MAX_TEXT:
        raise ValueError(f"an expression of {len(text)} characters")
    try:
        return _value(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise ValueError(f"not an expression: {error}") from None


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_value(item) for item in items]
        case ast.Dict(keys=keys, values=values):
            return {_value(key): _value(value) for key, value in zip(filter(None, keys), values, strict=True)}
        case ast.Call(func=ast.Name(id="dict"), args=[], keywords=keywords) if all(item.arg for item in keywords):
            return {str(item.arg): _value(item.value) for item in keywords}
        case ast.Name() | ast.Attribute():
            return _dotted_name(node)
    raise ValueError(f"only plain values, lists and dict(...) may stand here, not {ast.unparse(node)[:60]!r}")


def _dotted_name(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name) if not name.startswith("_"):
            return f"{_dotted_name(owner)}.{name}"
    raise ValueError(f"only names may stand here, not {ast.unparse(node)[:60]!r}")
