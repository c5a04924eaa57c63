"""Works out which entry of the source each entry of the target's observation is, from the two spaces and a map."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
from gymnasium import spaces

from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap, Inputs
from rltransfer.records import InputMap
from rltransfer.spaces import describe, parts_by_key

_ENDLESS = 1e30


@dataclasses.dataclass(frozen=True)
class _Target:
    """The target's observations, with what ``match_observations`` is told of them."""

    space: spaces.Space[Any]
    inputs: Inputs | None
    stacked: bool
    flattened: frozenset[str]


def match_observations(
    source: spaces.Space[Any],
    target: spaces.Space[Any],
    inputs: Inputs | None,
    *,
    stacked: bool,
    flattened: frozenset[str],
) -> dict[str, InputMap]:
    """Returns where each key of the target's observation comes from, in the target's order.

    Of a space other than a Dict, the key is empty.

    Args:
        source: The source's observations.
        target: The target's.
        inputs: The map that was given.
        stacked: Whether the target's frames are stacked.
        flattened: The keys of boxes of three dimensions that are no images to the target's agent.

    Raises:
        IncompatibleError: They do not match, or it is not said how.
    """
    wanted = _Target(target, inputs, stacked, flattened)
    if inputs is not None:
        _refuse_other_form(target, inputs)
    if isinstance(source, spaces.Dict) != isinstance(target, spaces.Dict):
        raise _misfit(source, target)
    if isinstance(source, spaces.Dict) and isinstance(target, spaces.Dict):
        return dict(_match_keys(source, target, wanted))
    return {"": InputMap(source="", entries=_match("", source, target, wanted))}


def _refuse_other_form(target: spaces.Space[Any], inputs: Inputs) -> None:
    """Raises IncompatibleError if a map is for observations of another kind."""
    parts = parts_by_key(target)
    if not isinstance(target, spaces.Dict) and (isinstance(inputs.map, dict) or inputs.keys):
        raise IncompatibleError(
            f"inputs: the map is by key, and the target's observation has no keys: {describe(target)}. Give a list "
            "of indexes (--inputs map:[0,1,None])."
        )
    if len(parts) > 1 and (isinstance(inputs.map, tuple) or inputs.source is not None):
        raise IncompatibleError(
            f"inputs: the target's observation has several keys ({', '.join(parts)}), and the map does not say whose "
            "entries it is of. Give it by key (--inputs \"map:{'" + next(iter(parts)) + "':[0,1,None]}\")."
        )
    if inputs.channels is not None and not any(has_three_sides(space) for space in parts.values()):
        raise IncompatibleError(
            f"inputs: channels {inputs.channels!r} is for images, and the target's observation has none: "
            f"{describe(target)}. Give a map of its entries (--inputs map:[0,1,None])."
        )


def _match_keys(source: spaces.Dict, target: spaces.Dict, wanted: _Target) -> Iterator[tuple[str, InputMap]]:
    inputs = wanted.inputs
    stated = inputs.keys if inputs else {}
    for key in (*stated, *(inputs.map if inputs and isinstance(inputs.map, dict) else ())):
        if key not in target.spaces:
            raise IncompatibleError(f"inputs: the target's observation has no key {key!r}: {describe(target)}.")
    source_keys = {key: stated.get(key, key) for key in target.spaces}
    for key, source_key in stated.items():
        if source_key not in source.spaces:
            raise IncompatibleError(
                f"inputs: the source's observation has no key {source_key!r} (for {key!r}): {describe(source)}."
            )
    unused = set(source.spaces) - set(source_keys.values())
    if unused and not stated:
        raise IncompatibleError(
            f"The source's observation has {', '.join(map(repr, sorted(unused)))}, which the target's lacks: source "
            f"{describe(source)}, target {describe(target)}. Say which key of the source each one of the target is "
            "with inputs (keys)."
        )
    for key, space in target.spaces.items():
        source_key = source_keys[key]
        if source_key not in source.spaces:
            yield key, InputMap(source=None, entries=None)
        else:
            yield key, InputMap(source=source_key, entries=_match(key, source.spaces[source_key], space, wanted))


def _match(key: str, source: spaces.Space[Any], target: spaces.Space[Any], wanted: _Target) -> IndexMap | None:
    """Returns the source's entry (of images: channel) for each of the target's, None where they are alike."""
    inputs = wanted.inputs
    if key not in wanted.flattened and has_three_sides(source) and has_three_sides(target):
        return _match_images(key, source, target, inputs)
    stated = inputs.entries(key) if inputs else None
    widths = (spaces.flatdim(source), spaces.flatdim(target))
    if stated is not None:
        refuse_wrong_indexes("inputs", stated, widths)
        return None if stated == tuple(range(widths[0])) else stated
    if type(source) is type(target) and source.shape == target.shape and _is_same_kind(source, target):
        # One-hot inputs of other sizes mean other things, however many there are in all.
        if widths[0] == widths[1] and (isinstance(source, spaces.Box) or source == target):
            return None
    elif _only_adds(source, target) and not wanted.stacked:
        # What is added to each of stacked frames is not behind the source's inputs, but among them.
        return (*range(widths[0]), *[None] * (widths[1] - widths[0]))
    raise _misfit(source, target, key)


def _match_images(key: str, source: Any, target: Any, inputs: Inputs | None) -> IndexMap | None:
    stated = inputs.entries(key) if inputs else None
    if source.shape[1:] != target.shape[1:]:
        height, width = source.shape[1:]
        raise IncompatibleError(
            f"The source's images are {source.shape[2]}x{height}, the target's {target.shape[2]}x{target.shape[1]} "
            f"pixels{f' ({key})' if key else ''}. Resize the target's with a wrapper: --hyperparams "
            f"\"env_wrapper:{{'gymnasium.wrappers.ResizeObservation': {{'shape': [{height}, {width}]}}}}\""
        )
    if not _is_same_kind(source, target):
        raise _misfit(source, target, key)
    if stated is not None:
        refuse_wrong_indexes("inputs", stated, (source.shape[0], target.shape[0]))
        return None if stated == tuple(range(source.shape[0])) else stated
    way = inputs.channels if inputs else None
    if way == "repeat" and target.shape[0] % source.shape[0]:
        raise IncompatibleError(
            f"inputs: the source's {source.shape[0]} channels cannot be repeated in {target.shape[0]}: use mean, or a "
            "map of channels."
        )
    if source.shape[0] != target.shape[0] and way is None:
        raise IncompatibleError(
            f"The source's images have {source.shape[0]} channels, the target's {target.shape[0]}"
            f"{f' ({key})' if key else ''}. Say what the target's channels start from: inputs with channels repeat or "
            "mean, or a map of channels (--inputs channels:repeat)."
        )
    return None


def refuse_wrong_indexes(what: str, stated: IndexMap, lengths: tuple[int, int]) -> None:
    """Raises IncompatibleError if a map does not fit the lengths of what it maps: the source's and the target's."""
    if len(stated) != lengths[1]:
        raise IncompatibleError(
            f"{what}: the map has {len(stated)} entries, and the target has {lengths[1]}: one entry for each of them."
        )
    wrong = [index for index in stated if index is not None and index >= lengths[0]]
    if wrong:
        raise IncompatibleError(
            f"{what}: the map names entry {wrong[0]} of the source, which has {lengths[0]} (0 to {lengths[0] - 1})."
        )
    if all(index is None for index in stated):
        raise IncompatibleError(f"{what}: no entry of the source matches one of the target.")


def _only_adds(source: spaces.Space[Any], target: spaces.Space[Any]) -> bool:
    """Returns whether a target's vector is the source's with further entries behind it, bounds alike."""
    if not (isinstance(source, spaces.Box) and isinstance(target, spaces.Box)) or not _is_same_kind(source, target):
        return False
    if not len(source.shape) == len(target.shape) == 1 or source.shape[0] >= target.shape[0]:
        return False
    length = source.shape[0]
    # The old gym wrote float32's largest number where Gymnasium writes infinity.
    bounds = [np.clip(bound, -_ENDLESS, _ENDLESS) for bound in (source.low, source.high, target.low, target.high)]
    return all(
        np.allclose(source_bound, target_bound[:length])
        for source_bound, target_bound in zip(bounds[:2], bounds[2:], strict=True)
    )


def _is_same_kind(source: spaces.Space[Any], target: spaces.Space[Any]) -> bool:
    """Returns whether numbers mean the same: SB3 turns floats into float32, and divides whole numbers of images."""
    kinds = [np.dtype(space.dtype).kind if space.dtype is not None else "" for space in (source, target)]
    return source.dtype == target.dtype or kinds == ["f", "f"]


def has_three_sides(space: spaces.Space[Any]) -> bool:
    """Returns whether a space is a box of three dimensions, as images are."""
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def _misfit(source: spaces.Space[Any], target: spaces.Space[Any], key: str = "") -> IncompatibleError:
    return IncompatibleError(
        f"The observation spaces do not fit{f' ({key})' if key else ''}: the source was trained on {describe(source)}, "
        f"the target has {describe(target)}. Say which input of the source each one of the target is with inputs "
        "(--inputs map:[0,1,None]), or choose a target task with the source's observations."
    )
