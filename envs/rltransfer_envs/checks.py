"""Refuses environment arguments that do not exist or cannot work, each by its name.

The checks take the environment under construction first, for its name in the message, or that name itself, and return
the checked value.
"""

import functools
import inspect
import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, ParamSpec, get_args

from rltransfer.errors import ConfigError, MissingExtraError, UnknownNameError, did_you_mean

P = ParamSpec("P")


def refuses_unknown(init: Callable[P, None]) -> Callable[P, None]:
    """Returns a constructor that answers an unknown keyword with near misses instead of Python's ``TypeError``.

    A keyword without a default that is missing is named, too. The signature that ``inspect`` and type checkers see
    stays that of ``init``. Its own keywords are listed in the message; those of an ``**drawing: Unpack[...]`` are
    accepted and suggested, too.
    """
    arguments, drawing = _keywords(init)
    parameters = inspect.signature(init).parameters
    required = [name for name in arguments if parameters[name].default is inspect.Parameter.empty]
    names = [name for name in arguments if name != "render_mode"]

    @functools.wraps(init)
    def checked(*args: P.args, **kwargs: P.kwargs) -> None:
        for name in kwargs:
            if name not in arguments and name not in drawing:
                near = did_you_mean(name, [*names, *drawing])
                raise UnknownNameError(f"{_name(args[0])} has no argument {name!r}.{near} Known: {', '.join(names)}.")
        for name in required:
            if name not in kwargs:
                raise ConfigError(f"{_name(args[0])} needs the argument {name!r}. Known: {', '.join(names)}.")
        init(*args, **kwargs)

    return checked


def _keywords(init: Callable[..., None]) -> tuple[list[str], list[str]]:
    """Returns the keywords that a constructor names, and those of the TypedDict that takes up its others."""
    parameters = list(inspect.signature(init).parameters.values())[1:]
    arguments = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
    others = [parameter.annotation for parameter in parameters if parameter.kind is parameter.VAR_KEYWORD]
    return arguments, [name for annotation in others for name in get_args(annotation)[0].__annotations__]


def number(env: object, name: str, value: float) -> float:
    """Returns a finite number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise refusal(env, name, "a finite number", value)
    return float(value)


def positive(env: object, name: str, value: float) -> float:
    """Returns a finite number above zero."""
    if number(env, name, value) <= 0:
        raise refusal(env, name, "above 0", value)
    return float(value)


def not_negative(env: object, name: str, value: float) -> float:
    """Returns a finite number that is zero or above."""
    if number(env, name, value) < 0:
        raise refusal(env, name, "0 or above", value)
    return float(value)


def between(env: object, name: str, value: float, low: float, high: float) -> float:
    """Returns a number strictly between two bounds."""
    if not low < number(env, name, value) < high:
        raise refusal(env, name, f"between {low:g} and {high:g}, bounds excluded", value)
    return float(value)


def fraction(env: object, name: str, value: float) -> float:
    """Returns a number from 0 to 1, both included."""
    if not 0 <= number(env, name, value) <= 1:
        raise refusal(env, name, "from 0 to 1", value)
    return float(value)


def interval(env: object, name: str, value: Sequence[float]) -> tuple[float, float]:
    """Returns two numbers, the smaller first; either may be infinite."""
    wanted = "two numbers, the smaller first"
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 2:
        raise refusal(env, name, wanted, value)
    low, high = value
    if any(isinstance(bound, bool) or not isinstance(bound, Real) for bound in value) or not low < high:
        raise refusal(env, name, wanted, value)
    return float(low), float(high)


def sign(env: object, name: str, value: int) -> int:
    """Returns 1 or -1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value not in (1, -1):
        raise refusal(env, name, "1 or -1", value)
    return int(value)


def whole(env: object, name: str, value: int, least: int, most: int | None = None) -> int:
    """Returns a whole number within bounds, both included."""
    wanted = f"a whole number from {least}" + (" up" if most is None else f" to {most}")
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refusal(env, name, wanted, value)
    if value < least or (most is not None and value > most):
        raise refusal(env, name, wanted, value)
    return int(value)


def odd(env: object, name: str, value: int, least: int) -> int:
    """Returns an odd whole number from a bound up."""
    if whole(env, name, value, least) % 2 == 0:
        raise refusal(env, name, f"an odd number from {least} up", value)
    return int(value)


def flag(env: object, name: str, value: bool) -> bool:
    """Returns True or False; 0, 1 and words are refused, so that ``"false"`` never counts as true."""
    if not isinstance(value, bool):
        raise refusal(env, name, "True or False", value)
    return value


def choice(env: object, name: str, value: str, options: Sequence[str]) -> str:
    """Returns one of a few words."""
    if not isinstance(value, str) or value not in options:
        wanted = " or ".join(repr(option) for option in options)
        hint = did_you_mean(value, options) if isinstance(value, str) else ""
        raise ConfigError(f"{refusal(env, name, wanted, value)}{hint}")
    return value


def permutation(env: object, name: str, value: Sequence[int], size: int) -> list[int]:
    """Returns a list that holds each of ``0 .. size - 1`` once."""
    wanted = f"a list with each of {', '.join(map(str, range(size)))} once"
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise refusal(env, name, wanted, value)
    if any(isinstance(item, bool) or not isinstance(item, Integral) for item in value):
        raise refusal(env, name, wanted, value)
    if sorted(value) != list(range(size)):
        raise refusal(env, name, wanted, value)
    return [int(item) for item in value]


def missing_extra(what: str, extra: str) -> MissingExtraError:
    """Returns the error for an environment whose optional dependency is not installed."""
    return MissingExtraError(
        f'{what} needs the extra {extra!r}, which is not installed. Install it with: pip install "rltransfer[{extra}]"'
    )


def refusal(env: object, name: str, wanted: str, value: Any) -> ConfigError:
    """Returns the error for a value that cannot work."""
    return ConfigError(f"{_name(env)}: argument {name!r} must be {wanted}, not {value!r}.")


def _name(env: object) -> str:
    return env if isinstance(env, str) else type(env).__name__
