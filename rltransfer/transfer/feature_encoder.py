"""Computes the features of frozen image encoders once for each image, and environments that give them."""

import collections
import copy
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float32
from stable_baselines3.common.preprocessing import preprocess_obs
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, CombinedExtractor, NatureCNN
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

from rltransfer.extractors import NetworkExtractor
from rltransfer.spaces import parts_by_key
from rltransfer.transfer.fast_inference import made_fast

CACHE_MB = 128
"""The most memory that the features of images seen before may take."""
_AT_ONCE_ON_GPU = 32

Features = Float32[np.ndarray, "batch features"]


@dataclasses.dataclass(frozen=True)
class _Part:
    """What a features extractor makes of one key of the observation.

    Attributes:
        key: The key; empty where there are none.
        space: Of the key's entries.
        frames: How many images of one size it holds.
        encode: Gives the features [batch, features] of images as SB3's preprocessing leaves them; None: the entries are
            passed on as that leaves them.
        encoder: What tells encoders that give the same features of the same image.
    """

    key: str
    space: spaces.Space[Any]
    frames: int = 1
    encode: Callable[[torch.Tensor], torch.Tensor] | None = None
    encoder: int = 0


def image_parts(extractor: torch.nn.Module, space: spaces.Space[Any]) -> list[str]:
    """Returns the keys of an observation whose images a features extractor is known to encode by themselves.

    Of SB3's ``NatureCNN`` and ``CombinedExtractor`` and of rltransfer's ``NetworkExtractor`` that is known.
    """
    if isinstance(extractor, NetworkExtractor):
        return [key for key in parts_by_key(space) if key in extractor.image_keys]
    if type(extractor) is NatureCNN:
        return [""]
    if type(extractor) is CombinedExtractor:
        return [key for key, inner in extractor.extractors.items() if type(inner) is NatureCNN]
    return []


class FeatureEncoder:
    """Gives the features of observations as the frozen features extractors of a policy do, and remembers them by image.

    Each image goes through a copy of the network alone (on other devices than the CPU in padded batches of one size),
    so that its features do not depend on what is computed beside it, on the number of environments, or on what is
    remembered. Extractors with the same values give one set of features; those of others stand behind.

    Args:
        extractors: The features extractors of the policy, online and target.
        space: The observation space of the policy.
        normalize_images: Whether the policy divides images by 255.
        device: Where the policy is.
        cache_mb: The most memory for features of images seen before.

    Attributes:
        space: Of the features.
        columns: For each extractor, which of the features it gives.
        encoded: How many images went through a network so far.
    """

    def __init__(
        self,
        extractors: Sequence[BaseFeaturesExtractor],
        space: spaces.Space[Any],
        *,
        normalize_images: bool,
        device: torch.device,
        cache_mb: int = CACHE_MB,
    ) -> None:
        self._normalize_images = normalize_images
        self._device = device
        self._at_once = 1 if device.type == "cpu" else _AT_ONCE_ON_GPU
        self._cache = _Cache(cache_mb * 2**20)
        distinct: list[BaseFeaturesExtractor] = []
        numbers = []
        for extractor in extractors:
            same = (number for number, other in enumerate(distinct) if _are_alike(extractor, other))
            number = next(same, len(distinct))
            if number == len(distinct):
                distinct.append(extractor)
            numbers.append(number)
        ends = np.cumsum([extractor.features_dim for extractor in distinct])
        self.columns = [
            slice(int(ends[number]) - extractor.features_dim, int(ends[number]))
            for number, extractor in zip(numbers, extractors, strict=True)
        ]
        self._parts = [part for extractor in distinct for part in _parts_of(_copied(extractor), space)]
        self.space = spaces.Box(-np.inf, np.inf, (int(ends[-1]),), np.float32)
        self.encoded = 0

    def __call__(self, observations: Any) -> Features:
        """Returns the features of a batch of observations, by key where they have keys."""
        keyed = observations if isinstance(observations, Mapping) else {"": observations}
        with torch.inference_mode():
            parts = [self._features(part, np.asarray(keyed[part.key])) for part in self._parts]
        return np.concatenate(parts, axis=1)

    def _features(self, part: _Part, entries: np.ndarray) -> Features:
        if part.encode is None:
            return self._numbers(self._prepared(entries, part.space).flatten(start_dim=1))
        channels = entries.shape[1] // part.frames
        images = entries.reshape(-1, channels, *entries.shape[2:])
        return np.stack(self._of_images(part, images)).reshape(len(entries), -1)

    def _of_images(self, part: _Part, images: np.ndarray) -> list[Features]:
        keys = [
            (part.encoder, image.shape, hashlib.blake2b(image.tobytes(), digest_size=16).digest()) for image in images
        ]
        rows = {key: row for key in keys if (row := self._cache.get(key)) is not None}
        new = {key: image for key, image in zip(keys, images, strict=True) if key not in rows}
        for start in range(0, len(new), self._at_once):
            chunk = list(new)[start : start + self._at_once]
            for key, features in zip(chunk, self._compute(part, [new[key] for key in chunk]), strict=True):
                rows[key] = features
                self._cache.put(key, features)
        return [rows[key] for key in keys]

    def _compute(self, part: _Part, images: list[np.ndarray]) -> list[Features]:
        assert part.encode is not None
        self.encoded += len(images)
        padded = np.zeros((self._at_once, *images[0].shape), images[0].dtype)
        padded[: len(images)] = images
        space = part.space
        if isinstance(space, spaces.Box) and padded.shape[1:] != space.shape:
            # One of several frames.
            space = spaces.Box(0, 255, padded.shape[1:], np.uint8)
        features = self._numbers(part.encode(self._prepared(padded, space)))
        return [row.copy() for row in features[: len(images)]]

    def _prepared(self, entries: np.ndarray, space: spaces.Space[Any]) -> torch.Tensor:
        tensor = torch.as_tensor(entries, device=self._device)
        prepared = preprocess_obs(tensor, space, normalize_images=self._normalize_images)
        assert isinstance(prepared, torch.Tensor)
        return prepared

    def _numbers(self, features: torch.Tensor) -> Features:
        numbers: Features = features.cpu().numpy().astype(np.float32, copy=False)
        return numbers


class FeatureWrapper(VecEnvWrapper):
    """Environments whose observations are the features that an encoder gives of them, those of ended episodes too.

    Args:
        venv: The environments, wrapped as the policy needs them.
        encoder: Gives the features.
    """

    def __init__(self, venv: VecEnv, encoder: FeatureEncoder) -> None:
        super().__init__(venv, observation_space=encoder.space)
        self._encoder = encoder

    def reset(self) -> Any:
        """Resets the environments."""
        return self._encoder(self.venv.reset())

    def step_wait(self) -> VecEnvStepReturn:
        """Returns what the environments give of a step, features in place of observations."""
        observations, rewards, dones, infos = self.venv.step_wait()
        for info in infos:
            if info.get("terminal_observation") is not None:
                last = info["terminal_observation"]
                batch = {key: part[None] for key, part in last.items()} if isinstance(last, Mapping) else last[None]
                info["terminal_observation"] = self._encoder(batch)[0]
        return self._encoder(observations), rewards, dones, infos


class _Cache:
    """Features by image, the latest used ones up to a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._rows: collections.OrderedDict[Any, Features] = collections.OrderedDict()

    def get(self, key: Any) -> Features | None:
        row = self._rows.get(key)
        if row is not None:
            self._rows.move_to_end(key)
        return row

    def put(self, key: Any, row: Features) -> None:
        self._rows[key] = row
        self._bytes += row.nbytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._rows.popitem(last=False)[1].nbytes


def _parts_of(extractor: BaseFeaturesExtractor, space: spaces.Space[Any]) -> list[_Part]:
    """Returns what an extractor makes of each key, in the order of its features."""
    if isinstance(extractor, NetworkExtractor):
        return [
            _Part(key, part, extractor.frames, extractor.image_features, id(extractor))
            if key in extractor.image_keys
            else _Part(key, part)
            for key, part in parts_by_key(space).items()
        ]
    if isinstance(extractor, CombinedExtractor):
        assert isinstance(space, spaces.Dict)
        return [
            _Part(key, space[key], 1, inner, id(inner)) if type(inner) is NatureCNN else _Part(key, space[key])
            for key, inner in extractor.extractors.items()
        ]
    return [_Part("", space, 1, extractor, id(extractor))]


def _copied(extractor: BaseFeaturesExtractor) -> BaseFeaturesExtractor:
    """Returns a copy that computes, whatever becomes of the policy's own."""
    # The policy's own may pass features through, which is written on the object.
    copied: BaseFeaturesExtractor = copy.deepcopy(extractor)
    copied.__dict__.pop("forward", None)
    copied.eval()
    if isinstance(copied, NetworkExtractor):
        copied.network = made_fast(copied.network)
    return copied


def _are_alike(extractor: torch.nn.Module, other: torch.nn.Module) -> bool:
    tensors, others = extractor.state_dict(), other.state_dict()
    return tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)
