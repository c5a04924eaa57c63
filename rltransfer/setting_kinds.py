"""The kinds of values that settings have: how each is described, recognised and made plain, without torch."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from rltransfer.errors import unknown
from rltransfer.python_text import parse_expression

ACTIVATIONS = ("ReLU", "Tanh", "ELU", "GELU", "SiLU", "LeakyReLU", "Mish", "SELU", "Sigmoid", "Softplus")
NOISES = ("normal", "ornstein-uhlenbeck")

_LINEAR = re.compile(r"lin(?:ear)?_(.+)")
_DOTTED_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_ACTIVATION = re.compile(r"(?:(?:th|torch)\.)?(?:nn\.)?(\w+)")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of values: ``expected`` says it in words, ``accept`` returns a value made plain or raises ValueError."""

    expected: str
    accept: Callable[[Any], Any]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    return value


def _whole(value: Any) -> int:
    if _number(value) != int(value):
        raise ValueError
    return int(value)


def _schedule(value: Any) -> float | str:
    """Returns a number, or text of the form ``lin_x``: RL Zoo's schedule that falls linearly from x to 0."""
    if not isinstance(value, str):
        if _number(value) < 0:
            raise ValueError
        return _number(value)
    match = _LINEAR.fullmatch(value)
    if match is None or not 0 <= float(match.group(1)) < math.inf:
        raise ValueError
    return f"lin_{match.group(1)}"


def _at_least(bound: float, read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def accept(value: Any) -> Any:
        number = read(value)
        if number < bound:
            raise ValueError
        return number

    return accept


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _fraction(value: Any) -> float:
    if not 0 <= _number(value) <= 1:
        raise ValueError
    return float(value)


def _positive(value: Any) -> float:
    if _number(value) <= 0:
        raise ValueError
    return float(value)


def _auto_or_number(value: Any) -> float | str:
    """Returns a number, ``auto``, or ``auto_x`` (SAC's entropy coefficient, learned, starting from x)."""
    if not isinstance(value, str):
        return _number(value)
    if value != "auto" and not (value.startswith("auto_") and float(value.removeprefix("auto_")) > 0):
        raise ValueError
    return value


def _train_freq(value: Any) -> int | list[Any]:
    if isinstance(value, list | tuple):
        steps, unit = value
        if unit not in ("step", "episode"):
            raise ValueError
        return [COUNT.accept(steps), unit]
    return int(COUNT.accept(value))


def _name(value: Any) -> str:
    if not isinstance(value, str) or not _DOTTED_NAME.fullmatch(value):
        raise ValueError
    return value


def _noise(value: Any) -> str:
    if value not in NOISES:
        raise ValueError
    return str(value)


def _activation(value: Any) -> str:
    match = _ACTIVATION.fullmatch(_name(value))
    if match is None or match.group(1) not in ACTIVATIONS:
        raise ValueError
    return f"nn.{match.group(1)}"


def read_activation(text: str) -> str:
    """Returns the name of an activation function of ``torch.nn``, without its module.

    >>> read_activation("nn.ReLU")
    'ReLU'

    Raises:
        UnknownNameError: There is no such function among those that hyperparameters can name.
    """
    try:
        return _activation(text).removeprefix("nn.")
    except ValueError:
        raise unknown("activation function", str(text), ACTIVATIONS) from None


def _mapping(value: Any) -> dict[str, Any]:
    content = parse_expression(value) if isinstance(value, str) else value
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise ValueError
    return dict(content)


def _layer_sizes(value: Any) -> list[int]:
    if not isinstance(value, list | tuple):
        raise ValueError
    return [COUNT.accept(size) for size in value]


def _net_arch(value: Any) -> list[int] | dict[str, list[int]]:
    content = parse_expression(value) if isinstance(value, str) else value
    if isinstance(content, list) and len(content) == 1 and isinstance(content[0], Mapping):
        # The form of SB3 before 1.8: a list that holds one dictionary.
        content = content[0]
    if not isinstance(content, Mapping):
        return _layer_sizes(content)
    if not content.keys() <= {"pi", "vf", "qf"}:
        raise ValueError
    return {str(branch): _layer_sizes(sizes) for branch, sizes in content.items()}


def optional(kind: Kind) -> Kind:
    """Returns the kind that takes None, too."""
    return Kind(f"{kind.expected}, or null", lambda value: None if value is None else kind.accept(value))


COUNT = Kind("a whole number of at least 1", _at_least(1, _whole))
COUNT_OR_ZERO = Kind("a whole number of at least 0", _at_least(0, _whole))
COUNT_OR_MINUS_1 = Kind("a whole number of at least -1", _at_least(-1, _whole))
NUMBER = Kind("a number", _number)
POSITIVE = Kind("a number above 0", _positive)
FRACTION = Kind("a number from 0 to 1", _fraction)
FLAG = Kind("true or false", _flag)
SCHEDULE = Kind("a number of at least 0 or a schedule such as lin_0.001", _schedule)
AUTO_OR_NUMBER = Kind("a number, auto, or auto_ with a number above 0", _auto_or_number)
TRAIN_FREQ = Kind('a whole number of at least 1, or [number, "step" or "episode"]', _train_freq)
NAME = Kind("the name of a class", _name)
NOISE = Kind(" or ".join(NOISES), _noise)
ACTIVATION = Kind(f"an activation function (nn.{', nn.'.join(ACTIVATIONS)})", _activation)
MAPPING = Kind("keys with values, or text such as dict(key=value)", _mapping)
NET_ARCH = Kind("layer sizes such as [64, 64], or dict(pi=[64], vf=[64])", _net_arch)
