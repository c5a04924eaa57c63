"""The learned layer between a target's observations and what a source's encoder reads."""

from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class LinearAdapter(BaseFeaturesExtractor):
    """A learned linear layer from a target's observations to the inputs that a source's encoder reads.

    It is always trained, also in front of a frozen encoder, and is part of the policy: an agent with it loads in stock
    SB3 and needs nothing else.

    Args:
        observation_space: Anything that flattens into a vector; no images, no dictionaries.
        features_dim: The number of inputs of the source.
    """

    def __init__(self, observation_space: spaces.Space[Any], features_dim: int) -> None:
        if isinstance(observation_space, spaces.Dict) or len(observation_space.shape or ()) > 1:
            raise ValueError(f"an adapter reads one vector, found {observation_space}.")
        super().__init__(observation_space, features_dim)
        self.adapter = nn.Linear(spaces.flatdim(observation_space), features_dim)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns what the encoder reads: [batch, features_dim]."""
        inputs: torch.Tensor = self.adapter(observations.flatten(start_dim=1))
        return inputs
