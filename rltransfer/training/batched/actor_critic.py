"""The policies of a block of runs: what they do in a state, and the gradients of their losses."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

import torch

from rltransfer.training.batched.action_distributions import action_distribution
from rltransfer.training.batched.block import Block
from rltransfer.training.batched.network import Network


class ActorCritic:
    """What ``ActorCriticPolicy`` is to one agent, to all of a block."""

    def __init__(self, block: Block) -> None:
        policy = block.agents[0].policy
        self._actor = Network(block, policy.mlp_extractor.policy_net, policy.action_net)
        self._critic = Network(block, policy.mlp_extractor.value_net, policy.value_net)
        self._distribution = action_distribution(block)

    def act(
        self, observations: torch.Tensor, generators: Sequence[torch.Generator | None]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns actions, values and log probabilities, ``run x env``; rows without a generator draw nothing."""
        outputs = self._actor.forward(observations)
        actions = self._distribution.sample(outputs, generators)
        log_probs, _ = self._distribution.log_prob(outputs, actions)
        return actions, self.values(observations), log_probs

    def values(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns the values of observations."""
        return self._critic.forward(observations).squeeze(-1)

    def train_only(self, names: AbstractSet[str]) -> None:
        """Leaves out gradients that no run needs: these are the names of the parameters that some run trains."""
        self._actor.train_only(names)
        self._critic.train_only(names)

    def evaluate_actions(
        self, observations: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns values, log probabilities and entropies, and remembers what ``backward`` needs."""
        outputs = self._actor.forward(observations, trains=True)
        log_probs, entropies = self._distribution.log_prob(outputs, actions)
        return self._critic.forward(observations, trains=True).squeeze(-1), log_probs, entropies

    def backward(self, log_probs: torch.Tensor, values: torch.Tensor, entropy: float) -> None:
        """Writes the gradients of the parameters, from those with respect to what ``evaluate_actions`` returned."""
        self._actor.backward(self._distribution.gradient(log_probs, entropy))
        self._critic.backward(values.unsqueeze(-1))
