"""Refuses inputs that differ from the source's where a features extractor does not say which weights read them."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Literal

from gymnasium import spaces

from rltransfer.anatomy import INPUT_WEIGHTS, Reading
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.transfer.matching.observation_parts import has_three_sides
from rltransfer.transfer.matching.pair import Pair


@dataclasses.dataclass(frozen=True)
class _Change:
    """How a part of the target's observation (its key; empty for all of it) differs from the source's."""

    key: str
    kind: Literal["entries", "channels", "new key", "other name", "order", "fewer keys"]
    words: str


def refuse_unread_inputs(pair: Pair) -> None:
    """Raises IncompatibleError if the target's inputs are others than the source's, and no weight can follow.

    The features extractors of SB3 and of rltransfer are known; any other has to state its inputs, see
    ``rltransfer.anatomy.readings_of``.
    """
    if pair.is_adapted:
        return
    for change in _changes(pair):
        for reading in pair.readings:
            if not _is_followed(reading, change):
                raise _unread(reading, change)
            if reading.is_known and pair.encoder is not None and _is_another_class(pair.encoder, reading):
                raise IncompatibleError(
                    f"{_observation(change)} {change.words}, and what the source read of its own is not known: its "
                    f"features extractor is {pair.encoder.extractor_class}, and the agent's {reading.class_name}. "
                    "Build the agent with the source's (policy_kwargs: features_extractor_class)."
                )
    for key in (key for key in pair.input_maps if _is_flat_image(pair, key)):
        if pair.inputs is not None and pair.inputs.channels is not None:
            raise IncompatibleError(
                f"inputs: channels {pair.inputs.channels!r} is for convolutions, and the agent flattens its image"
                f"{f' ({key})' if key else ''}. Give a map of channels (--inputs map:[0,0,0]), or build both agents "
                "with CnnPolicy."
            )


def _is_another_class(encoder: Encoder, reading: Reading) -> bool:
    name = (encoder.extractor_class or "").rpartition(".")[2]
    return encoder.has_custom_extractor and name != reading.class_name


def _is_followed(reading: Reading, change: _Change) -> bool:
    if reading.is_known:
        return True
    if reading.weights is None:
        return False
    if change.kind == "other name":
        # The source's tensors are found by the key in their names.
        part = f".extractors.{change.key}."
        return "" in reading.weights or all(part in name for name in reading.weights.get(change.key, ("",)))
    # Of other keys, the names of tensors tell: one without a match is refused there.
    return change.kind not in ("entries", "channels") or bool(
        reading.weights.get(change.key) or reading.weights.get("")
    )


def _unread(reading: Reading, change: _Change) -> IncompatibleError:
    return IncompatibleError(
        f"{_observation(change)} {change.words}, and the agent's features extractor {reading.class_name} does not say "
        f"which of its weights read it: what moves could go to the wrong inputs. Give {reading.class_name} a method "
        f"{INPUT_WEIGHTS}() that returns {{{change.key!r}: (names of those weights,)}}, or bring the target's "
        "observation into the source's form with a wrapper (--hyperparams env_wrapper:...)."
    )


def _observation(change: _Change) -> str:
    return f"The target's observation {change.key!r}" if change.key else "The target's observation"


def _changes(pair: Pair) -> Iterator[_Change]:
    source = pair.encoder.observation_space if pair.encoder else None
    for key, part in pair.input_maps.items():
        if part.source is None:
            yield _Change(key, "new key", "is not in the source's")
        elif part.entries is not None:
            yield _Change(key, "entries", "has other entries than the source's, or has them in another order")
        elif source is not None and _channels(source, part.source) != _channels(pair.observation_space, key):
            yield _Change(key, "channels", "has other channels than the source's")
        if part.source not in (None, key):
            yield _Change(key, "other name", f"is called {part.source!r} in the source's")
    if isinstance(source, spaces.Dict):
        taken = [part.source for part in pair.input_maps.values() if part.source is not None]
        if taken != [key for key in source.spaces if key in taken]:
            yield _Change("", "order", "has its keys in another order than the source's")
        elif len(taken) < len(source.spaces):
            yield _Change("", "fewer keys", "lacks keys of the source's")


def _channels(space: spaces.Space[Any], key: str) -> int | None:
    part = space.spaces[key] if isinstance(space, spaces.Dict) else space
    return part.shape[0] if has_three_sides(part) and part.shape else None


def _is_flat_image(pair: Pair, key: str) -> bool:
    space = pair.observation_space
    part = space.spaces[key] if key and isinstance(space, spaces.Dict) else space
    # Progressive columns read images by convolutions of their own.
    has_columns = any(layer.role == "column" for layer in pair.anatomy.layers)
    return has_three_sides(part) and pair.is_flattened(key) and not has_columns
