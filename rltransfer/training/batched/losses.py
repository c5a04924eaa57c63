"""The losses of PPO and A2C for a block of runs, with their gradients written out."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch

from rltransfer.anatomy import spec_of_agent
from rltransfer.training.batched.transitions import Transitions


@dataclasses.dataclass(frozen=True)
class Loss:
    """A loss of each run on its minibatch.

    Attributes:
        logged: What SB3 logs of it, ``quantity x run``, in the order of the loss function's ``quantities``.
        log_probs: Its gradient with respect to the log probabilities of the actions.
        values: Its gradient with respect to the values.
        entropy: Its gradient with respect to the entropy in each state.
    """

    logged: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    entropy: float


class LossFunction(Protocol):
    """The loss of an algorithm, with what stock SB3 logs of it.

    Attributes:
        quantities: What is logged of each minibatch.
        n_epochs: How often an update reads a rollout.
        batch_size: The length of a minibatch; None for the whole rollout, whose order does not matter then.
        target_kl: An update of a run ends where its approximate KL divergence is 1.5 times this; None for never.
    """

    quantities: ClassVar[tuple[str, ...]]
    n_epochs: int
    batch_size: int | None
    target_kl: float | None

    def __call__(
        self, minibatch: Transitions, values: torch.Tensor, log_probs: torch.Tensor, entropies: torch.Tensor, /
    ) -> Loss:
        """Returns the losses of policies that give these values, log probabilities and entropies."""

    def settings_of(self, row: int, /) -> dict[str, float]:
        """Returns what is logged of a run's settings."""


def loss_function(agents: Sequence[Any], size: int) -> LossFunction:
    """Returns the loss of the agents of a block, with the clipping ranges that their schedules ask for now."""
    is_clipped = spec_of_agent(agents[0]).batched_loss == "clipped_surrogate"
    return ClippedSurrogate(agents, size) if is_clipped else PolicyGradient(agents[0])


class ClippedSurrogate:
    """The clipped surrogate loss of ``PPO.train`` (Schulman et al. 2017, equations 7 and 9)."""

    quantities: ClassVar[tuple[str, ...]] = (
        "policy_gradient_loss",
        "value_loss",
        "entropy_loss",
        "loss",
        "clip_fraction",
        "approx_kl",
    )

    def __init__(self, agents: Sequence[Any], size: int) -> None:
        first = agents[0]
        self._normalises = first.normalize_advantage
        self._ent_coef, self._vf_coef = first.ent_coef, first.vf_coef
        self.n_epochs: int = first.n_epochs
        self.batch_size: int | None = first.batch_size
        self.target_kl: float | None = first.target_kl
        ranges = [agent.clip_range(agent._current_progress_remaining) for agent in agents]
        self._low = _column([1 - clip for clip in ranges], size, first.device)
        self._high = _column([1 + clip for clip in ranges], size, first.device)
        self._range = _column(ranges, size, first.device)
        self._settings = [{"clip_range": clip} for clip in ranges]
        self._value_range: torch.Tensor | None = None
        if first.clip_range_vf is not None:
            value_ranges = [agent.clip_range_vf(agent._current_progress_remaining) for agent in agents]
            self._value_range = _column(value_ranges, size, first.device)
            for settings, value_range in zip(self._settings, value_ranges, strict=True):
                settings["clip_range_vf"] = value_range

    def __call__(
        self, minibatch: Transitions, values: torch.Tensor, log_probs: torch.Tensor, entropies: torch.Tensor, /
    ) -> Loss:
        """Returns the losses of the minibatch."""
        old_values, old_log_probs, advantages, returns = minibatch.numbers.unbind(0)
        length = len(minibatch)
        if self._normalises and length > 1:
            advantages = _normalised(advantages)
        log_ratio = log_probs - old_log_probs
        ratio = log_ratio.exp()
        surrogate = advantages * ratio
        clipped = advantages * ratio.clamp(self._low, self._high)
        policy_loss = -torch.minimum(surrogate, clipped).mean(1)
        # Where both are the same nothing was clipped, or the advantage is zero.
        by_log_prob = surrogate.mul((surrogate <= clipped).float().mul_(-1.0 / length))
        value_loss, by_value = self._value_loss(values, old_values, returns)
        entropy_loss = -entropies.mean(1)
        distance = ratio - 1
        logged = torch.stack(
            (
                policy_loss,
                value_loss,
                entropy_loss,
                policy_loss + self._ent_coef * entropy_loss + self._vf_coef * value_loss,
                (distance.abs() > self._range).float().mean(1),
                (distance - log_ratio).mean(1),
            )
        )
        return Loss(logged, by_log_prob, by_value, -self._ent_coef / length)

    def settings_of(self, row: int, /) -> dict[str, float]:
        """Returns the clipping ranges of now."""
        return self._settings[row]

    def _value_loss(
        self, values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        scale = 2 * self._vf_coef / values.shape[1]
        if self._value_range is None:
            error = values - returns
            return error.square().mean(1), error * scale
        change = values - old_values
        clamped = change.clamp(-self._value_range, self._value_range)
        error = old_values + clamped - returns
        return error.square().mean(1), error * scale * (change == clamped)


class PolicyGradient:
    """The loss of ``A2C.train`` (Mnih et al. 2016), which SB3 computes on a whole rollout."""

    quantities: ClassVar[tuple[str, ...]] = ("policy_loss", "value_loss", "entropy_loss")

    def __init__(self, agent: Any) -> None:
        self._normalises = agent.normalize_advantage
        self._ent_coef, self._vf_coef = agent.ent_coef, agent.vf_coef
        self.n_epochs = 1
        self.batch_size: int | None = None
        self.target_kl: float | None = None

    def __call__(
        self, minibatch: Transitions, values: torch.Tensor, log_probs: torch.Tensor, entropies: torch.Tensor, /
    ) -> Loss:
        """Returns the losses of the rollout."""
        _, _, advantages, returns = minibatch.numbers.unbind(0)
        length = len(minibatch)
        if self._normalises:
            advantages = _normalised(advantages)
        error = values - returns
        logged = torch.stack(
            (-(advantages * log_probs).mean(1), error.square().mean(1), -entropies.mean(1)),
        )
        return Loss(logged, advantages / -length, error * (2 * self._vf_coef / length), -self._ent_coef / length)

    def settings_of(self, _row: int, /) -> dict[str, float]:
        """Returns nothing."""
        return {}


def _normalised(advantages: torch.Tensor) -> torch.Tensor:
    deviation, mean = torch.std_mean(advantages, 1, keepdim=True)
    return (advantages - mean).div_(deviation + 1e-8)


def _column(numbers: Sequence[float], size: int, device: torch.device) -> torch.Tensor:
    """Returns a number per run as a column; rows without an agent have the first run's."""
    filled = [*numbers, *([numbers[0]] * (size - len(numbers)))]
    return torch.tensor(filled, dtype=torch.float32, device=device).unsqueeze(1)
