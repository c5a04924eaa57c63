"""Settings that have a form of their own in files and on the command line: paths, thresholds, what is drawn."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

from rltransfer.algorithms import algorithm_names
from rltransfer.errors import ConfigError
from rltransfer.mapping import Actions, Inputs, parse_mapping
from rltransfer.records import is_network_name
from rltransfer.strategies import Augment, parse_strategy


def _algorithm(name: str) -> str:
    if name not in algorithm_names():
        *most, last = map(repr, algorithm_names())
        raise PydanticCustomError("literal_error", f"Input should be {', '.join(most)} or {last}")
    return name


Algorithm = Annotated[str, AfterValidator(_algorithm)]
"""The short name of an algorithm, such as ``ppo``."""
InputsSetting = Annotated[Inputs | None, BeforeValidator(lambda value: parse_mapping(Inputs, value, "inputs"))]
ActionsSetting = Annotated[Actions | None, BeforeValidator(lambda value: parse_mapping(Actions, value, "actions"))]
FeaturesSetting = Literal["once", "recompute"] | None
"""Where the features of a frozen image encoder are computed."""
_SHARE = re.compile(r"\d+(\.\d+)?\s?%")


def as_paths(value: "str | tuple[str, ...]") -> tuple[str, ...]:
    """Returns paths as a tuple, also where one is given alone."""
    return (value,) if isinstance(value, str) else value


def absolute(paths: "str | tuple[str, ...] | None") -> "str | tuple[str, ...] | None":
    """Returns paths that mean the same in whatever folder a process was started."""
    if paths is None or isinstance(paths, str):
        return None if paths is None else _absolute(paths)
    return tuple(map(_absolute, paths))


def _absolute(path: str) -> str:
    return path if is_network_name(path) else str(Path(path).absolute())


def _one_path_as_text(value: Any) -> Any:
    """Accepts a list of one path: one alone is a text, as it was before there were lists."""
    several = isinstance(value, list | tuple)
    if not all(isinstance(path, str) for path in (value if several else [value])) or value == []:
        raise ValueError("give a path, or a list of paths")
    return value[0] if several and len(value) == 1 else value


SourcePaths = Annotated[str | tuple[str, ...], BeforeValidator(_one_path_as_text)]


def _as_threshold(value: Any) -> Any:
    if value is None:
        return None
    several = tuple(value) if isinstance(value, list | tuple) else (value,)
    for threshold in several:
        is_number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
        if not (is_number or (isinstance(threshold, str) and _SHARE.fullmatch(threshold))):
            raise ValueError("expected a return, a share of the way to the reference such as 90%, or a list of these")
    return several if isinstance(value, list | tuple) else value


Threshold = float | str
ThresholdSetting = Annotated[
    Threshold | tuple[Threshold, ...] | None,
    BeforeValidator(_as_threshold),
]


def parse_randomise(value: Any, where: str = "") -> dict[str, tuple[Any, ...]] | None:
    """Returns what arguments of an environment are drawn from, by name; None where there is nothing.

    >>> parse_randomise({"gravity": [5, 15], "shape": ["round", "square", "flat"]})
    {'gravity': (5, 15), 'shape': ('round', 'square', 'flat')}

    Raises:
        ConfigError: Something is neither two numbers, the smaller first, nor a list to choose from.
    """
    if not value:
        return None
    where = f"{where}: " if where else ""
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}expected an argument's name with its values, found {value!r}.")
    ranges = {}
    for name, values in value.items():
        if not isinstance(values, list | tuple) or len(values) < 2:
            raise ConfigError(f"{where}key {name!r}: expected [low, high], or a list to choose from, found {values!r}.")
        numbers = [number for number in values if isinstance(number, int | float) and not isinstance(number, bool)]
        if len(values) == len(numbers) == 2 and numbers[0] >= numbers[1]:
            raise ConfigError(f"{where}key {name!r}: the smaller number comes first, found {values!r}.")
        ranges[str(name)] = tuple(values)
    return ranges


Randomise = Annotated[dict[str, tuple[Any, ...]] | None, BeforeValidator(parse_randomise)]


def _as_augment(value: Any) -> Augment | None:
    if value is None or isinstance(value, Augment):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected settings such as shift: 4, found {value!r}")
    try:
        part = parse_strategy({**value, "kind": "augment"}, where="augment")[1]
    except ConfigError as error:
        raise ConfigError(str(error).removeprefix("augment: ")) from None
    assert isinstance(part, Augment)
    return part


def read_thresholds(value: Threshold | Sequence[Threshold] | None) -> tuple[Threshold, ...]:
    """Returns thresholds as a tuple; text that is a number counts as one.

    Raises:
        ConfigError: One is neither a return nor a share of the reference such as "90%".

    >>> read_thresholds(["475", "90%"]), read_thresholds(None)
    ((475.0, '90%'), ())
    """
    several: Sequence[Threshold] = () if value is None else [value] if isinstance(value, float | int | str) else value
    thresholds = []
    for threshold in several:
        try:
            thresholds.append(_as_threshold(_number(threshold)))
        except ValueError:
            raise ConfigError(
                "threshold: expected a return, or a share of the way to the reference such as 90%, "
                f"found {threshold!r}."
            ) from None
    return tuple(thresholds)


def _number(value: Threshold) -> Threshold:
    try:
        return float(value)
    except ValueError:
        return value


AugmentSetting = Annotated[Augment | None, BeforeValidator(_as_augment)]
