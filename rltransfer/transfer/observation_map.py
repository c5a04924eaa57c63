"""Carries arrays along a map of inputs: what the source saw into the target's places, and back."""

from collections.abc import Collection, Mapping

import numpy as np
from jaxtyping import Bool, Shaped

from rltransfer.mapping import IndexMap
from rltransfer.records import InputMap


def maps_by_key(
    inputs: Mapping[str, InputMap], source: Collection[str], target: Collection[str]
) -> dict[str, InputMap]:
    """Returns the map of each key of the target; where a plan has none, keys of the same name are alike.

    >>> maps_by_key({}, ["camera"], ["camera", "speed"])["speed"].source is None
    True
    """
    return dict(inputs) or {key: InputMap(source=key if key in source else None, entries=None) for key in target}


def write_to_target(
    values: Shaped[np.ndarray, "batch ..."], entries: IndexMap, target: Shaped[np.ndarray, "batch ..."]
) -> None:
    """Writes the source's values into their places among the target's; the others stay as they are.

    Args:
        values: Of the source, in its shape: [batch, channel, height, width] of images, which are mapped by channel.
        entries: The source's entry (of images: channel) for each of the target's.
        target: Where to write, in the target's shape.

    >>> target = np.zeros((1, 3))
    >>> write_to_target(np.array([[5.0, 6.0]]), (1, None, 0), target)
    >>> target.tolist()
    [[6.0, 0.0, 5.0]]
    """
    places, taken = _matched(entries)
    _by_entry(target)[:, places] = _by_entry(values)[:, taken]


def write_to_source(
    values: Shaped[np.ndarray, "batch ..."], entries: IndexMap, source: Shaped[np.ndarray, "batch ..."]
) -> None:
    """Writes the target's values into their places among the source's, as ``write_to_target`` does the other way.

    >>> source = np.zeros((1, 2))
    >>> write_to_source(np.array([[6.0, 7.0, 5.0]]), (1, None, 0), source)
    >>> source.tolist()
    [[5.0, 6.0]]
    """
    places, taken = _matched(entries)
    _by_entry(source)[:, taken] = _by_entry(values)[:, places]


def new_entries(entries: IndexMap, shape: tuple[int, ...]) -> Bool[np.ndarray, "..."]:
    """Returns which values of a target's observation of this shape the source does not have.

    >>> new_entries((None, 0), (2,)).tolist()
    [True, False]
    """
    new = np.array([entry is None for entry in entries])
    return np.broadcast_to(new[:, None, None], shape) if len(shape) == 3 else new.reshape(shape)


def frame_maps(entries: IndexMap, width: int, source_width: int) -> list[IndexMap]:
    """Returns the map of each of stacked frames, in terms of one frame of the source.

    Args:
        entries: The map of all frames.
        width: How many entries one frame of the target has.
        source_width: How many one frame of the source has.

    >>> frame_maps((1, None, 3, None), width=2, source_width=2)
    [(1, None), (1, None)]
    """
    return [
        tuple(None if entry is None else entry % source_width for entry in entries[start : start + width])
        for start in range(0, len(entries), width)
    ]


def _matched(entries: IndexMap) -> tuple[list[int], list[int]]:
    """Returns the target's places that have an entry of the source, and these entries."""
    matched = [(place, entry) for place, entry in enumerate(entries) if entry is not None]
    return [place for place, _ in matched], [entry for _, entry in matched]


def _by_entry(values: Shaped[np.ndarray, "batch ..."]) -> Shaped[np.ndarray, "batch entries ..."]:
    """Returns a view whose second side is what a map counts: an image's channels, otherwise all entries."""
    return values if values.ndim == 4 else values.reshape(len(values), -1)
