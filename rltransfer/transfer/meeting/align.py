"""Works out which entry of the source each input, feature and action of the target is."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from rltransfer.anatomy import Anatomy, Layer
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import Actions, IndexMap, Inputs
from rltransfer.spaces import describe
from rltransfer.transfer.meeting.columns import columns_of_column, is_first_of_column

_ENDLESS = 1e30
_ACTION_HEADS = ("action_net", "log_std", "actor.mu", "actor.log_std", "q_net.q_net", "quantile_net.quantile_net")


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the observation: a key of a Dict, or all of it (the key is then empty).

    ``source`` is the source's key, None where the part is new. ``entries`` holds the source's entry of each of the
    target's (of an image: channels), None where they are alike.
    """

    key: str
    source: str | None
    entries: IndexMap | None


@dataclasses.dataclass(frozen=True)
class Pair:
    """A source and a target agent, as far as a decision needs them.

    One that ``squashes_actions`` gives actions between -1 and 1, which SB3 scales to the bounds of the target's.
    ``frozen_by_user`` and ``frozen_by_plan`` are the target's tensors that its user, or an earlier plan, froze.
    ``running_statistics`` are the means and variances of layers that normalise.
    """

    encoder: Encoder | None
    anatomy: Anatomy
    observation_space: spaces.Space[Any]
    action_space: spaces.Space[Any]
    normalises_observations: bool
    normalises_rewards: bool
    inputs: Inputs | None = None
    actions: Actions | None = None
    is_stacked: bool = False
    squashes_actions: bool = False
    frozen_by_user: frozenset[str] = frozenset()
    frozen_by_plan: frozenset[str] = frozenset()
    running_statistics: frozenset[str] = frozenset()

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
    def parts(self) -> tuple[Part, ...]:
        """How the parts of the observations meet.

        Raises:
            IncompatibleError: They do not, or it is not said how.
        """
        source = self.encoder.observation_space if self.encoder else None
        if source is None or self.is_adapted:
            entries = self.inputs.entries() if self.inputs else None
            return (Part("", "", entries),)
        if isinstance(source, spaces.Dict) != isinstance(self.observation_space, spaces.Dict):
            raise _misfit(source, self.observation_space)
        if isinstance(source, spaces.Dict) and isinstance(self.observation_space, spaces.Dict):
            return tuple(_meet_keys(source, self.observation_space, self.inputs, stacked=self.is_stacked))
        return (Part("", "", _meet("", source, self.observation_space, self.inputs, stacked=self.is_stacked)),)

    @functools.cached_property
    def features(self) -> IndexMap | None:
        """The source's feature for each feature that the target's first layers read, None where they are alike."""
        if self.encoder is None or self.is_adapted:
            return None
        if self.encoder.observation_space is None:
            return self.parts[0].entries
        if all(part.entries is None and part.source == part.key for part in self.parts):
            return None
        widths = _widths(self.encoder.anatomy, self.encoder.observation_space)
        starts = dict(zip(widths, np.cumsum([0, *widths.values()]).tolist(), strict=False))
        own = _widths(self.anatomy, self.observation_space)
        features: list[int | None] = []
        for part in self.parts:
            if part.source is None:
                features += [None] * own[part.key]
            elif part.entries is None or _is_image(_space(self.observation_space, part.key)):
                features += [starts[part.source] + entry for entry in range(own[part.key])]
            else:
                features += [None if entry is None else starts[part.source] + entry for entry in part.entries]
        return None if features == list(range(sum(widths.values()))) else tuple(features)

    @property
    def keys(self) -> dict[str, str]:
        """The source's key for the target's, where they differ."""
        return {part.key: part.source for part in self.parts if part.source not in (None, part.key)}

    def is_new(self, layer: Layer) -> bool:
        """Says whether a layer belongs to the extractor of a key that the source does not have."""
        key = key_of(layer)
        return any(part.source is None and part.key == key for part in self.parts)

    def columns(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | str, ...] | None:
        """Returns what each column of a tensor that reads features and actions takes, None where it is all alike.

        A number is the source's column; ``zero``, ``random`` and ``fresh`` are new ones. Of a vector that goes with
        the inputs (CrossQ's statistics in front of the first matrix) the entries stand for columns.
        """
        assert self.encoder is not None
        if layer.role == "column":
            return columns_of_column(layer, self.anatomy.shapes[tensor], self.parts[0].entries)
        shapes = self.encoder.anatomy.shapes
        if not self.anatomy.reads_features(layer) or not _reads_input(layer, tensor):
            return None
        width, source_width = self.anatomy.shapes[tensor][-1], shapes[source_tensor][-1]
        actions = spaces.flatdim(self.action_space) if _is_q(tensor) else 0
        source_space = self.encoder.action_space
        source_actions = 0
        if _is_q(source_tensor):
            source_actions = actions if source_space is None else spaces.flatdim(source_space)
        source_features = source_width - source_actions
        features = self.features if self.features is not None else tuple(range(width - actions))
        if self.features is not None and self.encoder.observation_space is None:
            _refuse_wrong_indexes("inputs", features, (source_features, width - actions))
        if len(features) != width - actions or (self.features is None and len(features) != source_features):
            return None
        new = "zero" if self.inputs is None else self.inputs.new
        columns: list[int | str] = [new if entry is None else entry for entry in features]
        columns += self._action_columns(actions, source_actions, source_features)
        return None if columns == list(range(source_width)) else tuple(columns)

    def _action_columns(self, actions: int, source_actions: int, start: int) -> Iterator[int | str]:
        entries: IndexMap = tuple(range(actions)) if actions == source_actions else (None,) * actions
        if self.actions is not None and source_actions:
            entries = self.actions.entries()
        yield from ("fresh" if entry is None else start + entry for entry in entries)

    def channels(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | str, ...] | None:
        """Returns what each input channel of an image's first convolution takes, None where it is all alike."""
        assert self.encoder is not None
        shape, source_shape = self.anatomy.shapes[tensor], self.encoder.anatomy.shapes[source_tensor]
        if len(shape) != 4 or not self._is_first_convolution(layer, tensor):
            return None
        key = key_of(layer)
        entries = next((part for part in self.parts if part.key == key), self.parts[0]).entries
        if entries is not None:
            new = "zero" if self.inputs is None else self.inputs.new
            return tuple(new if entry is None else entry for entry in entries)
        if shape[1] == source_shape[1] or self.inputs is None or self.inputs.channels is None:
            return None
        if self.inputs.channels == "mean":
            return ("mean",) * shape[1]
        return tuple(channel % source_shape[1] for channel in range(shape[1]))

    def _is_first_convolution(self, layer: Layer, tensor: str) -> bool:
        if layer.role == "column":
            return is_first_of_column(layer)
        key = key_of(layer)
        prefix = f"{layer.path}.extractors.{key}" if key else layer.path
        kernels = [
            name for name, shape in self.anatomy.shapes.items() if name.startswith(prefix + ".") and len(shape) == 4
        ]
        return kernels[:1] == [tensor]

    def rows(self, layer: Layer, tensor: str, source_tensor: str) -> tuple[int | None, ...] | None:
        """Returns the source's row for each row of a head that gives actions, None where nothing is mapped.

        A QR-DQN head has a row for each quantile of each action, quantiles first.
        """
        assert self.encoder is not None
        source = self.encoder.action_space
        if self.actions is None or source is None or layer.path not in _ACTION_HEADS or layer.role != "head":
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
        shape = (self.encoder.anatomy if of_source else self.anatomy).shapes[tensor]
        return shape[-1] if tensor.endswith("log_std") else shape[0]


def key_of(layer: Layer) -> str:
    """Returns the key of a Dict observation whose own extractor a layer belongs to, or an empty text."""
    first, _, rest = layer.name[len(layer.path) + 1 :].partition(".")
    return rest.split(".")[0] if first == "extractors" else ""


def _meet_keys(source: spaces.Dict, target: spaces.Dict, inputs: Inputs | None, *, stacked: bool) -> Iterator[Part]:
    stated = inputs.keys if inputs else {}
    for key in (*stated, *(inputs.map if inputs and isinstance(inputs.map, dict) else ())):
        if key not in target.spaces:
            raise IncompatibleError(f"inputs: the target's observation has no key {key!r}: {describe(target)}.")
    meeting = {key: stated.get(key, key) for key in target.spaces}
    for key, theirs in stated.items():
        if theirs not in source.spaces:
            raise IncompatibleError(
                f"inputs: the source's observation has no key {theirs!r} (for {key!r}): {describe(source)}."
            )
    unused = set(source.spaces) - set(meeting.values())
    if unused and not stated:
        raise IncompatibleError(
            f"The source's observation has {', '.join(map(repr, sorted(unused)))}, which the target's lacks: source "
            f"{describe(source)}, target {describe(target)}. Say which key of the source each one of the target is "
            "with inputs (keys)."
        )
    for key, space in target.spaces.items():
        theirs = meeting[key]
        if theirs not in source.spaces:
            yield Part(key, None, None)
        else:
            yield Part(key, theirs, _meet(key, source.spaces[theirs], space, inputs, stacked=stacked))


def _meet(
    key: str, source: spaces.Space[Any], target: spaces.Space[Any], inputs: Inputs | None, *, stacked: bool
) -> IndexMap | None:
    """Returns the source's entry (of images: channel) for each of the target's, None where they are alike."""
    if _is_image(source) and _is_image(target):
        return _meet_images(key, source, target, inputs)
    stated = inputs.entries(key) if inputs else None
    widths = (spaces.flatdim(source), spaces.flatdim(target))
    if stated is not None:
        _refuse_wrong_indexes("inputs", stated, widths)
        return None if stated == tuple(range(widths[0])) else stated
    if type(source) is type(target) and source.shape == target.shape and _is_same_kind(source, target):
        if widths[0] == widths[1]:
            return None
    elif _only_adds(source, target) and not stacked:
        # What is added to each of stacked frames is not behind the source's inputs, but among them.
        return (*range(widths[0]), *[None] * (widths[1] - widths[0]))
    raise _misfit(source, target, key)


def _meet_images(key: str, source: Any, target: Any, inputs: Inputs | None) -> IndexMap | None:
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
        _refuse_wrong_indexes("inputs", stated, (source.shape[0], target.shape[0]))
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


def _refuse_wrong_indexes(what: str, stated: IndexMap, lengths: tuple[int, int]) -> None:
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
        raise IncompatibleError(f"{what}: no entry of the source meets one of the target.")


def _only_adds(source: spaces.Space[Any], target: spaces.Space[Any]) -> bool:
    """Says whether a target's vector is the source's with further entries behind it, bounds alike."""
    if not (isinstance(source, spaces.Box) and isinstance(target, spaces.Box)) or not _is_same_kind(source, target):
        return False
    if not len(source.shape) == len(target.shape) == 1 or source.shape[0] >= target.shape[0]:
        return False
    length = source.shape[0]
    # The old gym wrote float32's largest number where Gymnasium writes infinity.
    bounds = [np.clip(bound, -_ENDLESS, _ENDLESS) for bound in (source.low, source.high, target.low, target.high)]
    return all(np.allclose(theirs, ours[:length]) for theirs, ours in zip(bounds[:2], bounds[2:], strict=True))


def _is_same_kind(source: spaces.Space[Any], target: spaces.Space[Any]) -> bool:
    """Says whether numbers mean the same: SB3 turns every float into float32, and divides whole numbers of images."""
    kinds = [np.dtype(space.dtype).kind if space.dtype is not None else "" for space in (source, target)]
    return source.dtype == target.dtype or kinds == ["f", "f"]


def _is_image(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) == 3


def _space(space: spaces.Space[Any], key: str) -> spaces.Space[Any]:
    return space.spaces[key] if key and isinstance(space, spaces.Dict) else space


def _widths(anatomy: Anatomy, space: spaces.Space[Any]) -> dict[str, int]:
    """Returns how many features each part of an observation gives, in the order in which they are read."""
    own: Mapping[str, spaces.Space[Any]] = space.spaces if isinstance(space, spaces.Dict) else {"": space}
    return {key: _features_of(anatomy, key, part) for key, part in own.items()}


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
    """Says whether a tensor of a first layer goes with its inputs: its matrix, or what stands in front of that."""
    if tensor.endswith((".weight_ih_l0", "critic.weight")):
        return True
    rest = tensor[len(layer.path) + 1 :]
    if layer.path.startswith("lstm"):
        return False
    if not rest.partition(".")[0].isdecimal():
        return rest == "weight"
    own, number = layer.name[len(layer.path) + 1 :], rest.partition(".")[0]
    if int(number) < int(own):
        return not rest.endswith((".steps", ".num_batches_tracked"))
    return number == own and rest.endswith(".weight")


def _is_q(tensor: str) -> bool:
    """Says whether a tensor belongs to a network that reads the action behind the features, as SB3's Q(s, a) do."""
    return tensor.startswith("critic.qf")


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
    sizes, own = _component_sizes(source), _component_sizes(target)
    entries = actions.entries()
    _refuse_wrong_indexes("actions", entries, (len(sizes), len(own)))
    for component, entry in enumerate(entries):
        if entry is None:
            yield from [None] * own[component]
        elif sizes[entry] != own[component]:
            raise IncompatibleError(
                f"actions: component {component} of the target has {own[component]} values, "
                f"and component {entry} of the source {sizes[entry]}."
            )
        else:
            yield from range(sum(sizes[:entry]), sum(sizes[: entry + 1]))


def _misfit(source: spaces.Space[Any], target: spaces.Space[Any], key: str = "") -> IncompatibleError:
    return IncompatibleError(
        f"The observation spaces do not fit{f' ({key})' if key else ''}: the source was trained on {describe(source)}, "
        f"the target has {describe(target)}. Say which input of the source each one of the target is with inputs "
        "(--inputs map:[0,1,None]), or choose a target task with the source's observations."
    )
