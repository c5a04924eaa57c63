"""Reads the images of a folder through its environment, one after another, with their augmented copies."""

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import UInt8
from torch.nn import functional

from rltransfer.classification.settings import Settings
from rltransfer.transfer.methods.augment import Augmentation

ENV = "rltransfer_envs:rltransfer/ImageFolder-v0"
SMALL = 84
"""The side of the images of the baselines without the network: what SB3's NatureCNN is made for."""
Batch = UInt8[torch.Tensor, "batch 3 height width"]


class Images:
    """The images of one part of a folder; those of a large one are decoded whenever they are asked for.

    Args:
        settings: What is read.
        split: ``train`` or ``test``.
        size: The side that images are resized to.

    Attributes:
        classes: The names of the classes; a label is an index into them.
        space: Of an image, channels first.

    Raises:
        ConfigError: The folder does not hold images of two classes or more, or a file is no image.
    """

    def __init__(self, settings: Settings, split: str, size: int) -> None:
        env: Any = gym.make(
            ENV,
            disable_env_checker=True,
            folder=settings.folder,
            split=split,
            size=size,
            test_share=settings.test_share,
            split_seed=settings.split_seed,
        )
        self._env = env.unwrapped
        self._facts: dict[int, tuple[str, int]] = {}
        self._augment = settings.augment
        self.classes: tuple[str, ...] = self._env.classes
        self.space = spaces.Box(0, 255, (3, size, size), np.uint8)

    def __len__(self) -> int:
        """Returns how many images there are."""
        return int(self._env.n_images)

    def facts(self, index: int) -> tuple[str, int]:
        """Returns the file of an image, relative to the folder, and its label."""
        if index not in self._facts:
            self._image(index)
        return self._facts[index]

    def batch(self, indices: Sequence[int]) -> Batch:
        """Returns images."""
        shown = np.stack([self._image(int(index)) for index in indices])
        return torch.from_numpy(shown).permute(0, 3, 1, 2).contiguous()

    def _image(self, index: int) -> UInt8[np.ndarray, "height width 3"]:
        image, info = self._env.reset(options={"index": index})
        self._facts[index] = info["file"], self.classes.index(info["class_name"])
        return image  # type: ignore[no-any-return]

    def with_copies(self, count: int) -> Iterator[Batch]:
        """Yields each image with its augmented copies, which are the same whenever they are asked for."""
        for index in range(len(self)):
            image = self.batch([index])
            yield image if count == 0 else torch.cat([image, self.augmented(image.expand(count, -1, -1, -1), index)])

    def augmented(self, images: Batch, seed: int) -> Batch:
        """Returns images as augmentation changes them."""
        if self._augment is None:
            return images
        changed: Batch = Augmentation(self._augment, self.space, seed=seed).changed(images.clone())
        return changed


def small(images: Batch) -> Batch:
    """Returns images as the baselines without the network see them."""
    resized = functional.interpolate(images.float(), size=(SMALL, SMALL), mode="bilinear", antialias=True)
    return resized.round().clamp(0, 255).to(torch.uint8)
