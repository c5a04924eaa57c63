"""The transitions of a rollout of several runs, with SB3's advantages."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float


class BatchedRolloutBuffer:
    """The transitions of one rollout, ``run x env x step``: the order in which SB3 flattens them for minibatches.

    Args:
        shape: How many runs there are, rows without an agent included; how many environments each has; how many steps
            it takes in a rollout.
        n_features: The width of an observation as the network gets it.
        action_shape: The shape of an action.
        action_type: The type of an action as it is drawn.
        device: Where it is kept.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        n_features: int,
        *,
        action_shape: tuple[int, ...],
        action_type: torch.dtype,
        device: torch.device,
    ) -> None:
        self.n_steps = shape[2]
        self.observations = torch.zeros(*shape, n_features, device=device)
        self.actions = torch.zeros(*shape, *action_shape, dtype=action_type, device=device)
        self.values = torch.zeros(shape)
        self.log_probs = torch.zeros(shape)
        self.rewards = np.zeros(shape, dtype=np.float32)
        self.episode_starts = np.zeros(shape, dtype=np.float32)
        self.advantages = torch.zeros(shape)
        self.returns = torch.zeros(shape)

    def compute_returns_and_advantages(
        self,
        last_values: Float[np.ndarray, "runs envs"],
        dones: Bool[np.ndarray, "runs envs"],
        *,
        gamma: float,
        gae_lambda: float,
    ) -> None:
        """Computes GAE as ``RolloutBuffer.compute_returns_and_advantage`` does, to the last bit."""
        rewards, values, starts = (
            np.ascontiguousarray(np.moveaxis(array, 2, 0))
            for array in (self.rewards, self.values.numpy(), self.episode_starts)
        )
        advantages = np.empty_like(rewards)
        last: Any = 0
        next_values, non_terminal = last_values, 1.0 - dones.astype(np.float32)
        for step in reversed(range(self.n_steps)):
            delta = rewards[step] + gamma * next_values * non_terminal - values[step]
            last = delta + gamma * gae_lambda * non_terminal * last
            advantages[step] = last
            next_values, non_terminal = values[step], 1.0 - starts[step]
        self.advantages.numpy()[:] = np.moveaxis(advantages, 0, 2)
        torch.add(self.advantages, self.values, out=self.returns)

    def explained_variance(self, run: int) -> float:
        """Returns the share of a run's returns that its values explain, as SB3 logs it."""
        values, returns = self.values[run].numpy().ravel(), self.returns[run].numpy().ravel()
        variance = np.var(returns)
        return float("nan") if variance == 0 else float(1 - np.var(returns - values) / variance)
