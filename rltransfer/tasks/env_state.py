"""Takes the state of an environment with all of its wrappers, and puts it into another one that was made alike."""

import io
import pickle
from collections.abc import Iterable
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
from gymnasium import spaces

from rltransfer import moved_classes

_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset, type)
Place = tuple[int, str]
"""An attribute of an environment: the number of the wrapper, counted from outside, and the attribute's name."""


def layers_of(env: gym.Env[Any, Any]) -> list[gym.Env[Any, Any]]:
    """Returns an environment's wrappers from outside to inside, and the environment itself at last."""
    layers = [env]
    while isinstance(layers[-1], gym.Wrapper):
        layers.append(layers[-1].env)
    return layers


def opaque_places(env: gym.Env[Any, Any]) -> frozenset[Place]:
    """Returns the attributes that cannot be pickled: files, windows, the worlds of simulators."""
    layers = layers_of(env)
    return frozenset(
        (index, name)
        for index, layer in enumerate(layers)
        for name, value in vars(layer).items()
        if not _can_be_pickled(value, layers)
    )


def dump_state(env: gym.Env[Any, Any], opaque: Iterable[Place] = ()) -> bytes:
    """Returns all attributes of an environment and its wrappers, generators included, but the opaque ones.

    What the attributes share stays shared. The environments themselves are not in it, only references to them.
    """
    layers = layers_of(env)
    kept = {(index, name) for index, name in opaque if name in vars(layers[index])}
    items = {
        (index, name): value
        for index, layer in enumerate(layers)
        for name, value in vars(layer).items()
        if (index, name) not in kept
    }
    references = {
        id(value): (index, name)
        for index, name in kept
        # Before a first reset much is None, which is the same object everywhere.
        if not isinstance(value := vars(layers[index])[name], _PLAIN)
    }
    buffer = io.BytesIO()
    _Pickler(buffer, layers, references).dump(items)
    return buffer.getvalue()


def load_state(env: gym.Env[Any, Any], state: bytes, opaque: Iterable[Place] = ()) -> None:
    """Gives an environment the attributes that ``dump_state`` returned; opaque ones stay what they are."""
    layers = layers_of(env)
    items: dict[Place, Any] = _Unpickler(io.BytesIO(state), layers).load()
    for index, layer in enumerate(layers):
        for name in set(vars(layer)) - {name for place, name in items if place == index}:
            if (index, name) not in opaque:
                del vars(layer)[name]
    for (index, name), value in items.items():
        current = vars(layers[index]).get(name)
        if isinstance(current, spaces.Space) and current == value:
            # SB3's agent samples from the very space of the first environment.
            copy_generators(value, current)
        else:
            vars(layers[index])[name] = value


def copy_generators(source: spaces.Space[Any], target: spaces.Space[Any]) -> None:
    """Gives a space the generators of an equal one, its parts included."""
    target._np_random = source._np_random
    for part, other in zip(_parts(target), _parts(source), strict=True):
        copy_generators(other, part)


def _parts(space: spaces.Space[Any]) -> list[spaces.Space[Any]]:
    parts: list[spaces.Space[Any]] = []
    for value in vars(space).values():
        if isinstance(value, spaces.Space):
            parts.append(value)
        elif isinstance(value, dict | tuple | list):
            inside = value.values() if isinstance(value, dict) else value
            parts += [item for item in inside if isinstance(item, spaces.Space)]
    return parts


def _can_be_pickled(value: Any, layers: list[gym.Env[Any, Any]]) -> bool:
    try:
        _Pickler(io.BytesIO(), layers, {}).dump(value)
    except Exception:
        return False
    return True


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Writes references in the place of environments, and of what cannot be pickled."""

    def __init__(self, file: io.BytesIO, layers: list[gym.Env[Any, Any]], references: dict[int, Place]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._references: dict[int, Any] = {id(layer): index for index, layer in enumerate(layers)} | references

    def persistent_id(self, value: Any) -> Any:
        return self._references.get(id(value))


class _Unpickler(moved_classes.Unpickler):
    """Reads what this process, or an earlier one of the same run, has written."""

    def __init__(self, file: io.BytesIO, layers: list[gym.Env[Any, Any]]) -> None:
        super().__init__(file)
        self._layers = layers

    def persistent_load(self, reference: Any) -> Any:
        if isinstance(reference, tuple):
            index, name = reference
            return vars(self._layers[index])[name]
        return self._layers[reference]
