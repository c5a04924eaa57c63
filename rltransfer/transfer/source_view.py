"""Turns raw observations of a target's environments into what a source saw: its entries, its statistics, its frames."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecTransposeImage

from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.records import InputMap
from rltransfer.spaces import describe, parts_by_key
from rltransfer.transfer.observation_map import frame_maps, maps_by_key, write_to_source
from rltransfer.vecnormalize_reader import Statistics

Raw = np.ndarray | Mapping[str, np.ndarray]
"""Observations as the innermost environments give them, by key where they have keys."""


class SourceView:
    """Turns raw observations of the target into what the source saw: its entries, its statistics, its frames."""

    def __init__(self, encoder: Encoder, inputs: Mapping[str, InputMap], space: spaces.Space[Any], n_envs: int) -> None:
        source = encoder.observation_space
        assert source is not None
        self._is_dict = isinstance(source, spaces.Dict)
        stated = int(encoder.hyperparams.get("frame_stack") or 0) or None
        source_parts, target_parts = parts_by_key(source), parts_by_key(space)
        maps = maps_by_key(inputs, source_parts, target_parts)
        target_keys = {input_map.source: key for key, input_map in maps.items() if input_map.source is not None}
        self._sights: dict[str, _Sight] = {}
        for key, source_space in source_parts.items():
            target_key = target_keys.get(key)
            self._sights[key] = _Sight(
                source_space,
                key=target_key,
                space=None if target_key is None else target_parts.get(target_key),
                entries=None if target_key is None else maps[target_key].entries,
                statistic=_statistics(encoder, key),
                stated_frames=stated,
                n_envs=n_envs,
            )

    def of_source(self, raw: Raw, indices: np.ndarray, starts: np.ndarray) -> Any:
        """Returns [batch, ...] observations in the source's space."""
        given = {"": raw} if isinstance(raw, np.ndarray) else raw
        seen = {key: sight.of_source(given, indices, starts) for key, sight in self._sights.items()}
        return seen if self._is_dict else seen[""]

    def state_dict(self) -> dict[str, Any]:
        """Returns the frames that it remembers, by key."""
        return {key: sight.stack.copy() for key, sight in self._sights.items() if sight.stack is not None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the frames that ``state_dict`` returned."""
        for key, stack in state.items():
            self._sights[key].stack = stack.copy()


@dataclasses.dataclass(frozen=True)
class _Statistic:
    mean: np.ndarray
    deviation: np.ndarray
    bound: float


class _Sight:
    """What the source saw under one key, from the target's key that stands for it (None: nothing does)."""

    def __init__(
        self,
        source: spaces.Space[Any],
        *,
        key: str | None,
        space: spaces.Space[Any] | None,
        entries: IndexMap | None,
        statistic: _Statistic | None,
        stated_frames: int | None,
        n_envs: int,
    ) -> None:
        self._key = key
        self._transposes = space is not None and is_image_space(space) and not is_image_space_channels_first(space)  # type: ignore[arg-type]
        if self._transposes:
            space = VecTransposeImage.transpose_space(space)  # type: ignore[arg-type]
        self._shape = source.shape or ()
        self._dtype = source.dtype
        self._axis = 0 if len(self._shape) == 3 else len(self._shape) - 1
        self._frame, self._columns = self._shape, None
        if entries is not None:
            assert space is not None
            whole = self._shape[self._axis] if len(self._shape) == 3 else math.prod(self._shape)
            frames, self._columns = _of_one_frame(entries, space, whole, stated_frames)
            self._frame = self._frame_of(frames)
        elif space is not None:
            self._frame = space.shape or ()
        if not _stacks(self._frame, self._shape, self._axis) or not _is_same_kind(source, space):
            raise IncompatibleError(
                f"The source's policy cannot act here: it reads {describe(source)}, and the target's environments give "
                f"{describe(space) if space is not None else 'nothing'}. Say which input of the source each one of the "
                "target is with inputs (--inputs map:[0,1,None])."
            )
        self._statistic = statistic
        if statistic is not None and statistic.mean.shape != self._frame:
            raise IncompatibleError(
                f"The source's policy cannot act here: its observation statistics are of shape "
                f"{list(statistic.mean.shape)}, and one observation is of shape {list(self._frame)}."
            )
        frames = self._shape[self._axis] // self._frame[self._axis] if self._shape else 1
        self.stack = np.zeros((n_envs, *self._shape), dtype=np.float32) if frames > 1 else None

    def of_source(self, given: Mapping[str, np.ndarray], indices: np.ndarray, starts: np.ndarray) -> np.ndarray:
        frame = self._one_frame(given, len(indices))
        if self._statistic is not None:
            statistic = self._statistic
            frame = np.clip((frame - statistic.mean) / statistic.deviation, -statistic.bound, statistic.bound)
        if self.stack is not None:
            stack = self.stack[indices]
            stack[starts] = 0.0
            length, axis = self._frame[self._axis], self._axis + 1
            stack = np.roll(stack, -length, axis=axis)
            newest = [slice(None)] * stack.ndim
            newest[axis] = slice(stack.shape[axis] - length, None)
            stack[tuple(newest)] = frame
            self.stack[indices] = stack
            frame = stack
        is_scaled = self._statistic is not None
        return frame.astype(np.float32 if is_scaled else self._dtype)

    def _one_frame(self, given: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
        if self._key is None:
            return self._unknown(batch)
        values = np.asarray(given[self._key])
        if self._transposes:
            values = values.transpose(0, 3, 1, 2)
        if self._columns is None:
            return values
        frame = self._unknown(batch)
        write_to_source(values, self._columns, frame)
        return frame

    def _unknown(self, batch: int) -> np.ndarray:
        """Returns what stands for inputs that the target does not have: the source's mean, or zero."""
        usual = 0.0 if self._statistic is None else self._statistic.mean
        return np.broadcast_to(usual, (batch, *self._frame)).astype(np.float64)

    def _frame_of(self, frames: int) -> tuple[int, ...]:
        shape = list(self._shape)
        shape[self._axis] //= frames
        return tuple(shape)


def _is_same_kind(source: spaces.Space[Any], space: spaces.Space[Any] | None) -> bool:
    return space is None or (isinstance(space, spaces.Box) and isinstance(source, spaces.Box)) or source == space


def _stacks(frame: tuple[int, ...], whole: tuple[int, ...], axis: int) -> bool:
    """Returns whether a whole number of frames makes an observation of the source."""
    if len(frame) != len(whole):
        return False
    others_fit = all(size == other for side, (size, other) in enumerate(zip(frame, whole, strict=True)) if side != axis)
    return others_fit and (not frame or (frame[axis] > 0 and whole[axis] % frame[axis] == 0))


def _of_one_frame(
    entries: IndexMap, space: spaces.Space[Any], whole: int, stated_frames: int | None
) -> tuple[int, IndexMap]:
    """Returns how many frames the source stacked, and the map of one, from that of an agent that may stack several.

    Args:
        entries: The source's entry (of images: channel) for each of the agent's.
        space: One frame of the target's environments.
        whole: How many entries or channels the source's observation has.
        stated_frames: How many frames the source says that it stacked.

    Raises:
        IncompatibleError: The map is not the same for each frame.
    """
    shape = space.shape or ()
    width = shape[0] if len(shape) == 3 else math.prod(shape)
    parts = frame_maps(entries, width, whole)
    for frames in dict.fromkeys([stated_frames or len(parts), stated_frames or 1]):
        size = whole // frames
        maps = set(frame_maps(entries, width, size)) if size else set()
        is_in_place = len(parts) == 1 or (
            len(parts) == frames
            and all(entry is None or entry // size == place for place, part in enumerate(parts) for entry in part)
        )
        if whole % frames == 0 and len(maps) == 1 and is_in_place:
            return frames, maps.pop()
        if frames == 1 and all(entry is None for part in parts[:-1] for entry in part):
            # The source saw one frame, which is the latest here.
            return 1, parts[-1]
    raise IncompatibleError(
        "The source's policy cannot act here: the map of inputs is not the same for each of the stacked frames. Map "
        "each frame alike, to the frame of the source that is as old."
    )


def _statistics(encoder: Encoder, key: str) -> _Statistic | None:
    normaliser = encoder.normaliser
    if normaliser is None or not normaliser.norm_obs or normaliser.observation is None:
        return None
    observation = normaliser.observation
    statistics = observation.get(key) if isinstance(observation, dict) else observation
    if not isinstance(statistics, Statistics):
        return None
    return _Statistic(statistics.mean, np.sqrt(statistics.var + normaliser.epsilon), normaliser.clip_obs)
