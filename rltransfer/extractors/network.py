"""The features extractor that holds a pretrained network, with the images that it expects."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import get_flattened_obs_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn
from torch.nn import functional


class NetworkExtractor(BaseFeaturesExtractor):
    """A pretrained network in front of an agent's own layers, which brings images into the form that it expects.

    Images arrive in [0, 1], as SB3 passes them on with ``normalize_images=True``. They are resized, the middle is cut
    out, the mean is subtracted and divided by the standard deviation. The network stays in evaluation mode whatever is
    trained: its running statistics are held, and dropout does nothing. Of a stack of frames each goes through the
    network alone, and the features are stacked. Of a dictionary the network reads each image; the other entries are
    flattened, and all stand one after another in the order of the space.

    A zip of SB3 saves these arguments, and builds the network from them before it loads the weights: nothing is
    fetched, and no library of networks is needed.

    Args:
        observation_space: Images [3 * frames, height, width] of unsigned bytes; of [frames, height, width] each channel
            is repeated. Or a dictionary with such images.
        network: The traced network, from images [batch, 3, height, width]; it is copied. Parameters without values (on
            the device ``meta``) are drawn at random.
        features_dim: How many features it gives of one image.
        frames: How many frames are stacked in each image.
        size: The height and width of what it receives.
        resize: The shorter side that images are resized to before the middle is cut out; None: both sides to ``size``.
        interpolation: Of the resizing, as PyTorch calls it.
        antialias: Whether images that get smaller are smoothed.
        mean: Of each channel, in [0, 1].
        std: Likewise, the standard deviation.
        pool: The side that maps of features are pooled to; 0 where there are none.
        blocks: The blocks of the network in order, each with the prefixes of its tensors.

    Attributes:
        image_keys: The keys of the observation that the network reads; an empty one where there are no keys.
        frames: How many frames are stacked in each image.

    Raises:
        ValueError: The observation has no such images.
    """

    def __init__(
        self,
        observation_space: spaces.Box | spaces.Dict,
        *,
        network: nn.Module,
        features_dim: int,
        frames: int = 1,
        size: Sequence[int],
        resize: int | None,
        interpolation: str,
        antialias: bool,
        mean: Sequence[float],
        std: Sequence[float],
        pool: int,
        blocks: Mapping[str, Sequence[str]],
    ) -> None:
        parts = observation_space.spaces if isinstance(observation_space, spaces.Dict) else {"": observation_space}
        images = {key for key, part in parts.items() if is_readable_image(part, frames)}
        if not images:
            raise ValueError(
                f"a pretrained network reads colour or grey images of unsigned bytes, channels first, {frames} of "
                f"them stacked; found {observation_space}. Stack frames with frame_stack, or make the images so."
            )
        widths = [
            features_dim * frames if key in images else get_flattened_obs_dim(part) for key, part in parts.items()
        ]
        super().__init__(observation_space, sum(widths))
        self.network = copy.deepcopy(network)
        _draw(self.network)
        self.network.eval()
        self._keys = tuple(parts)
        self.image_keys = frozenset(images)
        self.frames = frames
        self._size = (int(size[0]), int(size[1]))
        self._resize = resize
        self._interpolation = interpolation
        self._antialias = antialias
        self._pool = pool
        self._blocks = {name: tuple(prefixes) for name, prefixes in blocks.items()}
        # No buffers: they are no weights, and nothing may move them.
        self._mean = torch.tensor(mean).reshape(1, -1, 1, 1)
        self._std = torch.tensor(std).reshape(1, -1, 1, 1)

    def train(self, mode: bool = True) -> "NetworkExtractor":
        """Sets the mode of this module alone; the network stays in evaluation mode."""
        super().train(mode)
        self.network.eval()
        return self

    def received(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns what the network receives of images in [0, 1]: [batch, 3, height, width]."""
        images = observations.expand(-1, 3, -1, -1) if observations.shape[1] == 1 else observations
        height, width = images.shape[2:]
        if self._resize is None:
            target = self._size
        else:
            shorter = min(height, width)
            target = (int(self._resize * height / shorter), int(self._resize * width / shorter))
        if target != (height, width):
            smooth = self._antialias and self._interpolation != "nearest"
            corners = None if self._interpolation == "nearest" else False
            images = functional.interpolate(
                images, size=target, mode=self._interpolation, align_corners=corners, antialias=smooth
            )
        top, left = (round((side - part) / 2.0) for side, part in zip(target, self._size, strict=True))
        images = images[:, :, top : top + self._size[0], left : left + self._size[1]]
        result: torch.Tensor = (images - self._mean.to(images.device)) / self._std.to(images.device)
        # The layout in memory decides how convolutions round.
        return result.contiguous()

    def forward(self, observations: torch.Tensor | dict[str, torch.Tensor]) -> torch.Tensor:
        """Returns the features of a batch of images in [0, 1]: [batch, features_dim]."""
        if isinstance(observations, torch.Tensor):
            return self._features_of_stack(observations)
        parts = [
            (self._features_of_stack if key in self.image_keys else _flat)(observations[key])
            # SB3 passes observations on in the order of whoever made them.
            for key in self._keys
        ]
        return torch.cat(parts, dim=1)

    def _features_of_stack(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the features of stacks of frames [batch, frames * channels, height, width], one after another."""
        each = images.reshape(-1, images.shape[1] // self.frames, *images.shape[2:])
        return self.image_features(each).reshape(len(images), -1)

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """Returns the features of single images in [0, 1]: [batch, 3 or 1, height, width] to [batch, features]."""
        features: torch.Tensor = self.network(self.received(images))
        if features.ndim == 4:
            features = functional.adaptive_avg_pool2d(features, self._pool)
        elif features.ndim == 3:
            # Of tokens [batch, tokens, features].
            features = features.mean(dim=1)
        return features.flatten(start_dim=1)

    def layer_groups(self) -> dict[str, tuple[str, ...]]:
        """Returns the blocks of the network in order: name to prefixes of module names."""
        return {
            f"network.{name}": tuple(f"network.{prefix}" for prefix in prefixes)
            for name, prefixes in self._blocks.items()
        }


def _flat(entries: torch.Tensor) -> torch.Tensor:
    return entries.flatten(start_dim=1)


def is_readable_image(space: spaces.Space[Any], frames: int) -> bool:
    """Returns whether a network reads a part of the observation: stacked colour or grey images of unsigned bytes."""
    shape = space.shape or ()
    return space.dtype == "uint8" and len(shape) == 3 and shape[0] in (frames, 3 * frames)


@torch.no_grad()
def _draw(network: nn.Module) -> None:
    """Draws the parameters that have no values, by PyTorch's own rules; those of no rule from N(0, 0.02)."""
    for module in network.modules():
        names = [name for name, value in module.named_parameters(recurse=False) if value.is_meta]
        for name in names:
            value = torch.empty(getattr(module, name).shape)
            setattr(module, name, nn.Parameter(nn.init.normal_(value, std=0.02)))
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if names and callable(reset):
            reset()
        if names and isinstance(module, nn.Conv2d):
            # As torchvision initialises its own: without it, deep networks give nothing.
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
