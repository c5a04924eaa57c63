"""Works out which entry of the source each input, feature and action of the target is."""

import dataclasses
import functools
import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space

from rltransfer.anatomy import INPUT_WEIGHTS, Anatomy, Layer, Reading
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import Actions, IndexMap, Inputs
from rltransfer.records import InputMap
from rltransfer.spaces import describe, parts_by_key
from rltransfer.transfer.matching.columns import columns_of_column, is_first_of_column
from rltransfer.transfer.matching.observation_parts import (
    has_three_sides,
    match_observations,
    refuse_wrong_indexes,
)


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source and a target agent, as far as a decision needs them.

    One that ``squashes_actions`` gives actions between -1 and 1, which SB3 scales to the bounds of the target's.
    ``frozen_by_user`` and ``frozen_by_plan`` are the target's tensors that its user, or an earlier plan, froze.
    ``frames`` is how many observations are stacked (VecFrameStack), 1 where none are. ``running_statistics`` are the
    means and variances of layers that normalise.
    """

    encoder: Encoder | None
    anatomy: Anatomy
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    normalised_keys: frozenset[str]
    normalises_rewards: bool
    inputs: Inputs | None = None
    actions: Actions | None = None
    frames: int = 1
    squashes_actions: bool = False
    frozen_by_user: frozenset[str] = frozenset()
    frozen_by_plan: frozenset[str] = frozenset()
    running_statistics: frozenset[str] = frozenset()
    readings: tuple[Reading, ...] = ()

    @property
    def normalises_observations(self) -> bool:
        """Whether the agent sees its observation normalised, or a key of it."""
        return bool(self.normalised_keys)

    @property
    def is_adapted(self) -> bool:
        """Whether a learned adapter stands in front of the target's encoder."""
        return any(layer.role == "adapter" for layer in self.anatomy.layers)

    @property
    def action_sizes(self) -> tuple[int, int] | None:
        """The lengths of the source's and the target's action vectors, if both are known Boxes that differ."""
        source = self.encoder.action_space if self.encoder else None
        if not isinstance(source, spaces.Box) or not isinstance(self.action_space, spaces.Box):
            return None
        sizes = (spaces.flatdim(source), spaces.flatdim(self.action_space))
        return sizes if sizes[0] != sizes[1] else None

    @functools.cached_property
    def input_maps(self) -> dict[str, InputMap]:
        """Where each key of the target's observation comes from (an empty key where there are none).

        Raises:
            IncompatibleError: They do not, or it is not said how.
        """
        source = self.encoder.observation_space if self.encoder else None
        if source is None or self.is_adapted:
            entries = self.inputs.entries() if self.inputs else None
            return {"": InputMap(source="", entries=entries)}
        return match_observations(
            source,
            self.observation_space,
            self.inputs,
            stacked=self.frames > 1,
            flattened=frozenset(key for key in parts_by_key(self.observation_space) if not self._is_image(key)),
        )

    @property
    def _first_map(self) -> InputMap:
        return next(iter(self.input_maps.values()))

    def _is_image(self, key: str) -> bool:
        """Returns whether the agent takes a part of its observation for an image: by channels, not by entries."""
        space = _space(self.observation_space, key)
        if not has_three_sides(space):
            return False
        return not self.is_flattened(key) or is_image_space(space, check_channels=False)

    def is_flattened(self, key: str) -> bool:
        """Returns whether no features extractor has weights of its own for a part of the observation."""
        return all(reading.is_known and key not in (reading.weights or {}) for reading in self.readings)

    @functools.cached_property
    def features(self) -> IndexMap | None:
        """The source's feature for each feature that the target's first layers read, None where they are alike."""
        if self.encoder is None or self.is_adapted:
            return None
        if self.encoder.observation_space is None:
            return self._first_map.entries
        if not all(reading.is_known for reading in self.readings):
            # It states its inputs, and what it gives is its own: see `refuse_unread_inputs`.
            return None
        if "" in self.input_maps and self._first_map.entries is None:
            return None
        widths = _widths(self.encoder.anatomy, self.encoder.observation_space)
        flat = [key for key in self.input_maps if self.is_flattened(key)]
        return self._one_after_another(widths, _widths(self.anatomy, self.observation_space), flat)

    def _one_after_another(
        self, widths: Mapping[str, int], target_widths: Mapping[str, int], flat: Collection[str]
    ) -> IndexMap | None:
        """Returns the source's place for each of the target's, where parts of these widths follow each other.

        Of parts that are ``flat``, these are the entries themselves; of others, what an extractor makes of them.
        """
        starts = dict(zip(widths, np.cumsum([0, *widths.values()]).tolist(), strict=False))
        features: list[int | None] = []
        for key, input_map in self.input_maps.items():
            if input_map.source is None:
                features += [None] * target_widths[key]
                continue
            start = starts[input_map.source]
            if input_map.entries is None or key not in flat:
                features += range(start, start + target_widths[key])
            else:
                entries = self._flat(key, input_map.entries)
                features += [None if entry is None else start + entry for entry in entries]
        return None if features == list(range(sum(widths.values()))) else tuple(features)

    def _flat(self, key: str, entries: IndexMap) -> IndexMap:
        """Returns a map of a part's flattened entries; that of an image is given by channel."""
        space = _space(self.observation_space, key)
        if not self._is_image(key) or space.shape is None:
            return entries
        size = math.prod(space.shape[1:])
        return tuple(
            None if channel is None else channel * size + place for channel in entries for place in range(size)
        )

    @property
    def keys(self) -> dict[str, str]:
        """The source's key for the target's, where they differ."""
        return {key: part.source for key, part in self.input_maps.items() if part.source not in (None, key)}

    def is_new(self, layer: Layer) -> bool:
        """Returns whether a layer belongs to the extractor of a key that the source does not have."""
        key = key_of(layer)
        return key in self.input_maps and self.input_maps[key].source is None

    def is_behind_network(self, layer: Layer) -> bool:
        """Returns whether a layer stands behind a pretrained network, which gives the features and no more."""
        is_network = self.encoder is not None and self.encoder.source.network is not None
        return is_network and self.anatomy.rule_of(layer).kind != "extractor"

    def columns(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | str, ...] | None:
        """Returns what each column of a tensor that reads features and actions takes, None where it is all alike.

        A number is the source's column; ``zero``, ``random`` and ``fresh`` are new ones. Of a vector that goes with
        the inputs (CrossQ's statistics in front of the first matrix) the entries stand for columns.
        """
        assert self.encoder is not None
        if layer.role == "column":
            return columns_of_column(layer, self.anatomy.shapes[tensor], self._first_map.entries)
        if self.anatomy.rule_of(layer).kind == "extractor":
            return self._columns_of_extractor(tensor)
        shapes = self.encoder.anatomy.shapes
        if not self.anatomy.reads_features(layer) or not _reads_input(layer, tensor):
            return None
        width, source_width = self.anatomy.shapes[tensor][-1], shapes[source_tensor][-1]
        actions = spaces.flatdim(self.action_space) if self.anatomy.reads_actions(tensor) else 0
        source_space = self.encoder.action_space
        source_actions = 0
        if self.encoder.anatomy.reads_actions(source_tensor):
            source_actions = actions if source_space is None else spaces.flatdim(source_space)
        source_features = source_width - source_actions
        features = self.features if self.features is not None else tuple(range(width - actions))
        if self.features is not None and self.encoder.observation_space is None:
            refuse_wrong_indexes("inputs", features, (source_features, width - actions))
        if self.features is not None:
            self._refuse_other_widths(layer, (source_features, width - actions))
        elif len(features) != source_features:
            return None
        new = "zero" if self.inputs is None else self.inputs.new
        columns: list[int | str] = [new if entry is None else entry for entry in features]
        columns += self._action_columns(actions, source_actions, source_features)
        return None if columns == list(range(source_width)) else tuple(columns)

    def _refuse_other_widths(self, layer: Layer, widths: tuple[int, int]) -> None:
        """Raises IncompatibleError if the first layers of source and target read other features than is worked out."""
        assert self.encoder is not None
        assert self.features is not None
        if self.encoder.observation_space is None:
            return
        expected = sum(_widths(self.encoder.anatomy, self.encoder.observation_space).values()), len(self.features)
        if expected != widths:
            raise IncompatibleError(
                f"The inputs of source and target cannot be matched: {layer.name} reads {widths[0]} features in the "
                f"source and {widths[1]} in the target, and by their observations it should be {expected[0]} and "
                f"{expected[1]}. Is the source's features extractor one of your own? Build the agent with it, and let "
                f"it state its inputs ({INPUT_WEIGHTS})."
            )

    def _columns_of_extractor(self, tensor: str) -> tuple[int | str, ...] | None:
        """Returns what each column of a features extractor's tensor takes, where it states that this one reads inputs.

        Kernels of images are another matter, see ``channels``.
        """
        shape = self.anatomy.shapes[tensor]
        maps = {}
        for key in self._keys_read_by(tensor):
            entries = self._stated_entries(key)
            if entries is not None and len(shape) == 4 and self._is_image(key):
                continue
            if entries is not None and (not shape or len(entries) != shape[min(1, len(shape) - 1)]):
                raise IncompatibleError(
                    f"inputs: the map has {len(entries)} entries, and {tensor} is of shape {list(shape)}: its second "
                    f"side (of a vector, its only one) is not the observation's. Does {INPUT_WEIGHTS}() name the right "
                    "tensors?"
                )
            maps[key] = entries
        if len(set(maps.values())) > 1:
            raise IncompatibleError(
                f"inputs: {tensor} reads several parts of the observation ({', '.join(maps)}), and their maps differ: "
                "one weight cannot follow both. Map them alike."
            )
        chosen = next(iter(maps.values()), None)
        if chosen is None:
            return None
        # A scale of zero would not only leave a new input out.
        new = "fresh" if len(shape) == 1 else "zero" if self.inputs is None else self.inputs.new
        return tuple(new if entry is None else entry for entry in chosen)

    def _stated_entries(self, key: str) -> IndexMap | None:
        """Returns the source's entry for each that a stated weight reads under a key, or of all keys together."""
        source = self.encoder.observation_space if self.encoder else None
        if not key and isinstance(source, spaces.Dict):
            widths = _flat_widths(self.observation_space)
            return self._one_after_another(_flat_widths(source), widths, flat=widths)
        entries = self.input_maps[key].entries if key in self.input_maps else None
        return None if entries is None else self._flat(key, entries)

    def _keys_read_by(self, tensor: str) -> list[str]:
        """Returns the keys of the observation that a features extractor says a tensor of its reads."""
        aliases = self.anatomy.aliases
        stated = (item for reading in self.readings for item in (reading.weights or {}).items())
        return list(
            dict.fromkeys(key for key, names in stated if tensor in {aliases.get(name, name) for name in names})
        )

    def _action_columns(self, actions: int, source_actions: int, start: int) -> Iterator[int | str]:
        entries: IndexMap = tuple(range(actions)) if actions == source_actions else (None,) * actions
        if self.actions is not None and source_actions:
            entries = self.actions.entries()
        yield from ("fresh" if entry is None else start + entry for entry in entries)

    def channels(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | str, ...] | None:
        """Returns what each input channel of an image's first convolution takes, None where it is all alike."""
        assert self.encoder is not None
        shape, source_shape = self.anatomy.shapes[tensor], self.encoder.anatomy.shapes[source_tensor]
        key = self._key_of_kernel(layer, tensor)
        if len(shape) != 4 or key is None:
            return None
        entries = self.input_maps.get(key, self._first_map).entries
        if entries is not None:
            new = "zero" if self.inputs is None else self.inputs.new
            return tuple(new if entry is None else entry for entry in entries)
        if shape[1] == source_shape[1] or self.inputs is None or self.inputs.channels is None:
            return None
        if self.inputs.channels == "mean":
            return ("mean",) * shape[1]
        return tuple(channel % source_shape[1] for channel in range(shape[1]))

    def _key_of_kernel(self, layer: Layer, tensor: str) -> str | None:
        """Returns the key of the image that a kernel reads; None of one that reads no observation."""
        if layer.role == "column":
            return key_of(layer) if is_first_of_column(layer) else None
        keys = self._keys_read_by(tensor)
        if len({part.entries for key, part in self.input_maps.items() if key in keys}) > 1:
            raise IncompatibleError(
                f"inputs: {tensor} reads several images ({', '.join(keys)}), and their maps of channels differ: one "
                "kernel cannot follow both. Map them alike."
            )
        return next(iter(keys), None)

    def rows(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | None, ...] | None:
        """Returns the source's row for each row of a head that gives actions, None where nothing is mapped.

        A QR-DQN head has a row for each quantile of each action, quantiles first.
        """
        assert self.encoder is not None
        source = self.encoder.action_space
        if self.actions is None or source is None or layer.role != "head":
            return None
        if self.anatomy.rule_of(layer).gives == "other":
            return None
        rows = list(_action_rows(self.actions, source, self.action_space))
        width = sum(_component_sizes(source))
        if not self._length(tensor) % len(rows) == self._length(source_tensor, of_source=True) % width == 0:
            return None
        times = self._length(tensor) // len(rows)
        if times != self._length(source_tensor, of_source=True) // width:
            return None
        return tuple(None if row is None else block * width + row for block in range(times) for row in rows)

    def refuse_wrong_actions(self) -> None:
        """Raises IncompatibleError if the map of actions does not fit the two spaces."""
        source = self.encoder.action_space if self.encoder else None
        if self.actions is None or self.encoder is None:
            return
        if source is None:
            raise IncompatibleError(
                "actions: the source does not tell its actions, so that they cannot be mapped. Use 'finetune' or "
                "'frozen' without a map."
            )
        list(_action_rows(self.actions, source, self.action_space))

    def _length(self, tensor: str, *, of_source: bool = False) -> int:
        """Returns the length of the side of a head that goes with actions: with gSDE, log_std's last one."""
        assert self.encoder is not None
        anatomy = self.encoder.anatomy if of_source else self.anatomy
        shape = anatomy.shapes[tensor]
        return shape[-1] if anatomy.is_log_std(tensor) else shape[0]


def key_of(layer: Layer) -> str:
    """Returns the key of a Dict observation whose own extractor a layer belongs to, or an empty text."""
    first, _, rest = layer.name[len(layer.path) + 1 :].partition(".")
    return rest.split(".")[0] if first == "extractors" else ""


def _space(space: spaces.Space[Any], key: str) -> spaces.Space[Any]:
    return space.spaces[key] if key and isinstance(space, spaces.Dict) else space


def _widths(anatomy: Anatomy, space: spaces.Space[Any]) -> dict[str, int]:
    """Returns how many features each part of an observation gives, in the order in which they are read."""
    return {key: _features_of(anatomy, key, part) for key, part in parts_by_key(space).items()}


def _flat_widths(space: spaces.Space[Any]) -> dict[str, int]:
    return {key: spaces.flatdim(part) for key, part in parts_by_key(space).items()}


def _features_of(anatomy: Anatomy, key: str, space: spaces.Space[Any]) -> int:
    """Returns a part's number of features: its flat size, or what its own extractor's last matrix gives."""
    layers = [layer for layer in anatomy.encoders() if anatomy.rule_of(layer).kind == "extractor"]
    prefix = f"extractors.{key}." if key else ""
    tensors = [
        tensor
        for layer in layers
        if layer.path == layers[0].path
        for tensor in layer.tensors
        if tensor[len(layer.path) + 1 :].startswith(prefix) and len(anatomy.shapes[tensor]) == 2
    ]
    return anatomy.shapes[tensors[-1]][0] if tensors else spaces.flatdim(space)


def _reads_input(layer: Layer, tensor: str) -> bool:
    """Returns whether a tensor of a first layer goes with its inputs: its matrix, or what stands in front of that."""
    if tensor.endswith((".weight_ih_l0", "critic.weight")):
        return True
    rest = tensor[len(layer.path) + 1 :]
    if layer.path.startswith("lstm"):
        return False
    if not rest.partition(".")[0].isdecimal():
        return rest == "weight"
    own_number, number = layer.name[len(layer.path) + 1 :], rest.partition(".")[0]
    if not own_number.isdecimal():
        return rest.endswith(".weight")
    if int(number) < int(own_number):
        return not rest.endswith((".steps", ".num_batches_tracked"))
    return number == own_number and rest.endswith(".weight")


def _component_sizes(space: spaces.Space[Any]) -> list[int]:
    """Returns how many rows of a head each action has."""
    if isinstance(space, spaces.MultiDiscrete):
        return [int(size) for size in space.nvec.reshape(-1)]
    return [1] * int(spaces.flatdim(space))


def _action_rows(actions: Actions, source: spaces.Space[Any], target: spaces.Space[Any]) -> Iterator[int | None]:
    if type(source) is not type(target):
        raise IncompatibleError(
            f"actions: the source has {describe(source)}, the target {describe(target)}: actions of two kinds cannot "
            "be mapped. Use 'finetune' or 'frozen', which start with new heads."
        )
    sizes, target_sizes = _component_sizes(source), _component_sizes(target)
    entries = actions.entries()
    refuse_wrong_indexes("actions", entries, (len(sizes), len(target_sizes)))
    for component, entry in enumerate(entries):
        if entry is None:
            yield from [None] * target_sizes[component]
        elif sizes[entry] != target_sizes[component]:
            raise IncompatibleError(
                f"actions: component {component} of the target has {target_sizes[component]} values, "
                f"and component {entry} of the source {sizes[entry]}."
            )
        else:
            yield from range(sum(sizes[:entry]), sum(sizes[: entry + 1]))
