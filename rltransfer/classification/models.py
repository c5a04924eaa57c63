"""The classifiers: a pretrained network, a small one or raw pixels, each under the same kind of head."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Float, UInt8
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from rltransfer.artifact import Encoder, network_kwargs
from rltransfer.classification.images import SMALL, Batch
from rltransfer.extractors import NetworkExtractor
from rltransfer.transfer.running_statistics import recompute, running_statistics

_EXTRACTOR = "features_extractor."
_WHITE = 255.0
_AT_ONCE = 256

Features = Float[torch.Tensor, "batch features"]
Logits = Float[torch.Tensor, "batch classes"]


class Standardise(nn.Module):
    """Subtracts the mean of each feature, or colour channel, over training images and divides by the deviation.

    Args:
        batches: Features [batch, features] of the training images, or the images [batch, channels, height, width], in
            parts.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, batches: Iterable[torch.Tensor]) -> None:
        super().__init__()
        count, total, squares = 0, torch.zeros(()), torch.zeros(())
        shape: tuple[int, ...] = ()
        for batch in batches:
            columns = batch.transpose(0, 1).flatten(start_dim=1).double()
            count, total, squares = count + columns.shape[1], total + columns.sum(1), squares + (columns**2).sum(1)
            shape = (1, -1, *(1 for _ in batch.shape[2:]))
        mean = total / count
        std = (squares / count - mean**2).clamp(min=0).sqrt()
        # What never varies says nothing, and is not blown up where it does.
        std = torch.where(std > 1e-6 * (1 + mean.abs()), std, torch.ones_like(std))
        self.register_buffer("mean", mean.float().reshape(shape))
        self.register_buffer("std", std.float().reshape(shape))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Returns the values, standardised."""
        return (values - self.mean) / self.std


class Classifier(nn.Module):
    """A pretrained network with its head: class scores (logits) of images.

    Args:
        encoder: The network.
        head: The head.
    """

    def __init__(self, encoder: NetworkExtractor, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, images: UInt8[torch.Tensor, "batch 3 height width"]) -> Logits:
        """Returns the logits of images of unsigned bytes."""
        logits: Logits = self.head(self.encoder.image_features(unit(images)))
        return logits


def unit(images: Batch) -> Float[torch.Tensor, "batch 3 height width"]:
    """Returns images in [0, 1], as SB3 passes them to a features extractor."""
    return images.float() / _WHITE


def head(widths: Sequence[int], n_inputs: int, n_classes: int) -> nn.Sequential:
    """Returns layers from features to logits, with ReLU between."""
    sizes = [n_inputs, *widths]
    hidden = [layer for size, after in itertools.pairwise(sizes) for layer in (nn.Linear(size, after), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], n_classes))


def small_network(images: Batch, widths: Sequence[int], n_classes: int) -> nn.Module:
    """Returns NatureCNN with a head, drawn at random, for images whose colours are standardised over the given ones."""
    convolutions = NatureCNN(spaces.Box(0, 255, (3, SMALL, SMALL), np.uint8), features_dim=512)
    standardise = Standardise(_in_parts(images))
    return nn.Sequential(_Unit(), standardise, convolutions, head(widths, convolutions.features_dim, n_classes))


def pixel_network(images: Batch, widths: Sequence[int], n_classes: int) -> nn.Module:
    """Returns a head on the pixels of images, which are standardised over the given ones."""
    standardise = Standardise(batch.flatten(start_dim=1) for batch in _in_parts(images))
    return nn.Sequential(_Unit(), nn.Flatten(), standardise, head(widths, images[0].numel(), n_classes))


def _in_parts(images: Batch) -> Iterator[torch.Tensor]:
    for start in range(0, len(images), _AT_ONCE):
        yield unit(images[start : start + _AT_ONCE])


class _Unit(nn.Module):
    def forward(self, images: Batch) -> torch.Tensor:
        return unit(images)


def pretrained(encoder: Encoder, space: spaces.Box) -> NetworkExtractor:
    """Returns the network with the weights of a source, bit for bit."""
    extractor: NetworkExtractor = _policy(encoder, space).features_extractor
    extractor.load_state_dict({name.removeprefix(_EXTRACTOR): tensor for name, tensor in encoder.tensors.items()})
    return extractor


def untrained(encoder: Encoder, space: spaces.Box, images: Batch) -> NetworkExtractor:
    """Returns the network with weights drawn at random, and running statistics that fit them on some images.

    Under those of its initialisation its features hardly differ between images, and it would be no control.
    """
    policy = _policy(encoder, space)
    recompute(policy, running_statistics(policy), images.numpy())
    extractor: NetworkExtractor = policy.features_extractor
    return extractor


def weights_of(extractor: NetworkExtractor, encoder: Encoder) -> dict[str, torch.Tensor]:
    """Returns the tensors of a network under the names that its source has for them."""
    state = extractor.state_dict()
    return {name: state[name.removeprefix(_EXTRACTOR)].cpu() for name in encoder.tensors}


def _policy(encoder: Encoder, space: spaces.Box) -> Any:
    return ActorCriticPolicy(
        space, spaces.Discrete(2), lambda _: 0.0, net_arch=[], ortho_init=False, **network_kwargs(encoder)
    )
