"""Says what a space is, as JSON for manifests and as one line for messages, without torch."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from rltransfer.errors import SourceError

Space = spaces.Space[Any]

MAX_ENTRIES = 10_000_000
"""Spaces with more numbers than this are not built from a file: 1000 x 1000 colour images have 3 million."""


def space_to_json(space: Space) -> dict[str, Any]:
    """Returns a space as plain JSON data; ``space_from_json`` gives an equal space back.

    Bounds that are the same in every entry are one number; infinity is the text ``inf``. The keys of a Dict keep their
    order: SB3 concatenates the parts in the space's own.

    >>> space_to_json(spaces.Discrete(3))
    {'type': 'Discrete', 'n': 3, 'start': 0}

    Raises:
        SourceError: A kind of space that SB3's agents do not have.
    """
    match space:
        case spaces.Box():
            return {
                "type": "Box",
                "shape": list(space.shape),
                "dtype": np.dtype(space.dtype).name,
                "low": _bound_to_json(space.low),
                "high": _bound_to_json(space.high),
            }
        case spaces.Discrete():
            return {"type": "Discrete", "n": int(space.n), "start": int(space.start)}
        case spaces.MultiDiscrete():
            return {"type": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": space.start.tolist()}
        case spaces.MultiBinary():
            return {"type": "MultiBinary", "shape": list(space.shape)}
        case spaces.Dict():
            return {"type": "Dict", "spaces": {key: space_to_json(item) for key, item in space.spaces.items()}}
        case spaces.Tuple():
            return {"type": "Tuple", "spaces": [space_to_json(item) for item in space.spaces]}
    raise SourceError(f"A space of type {type(space).__name__} cannot be written: {space}.")


def space_from_json(content: Mapping[str, Any]) -> Space:
    """Returns the space that ``space_to_json`` wrote.

    >>> space_from_json({"type": "Box", "shape": [2], "dtype": "float32", "low": "-inf", "high": [0, 1]})
    Box(-inf, [0. 1.], (2,), float32)

    Raises:
        SourceError: The data is not such a space.
    """
    kind = content.get("type")
    if kind not in _BUILDERS:
        raise SourceError(f"Expected a space of a type among {', '.join(_BUILDERS)}, found {kind!r}.")
    try:
        return _BUILDERS[kind](content)
    except (KeyError, TypeError, ValueError, OverflowError, AssertionError) as error:
        raise SourceError(f"The data of a {kind} space is wrong: {error!r}.") from None


def parts_by_key(space: Space) -> Mapping[str, Space]:
    """Returns the parts of a Dict in its order; another space is its only part, under an empty key.

    >>> list(parts_by_key(spaces.Dict(z=spaces.Discrete(2), a=spaces.Discrete(3))))
    ['z', 'a']
    >>> list(parts_by_key(spaces.Discrete(2)))
    ['']
    """
    return space.spaces if isinstance(space, spaces.Dict) else {"": space}


def same_space(first: Space | None, second: Space | None) -> bool:
    """Returns whether two spaces are equal, the order of keys included: Gymnasium's ``==`` ignores that of a Dict.

    >>> first, second = (spaces.Dict([(key, spaces.Discrete(2)) for key in keys]) for keys in ("ab", "ba"))
    >>> first == second, same_space(first, second)
    (True, False)
    """
    if first is None or second is None or first != second:
        return first is second
    match first, second:
        case spaces.Dict(), spaces.Dict():
            return list(first.spaces) == list(second.spaces) and all(
                same_space(part, second.spaces[key]) for key, part in first.spaces.items()
            )
        case spaces.Tuple(), spaces.Tuple():
            return all(same_space(*pair) for pair in zip(first.spaces, second.spaces, strict=True))
    return True


def describe(space: Space | None) -> str:
    """Returns a space in one line for messages, bounds as their range.

    >>> describe(spaces.Box(np.array([-1.0, -8.0]), np.array([1.0, np.inf]), dtype=np.float64))
    'Box (2,) float64 in [-8, inf]'
    >>> describe(spaces.Dict(a=spaces.Discrete(2), b=spaces.MultiBinary(3)))
    'Dict (a: Discrete 2, b: MultiBinary (3,))'
    """
    match space:
        case None:
            text = "an unknown space"
        case spaces.Box():
            low, high = (f"{value:.6g}" for value in (space.low.min(), space.high.max()))
            text = f"Box {space.shape} {np.dtype(space.dtype).name} in [{low}, {high}]"
        case spaces.Discrete():
            text = f"Discrete {space.n}" + (f" from {space.start}" if space.start else "")
        case spaces.MultiDiscrete():
            text = f"MultiDiscrete {space.nvec.tolist()}"
        case spaces.MultiBinary():
            text = f"MultiBinary {space.shape}"
        case spaces.Dict():
            text = f"Dict ({', '.join(f'{key}: {describe(item)}' for key, item in space.spaces.items())})"
        case spaces.Tuple():
            text = f"Tuple ({', '.join(describe(item) for item in space.spaces)})"
        case _:
            text = str(space)
    return text


def _bound_to_json(bound: np.ndarray) -> Any:
    first = bound.flat[0] if bound.size else 0.0
    if np.all(bound == first):
        return _number_to_json(first.item() if isinstance(first, np.generic) else first)
    return _nested(_number_to_json, bound.tolist())


def _number_to_json(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _nested(convert: Callable[[Any], Any], value: Any) -> Any:
    return [_nested(convert, item) for item in value] if isinstance(value, list) else convert(value)


def _shape(value: Sequence[int]) -> tuple[int, ...]:
    shape = tuple(int(size) for size in value)
    if math.prod(shape) > MAX_ENTRIES or any(size < 0 for size in shape):
        raise ValueError(f"a shape of {shape}")
    return shape


def _box(content: Mapping[str, Any]) -> Space:
    shape = _shape(content["shape"])
    dtype = np.dtype(content["dtype"])
    if dtype.kind not in "fiu":
        raise ValueError(f"entries of type {dtype}")
    bounds = []
    for key in ("low", "high"):
        numbers = _nested(lambda value: float(value) if isinstance(value, str) else value, content[key])
        bounds.append(np.broadcast_to(np.asarray(numbers, dtype=dtype), shape).copy())
    return spaces.Box(bounds[0], bounds[1], dtype=dtype.type)


def _discrete(content: Mapping[str, Any]) -> Space:
    return spaces.Discrete(int(content["n"]), start=int(content.get("start", 0)))


def _multi_discrete(content: Mapping[str, Any]) -> Space:
    nvec = np.asarray(content["nvec"], dtype=np.int64)
    return spaces.MultiDiscrete(nvec, start=np.asarray(content.get("start", np.zeros_like(nvec)), dtype=np.int64))


def _multi_binary(content: Mapping[str, Any]) -> Space:
    shape = _shape(content["shape"])
    return spaces.MultiBinary(shape[0] if len(shape) == 1 else shape)


def _dict(content: Mapping[str, Any]) -> Space:
    # Pairs keep their order; Gymnasium sorts the keys of a plain dict.
    return spaces.Dict([(str(key), space_from_json(item)) for key, item in content["spaces"].items()])


def _tuple(content: Mapping[str, Any]) -> Space:
    return spaces.Tuple([space_from_json(item) for item in content["spaces"]])


_BUILDERS: dict[Any, Callable[[Mapping[str, Any]], Space]] = {
    "Box": _box,
    "Discrete": _discrete,
    "MultiDiscrete": _multi_discrete,
    "MultiBinary": _multi_binary,
    "Dict": _dict,
    "Tuple": _tuple,
}
