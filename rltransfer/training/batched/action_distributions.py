"""The action distributions of a block of runs: SB3's draws, its log probabilities, and their gradients."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
)

from rltransfer.algorithms import LOG_STD
from rltransfer.training.batched.block import Block


class ActionDistribution(Protocol):
    """The distribution of actions given the outputs of ``action_net``, ``run x row x out``."""

    def sample(self, outputs: torch.Tensor, generators: Sequence[torch.Generator | None], /) -> torch.Tensor:
        """Returns an action per row; a run's are those that SB3 draws with its generator."""

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the log probability of each action and the entropy of each row; remembers what gradients need."""

    def gradient(self, log_prob: torch.Tensor, entropy: float, /) -> torch.Tensor:
        """Returns the gradient with respect to the outputs.

        Args:
            log_prob: That with respect to the log probabilities.
            entropy: That with respect to the entropy of each row.
        """


def action_distribution(block: Block) -> ActionDistribution:
    """Returns the distribution of a block's policies."""
    distribution: Any = block.agents[0].policy.action_dist
    if isinstance(distribution, DiagGaussianDistribution):
        return _Gaussian(block)
    if isinstance(distribution, CategoricalDistribution):
        return _Categorical()
    if isinstance(distribution, BernoulliDistribution):
        return _Bernoulli()
    return _MultiCategorical(distribution.action_dims)


class _Categorical:
    def sample(self, outputs: torch.Tensor, generators: Sequence[torch.Generator | None], /) -> torch.Tensor:
        # As torch.multinomial does for one sample: exponential numbers, a division, and the largest quotient.
        draws = _draws(outputs, generators, torch.Tensor.exponential_)
        return torch.softmax(outputs, -1).div_(draws).argmax(-1)

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        self._actions = actions.unsqueeze(-1)
        self._logs = torch.log_softmax(outputs, -1)
        self._probabilities = self._logs.exp()
        self._entropy = -(self._probabilities * self._logs).sum(-1)
        return self._logs.gather(-1, self._actions).squeeze(-1), self._entropy

    def gradient(self, log_prob: torch.Tensor, entropy: float, /) -> torch.Tensor:
        by_row = -log_prob.unsqueeze(-1)
        factors = by_row
        if entropy:
            factors = by_row - entropy * (self._logs + self._entropy.unsqueeze(-1))
        return (self._probabilities * factors).scatter_add_(-1, self._actions, -by_row)


class _MultiCategorical:
    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = [int(size) for size in sizes]
        self._parts = [_Categorical() for _ in self._sizes]

    def sample(self, outputs: torch.Tensor, generators: Sequence[torch.Generator | None], /) -> torch.Tensor:
        split = outputs.split_with_sizes(self._sizes, -1)
        return torch.stack([part.sample(own, generators) for part, own in zip(self._parts, split, strict=True)], -1)

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        split = zip(self._parts, outputs.split_with_sizes(self._sizes, -1), actions.unbind(-1), strict=True)
        log_probs, entropies = zip(*(part.log_prob(own, action) for part, own, action in split), strict=True)
        return torch.stack(log_probs).sum(0), torch.stack(entropies).sum(0)

    def gradient(self, log_prob: torch.Tensor, entropy: float, /) -> torch.Tensor:
        return torch.cat([part.gradient(log_prob, entropy) for part in self._parts], -1)


class _Bernoulli:
    def sample(self, outputs: torch.Tensor, generators: Sequence[torch.Generator | None], /) -> torch.Tensor:
        draws = _draws(outputs, generators, torch.Tensor.uniform_)
        return (draws <= torch.sigmoid(outputs)).float()

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        self._outputs, self._actions = outputs, actions
        self._probabilities = torch.sigmoid(outputs)
        return -_cross_entropy(outputs, actions).sum(-1), _cross_entropy(outputs, self._probabilities).sum(-1)

    def gradient(self, log_prob: torch.Tensor, entropy: float, /) -> torch.Tensor:
        ones = self._probabilities
        return log_prob.unsqueeze(-1) * (self._actions - ones) - entropy * ones * (1 - ones) * self._outputs


class _Gaussian:
    """Standard deviations are parameters that no state changes; their gradient is written into the block's."""

    def __init__(self, block: Block) -> None:
        self._log_std = block.stacked(LOG_STD).unsqueeze(1)
        self._log_std_gradient = block.layout.stacked(block.gradients, LOG_STD)

    def sample(self, outputs: torch.Tensor, generators: Sequence[torch.Generator | None], /) -> torch.Tensor:
        draws = _draws(outputs, generators, torch.Tensor.normal_)
        return draws.mul_(self._log_std.exp()).add_(outputs)

    def log_prob(self, outputs: torch.Tensor, actions: torch.Tensor, /) -> tuple[torch.Tensor, torch.Tensor]:
        self._variance = (2 * self._log_std).exp()
        self._difference = actions - outputs
        self._scaled = self._difference.square().div_(self._variance)
        constant = 0.5 * math.log(2 * math.pi)
        log_prob = (-0.5 * self._scaled - self._log_std - constant).sum(-1)
        entropy = (self._log_std + (0.5 + constant)).sum(-1)
        return log_prob, entropy.expand_as(log_prob)

    def gradient(self, log_prob: torch.Tensor, entropy: float, /) -> torch.Tensor:
        by_row = log_prob.unsqueeze(-1)
        gradient = (by_row * (self._scaled - 1)).sum(1)
        if entropy:
            gradient += entropy * log_prob.shape[1]
        self._log_std_gradient.copy_(gradient)
        return by_row * self._difference.div_(self._variance)


def _draws(
    outputs: torch.Tensor, generators: Sequence[torch.Generator | None], draw: Callable[..., torch.Tensor]
) -> torch.Tensor:
    """Returns numbers of a distribution, each run's from its own generator; ones in rows without a generator.

    They are drawn on the CPU, where they are those of stock SB3.
    """
    draws = torch.ones(outputs.shape)
    for row, generator in zip(draws.unbind(0), generators, strict=False):
        if generator is not None:
            draw(row, generator=generator)
    return draws.to(outputs.device)


def _cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
