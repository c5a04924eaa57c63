"""The transitions of a rollout as the update of a block reads them."""

import dataclasses

import torch

from rltransfer.training.batched.rollout_buffer import BatchedRolloutBuffer


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Transitions, ``run x transition``.

    Attributes:
        observations: What the networks read.
        actions: What was drawn.
        numbers: Old values, old log probabilities, advantages and returns, in this order.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    numbers: torch.Tensor

    @classmethod
    def of(cls, buffer: BatchedRolloutBuffer) -> "Transitions":
        """Returns those of a rollout; run by run, environment by environment."""
        numbers = torch.stack((buffer.values, buffer.log_probs, buffer.advantages, buffer.returns))
        return cls(
            buffer.observations.flatten(1, 2),
            buffer.actions.flatten(1, 2),
            numbers.flatten(2, 3).to(buffer.observations.device),
        )

    def __len__(self) -> int:
        return self.observations.shape[1]

    def shuffled(self, order: torch.Tensor) -> "Transitions":
        """Returns them in another order in each run, ``run x transition``."""
        runs, length = order.shape
        flat = (order + torch.arange(0, runs * length, length, device=order.device).unsqueeze(1)).flatten()
        return Transitions(
            self.observations.flatten(0, 1).index_select(0, flat).view_as(self.observations),
            self.actions.flatten(0, 1).index_select(0, flat).view_as(self.actions),
            self.numbers.flatten(1, 2).index_select(1, flat).view_as(self.numbers),
        )

    def part(self, start: int, length: int) -> "Transitions":
        """Returns some in a row: a minibatch."""
        stop = start + length
        return Transitions(
            self.observations[:, start:stop], self.actions[:, start:stop], self.numbers[:, :, start:stop]
        )
