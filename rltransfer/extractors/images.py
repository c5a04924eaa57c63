"""The features extractor for images that are too small for SB3's own."""

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class SmallCNN(BaseFeaturesExtractor):
    """Three small convolutions and a linear layer, for images too small for SB3's NatureCNN, as MiniGrid's 7x7 view.

    Use it with ``CnnPolicy`` and ``normalize_images=False``: the scale is applied here, because symbols are not
    colours (in MiniGrid's view the largest is 10, and SB3 would divide by 255).

    Args:
        observation_space: Images, channels first as SB3's ``VecTransposeImage`` leaves them, at least 4x4.
        features_dim: The number of features.
        scale: What the entries are divided by.
    """

    def __init__(self, observation_space: spaces.Box, features_dim: int = 64, scale: float = 10.0) -> None:
        channels, height, width = observation_space.shape
        if min(height, width) < 4:
            raise ValueError(f"SmallCNN needs images of at least 4x4 entries, found {height}x{width}.")
        rows, columns = min(height - 3, 4), min(width - 3, 4)
        super().__init__(observation_space, features_dim)
        self.scale = scale
        self.convolutions = nn.Sequential(
            nn.Conv2d(channels, 16, kernel_size=2),
            nn.ReLU(),
            nn.Conv2d(16, 32, kernel_size=2),
            nn.ReLU(),
            nn.Conv2d(32, 64, kernel_size=2),
            nn.ReLU(),
            # Leaves the 4x4 entries of a 7x7 image as they are; without it the linear layer of a larger one is huge.
            nn.AdaptiveMaxPool2d((rows, columns)),
            nn.Flatten(),
        )
        self.linear = nn.Sequential(nn.Linear(64 * rows * columns, features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns the features of a batch of images."""
        features: torch.Tensor = self.linear(self.convolutions(observations.float() / self.scale))
        return features

    def layer_groups(self) -> dict[str, tuple[str, ...]]:
        """Returns the layer groups in order: group name to prefixes of module names."""
        return {
            "convolution_0": ("convolutions.0",),
            "convolution_1": ("convolutions.2",),
            "convolution_2": ("convolutions.4",),
            "linear": ("linear",),
        }

    def input_weights(self) -> dict[str, tuple[str, ...]]:
        """Returns the names of the weights that read the image: their second side are its channels."""
        return {"": ("convolutions.0.weight",)}
