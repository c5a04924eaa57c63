"""Acts and learns for all runs of one block."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from rltransfer.algorithms import LOG_STD
from rltransfer.training.batched.actor_critic import ActorCritic
from rltransfer.training.batched.block import Block
from rltransfer.training.batched.generators import RunGenerators
from rltransfer.training.batched.losses import LossFunction, loss_function
from rltransfer.training.batched.optimizers import Stepper
from rltransfer.training.batched.rollout_buffer import BatchedRolloutBuffer
from rltransfer.training.batched.step_rules import BlockRules
from rltransfer.training.batched.transitions import Transitions

KL = "approx_kl"


class BlockLearner:
    """What ``collect_rollouts`` computes, and ``train``, for the agents of a block.

    Args:
        agents: The agents.
        generators: What each draws from.
        size: The number of rows of the block.

    Attributes:
        buffer: The transitions of the latest rollout.
        observations: What the networks read next, ``row x env x feature``; on the CPU, where environments put it.
    """

    def __init__(self, agents: Sequence[Any], generators: Sequence[RunGenerators], size: int) -> None:
        first = agents[0]
        self.agents = list(agents)
        self.generators = list(generators)
        self.block = Block(agents, size)
        self.actor_critic = ActorCritic(self.block)
        self._rules = BlockRules(self.block)
        self._stepper = Stepper(self.block)
        seen = torch.zeros(size, first.n_envs, first.policy.features_dim)
        self.observations: Float[np.ndarray, "rows envs features"] = seen.numpy()
        self._seen = seen
        with torch.no_grad():
            # Shows form and type of actions, and draws none.
            actions, _, _ = self.actor_critic.act(seen.to(first.device), [])
        self.buffer = BatchedRolloutBuffer(
            (size, first.n_envs, first.n_steps),
            first.policy.features_dim,
            action_shape=tuple(actions.shape[2:]),
            action_type=actions.dtype,
            device=first.device,
        )

    @torch.no_grad()
    def act(self, step: int, going: Sequence[bool]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Returns the actions of a step of a rollout, with their values and log probabilities; stores them.

        Agents that are not ``going`` draw nothing.
        """
        drawing = [own.torch if goes else None for own, goes in zip(self.generators, going, strict=True)]
        observations = self._seen.to(self.block.device)
        actions, values, log_probs = self.actor_critic.act(observations, drawing)
        buffer = self.buffer
        buffer.observations[:, :, step] = observations
        buffer.actions[:, :, step] = actions
        buffer.values[:, :, step] = values
        buffer.log_probs[:, :, step] = log_probs
        return actions, values, log_probs

    @torch.no_grad()
    def values(self, observations: Float[np.ndarray, "rows envs features"]) -> Float[np.ndarray, "rows envs"]:
        """Returns the values of observations, as many as there are rows and environments."""
        read = torch.from_numpy(observations).to(self.block.device)
        values: Float[np.ndarray, "rows envs"] = self.actor_critic.values(read).cpu().numpy()
        return values

    @torch.no_grad()
    def train(self, going: Sequence[bool]) -> list[dict[str, float]]:
        """Updates the agents from their rollouts; those that are not ``going`` stay as they are.

        Returns:
            What stock SB3 logs of each agent, under its names behind ``train/``.
        """
        self.block.restack()
        self._rules.read()
        self.actor_critic.train_only(self._rules.trained_names())
        update = _Update(self, going)
        update.run()
        self.block.publish()
        for row, agent in enumerate(self.agents):
            agent._n_updates += int(update.n_epochs[row])
        return [self._log(update, row) if going[row] else {} for row in range(len(self.agents))]

    def _log(self, update: "_Update", row: int) -> dict[str, float]:
        agent = self.agents[row]
        log = update.log.of(row)
        log["explained_variance"] = self.buffer.explained_variance(row)
        if hasattr(agent.policy, LOG_STD):
            log["std"] = float(agent.policy.log_std.exp().mean())
        log["n_updates"] = agent._n_updates
        return log | update.loss.settings_of(row)


class _Log:
    """What the minibatches of an update have to log: the mean of each quantity, but the last loss and epoch's KL."""

    def __init__(self, quantities: Sequence[str]) -> None:
        self._quantities = quantities
        self._logged: list[Float[np.ndarray, "quantities runs"]] = []
        self._counts: list[Bool[np.ndarray, " runs"]] = []
        self._epochs: list[int] = []

    def add(self, logged: Float[np.ndarray, "quantities runs"], counts: Bool[np.ndarray, " runs"], epoch: int) -> None:
        """Adds a minibatch, which counts for some of the runs."""
        self._logged.append(logged)
        self._counts.append(counts.copy())
        self._epochs.append(epoch)

    def of(self, row: int) -> dict[str, float]:
        """Returns what one run logs."""
        counts = np.stack(self._counts)[:, row]
        values = np.stack(self._logged)[counts, :, row].astype(np.float64)
        log = dict(zip(self._quantities, values.mean(0).tolist(), strict=True))
        epochs = np.array(self._epochs)[counts]
        if "loss" in log:
            log["loss"] = float(values[-1, self._quantities.index("loss")])
        if KL in log:
            log[KL] = float(values[epochs == epochs[-1], self._quantities.index(KL)].mean())
        return log


class _Update:
    """One call of ``train``: epochs of minibatches, in each run's own order."""

    def __init__(self, learner: BlockLearner, going: Sequence[bool]) -> None:
        agents, block = learner.agents, learner.block
        first = agents[0]
        self._learner = learner
        self._transitions = Transitions.of(learner.buffer)
        self._max_grad_norm = float(first.max_grad_norm)
        # Rows without an agent step along: leaving rows out costs time.
        self._going = np.ones(block.size, dtype=bool)
        self._going[: len(agents)] = going
        rates = np.zeros((block.size, 1))
        for row in np.flatnonzero(going):
            agents[row]._update_learning_rate(agents[row].policy.optimizer)
            rates[row] = agents[row].policy.optimizer.param_groups[0]["lr"]
        rules = learner._rules
        self._rules = rules
        self._rates = rates * rules.scales
        self._alike = rules.is_alike
        self.loss: LossFunction = loss_function(agents, block.size)
        self.n_epochs = np.zeros(block.size, dtype=int)
        self.log = _Log(self.loss.quantities)

    def run(self) -> None:
        """Runs all epochs; those of a run end where its policy has moved too far."""
        length = len(self._transitions)
        batch_size = self.loss.batch_size
        for epoch in range(self.loss.n_epochs):
            self.n_epochs += self._going
            order = self._order(length)
            # Stock SB3 draws an order even where it does not matter.
            data = self._transitions if batch_size is None else self._transitions.shuffled(order)
            for start in range(0, length, batch_size or length):
                self._minibatch(data.part(start, batch_size or length), epoch)
                if not self._is_any_going():
                    return

    def _order(self, length: int) -> torch.Tensor:
        """Returns the order of each run's transitions."""
        order = np.zeros((len(self._going), length), dtype=np.int64)
        for row, generators in enumerate(self._learner.generators):
            if self._going[row]:
                order[row] = generators.numpy.permutation(length)
        return torch.from_numpy(order).to(self._learner.block.device)

    def _minibatch(self, minibatch: Transitions, epoch: int) -> None:
        learner, block = self._learner, self._learner.block
        values, log_probs, entropies = learner.actor_critic.evaluate_actions(minibatch.observations, minibatch.actions)
        loss = self.loss(minibatch, values, log_probs, entropies)
        logged = loss.logged.cpu().numpy()
        self.log.add(logged, self._going, epoch)
        if self.loss.target_kl is not None:
            self._going &= ~(logged[self.loss.quantities.index(KL)] > 1.5 * self.loss.target_kl)
            if not self._is_any_going():
                return
        learner.actor_critic.backward(loss.log_probs, loss.values, loss.entropy)
        self._rules.drop_frozen()
        clip_gradients(block.gradients, self._max_grad_norm)
        self._rules.add_pulls()
        self._learner._stepper.step(self._rates, self._rules.steps & self._going[:, None], alike=self._alike)

    def _is_any_going(self) -> bool:
        return bool(self._going[: len(self._learner.agents)].any())


def clip_gradients(gradients: torch.Tensor, max_norm: float) -> None:
    """Scales the gradients of each run, a row, as ``torch.nn.utils.clip_grad_norm_`` does.

    >>> gradients = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    >>> clip_gradients(gradients, 1.0)
    >>> [[round(number, 3) for number in row] for row in gradients.tolist()]
    [[0.6, 0.8], [0.3, 0.4]]
    """
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((max_norm / (norms + 1e-6)).clamp_(max=1.0))
