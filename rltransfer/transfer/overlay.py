"""Lays methods over one object for a time: its class stays SB3's, and so does all that is pickled or copied of it."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_LAID = "laid_by_rltransfer"
_REDUCE = "__reduce_ex__"


def lay_over(target: object, methods: Mapping[str, Callable[..., Any]]) -> None:
    """Makes functions the methods of one object; ``earlier`` ones of the same names can be called by them.

    Pickling and copying ask the object itself for ``__reduce_ex__``, and get what it is without them. So a buffer or a
    VecNormalize that is saved meanwhile loads without rltransfer.
    """
    attributes = target.__dict__
    laid = attributes.setdefault(_LAID, {})
    for name, method in methods.items():
        # What another part of a plan put on the object before is found there again afterwards.
        laid.setdefault(name, attributes.get(name))
        attributes[name] = method
    attributes[_REDUCE] = functools.partial(_reduce_alone, target)


def lift(target: object, names: Iterable[str]) -> None:
    """Gives an object its methods of some names back; without effect where nothing was laid over it."""
    attributes = target.__dict__
    laid = attributes.get(_LAID, {})
    for name in names:
        if name in laid:
            _put_back(attributes, name, laid.pop(name))
    if not laid:
        attributes.pop(_LAID, None)
        attributes.pop(_REDUCE, None)


def _put_back(state: dict[str, Any], name: str, earlier: Any) -> None:
    if earlier is None:
        state.pop(name, None)
    else:
        state[name] = earlier


def _reduce_alone(target: object, protocol: int) -> tuple[Any, ...]:
    """Returns what pickle needs to make the object as if nothing had been laid over it."""
    made: Any = type(target).__reduce_ex__(target, protocol)
    make, arguments, state, *rest = made
    alone = dict(state)
    for name, earlier in alone.pop(_LAID).items():
        _put_back(alone, name, earlier)
    del alone[_REDUCE]
    return (make, arguments, alone, *rest)
