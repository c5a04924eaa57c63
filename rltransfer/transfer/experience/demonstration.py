"""Puts what a source's policy does into an agent's replay buffer, and lets the agent learn from it before it acts."""

import functools
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.utils import polyak_update

from rltransfer.strategies import QDagger
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.experience.guide import Guide
from rltransfer.transfer.experience.overlay import lay_over, lift
from rltransfer.transfer.holding import Holding

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class Demonstration(Holding):
    """Corrects the actions in the replay buffer while the guide takes them, and makes the updates after that.

    SB3 goes on collecting and learning as always: what was chosen by the agent is what was done by the guide.
    """

    needs_callbacks = "no updates are made on what the source collected before the agent acts"

    def __init__(self, guide: Guide, agent: Any, part: QDagger, elapsed: ElapsedSteps) -> None:
        super().__init__()
        self._guide = guide
        self._part = part
        self._agent = agent
        # Its updates come at the beginning of the first rollout after it.
        self._is_over = elapsed.steps - agent.n_envs * agent.train_freq.frequency >= part.collect
        if not self._is_over:
            buffer = self._agent.replay_buffer
            lay_over(buffer, {"add": functools.partial(self._add, buffer)})

    def state(self) -> dict[str, Any]:
        """Returns whether it is over."""
        return {"is_over": self._is_over}

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up whether it is over."""
        self._is_over = state["is_over"]
        if self._is_over:
            remove_demonstration(self._agent)

    def _add(self, buffer: Any, *transition: Any) -> None:
        observation, following, action, *rest = transition
        if self._guide.done is not None:
            action = self._guide.done
        type(buffer).add(buffer, observation, following, action, *rest)

    def _on_rollout_start(self) -> None:
        if not self._is_over and not self._guide.is_demonstrating:
            self._is_over = True
            remove_demonstration(self._agent)
            self._learn_offline()

    def _learn_offline(self) -> None:
        """Makes the updates that the plan asks for, with as many of target networks as SB3 would make in them."""
        agent = self._agent
        if agent.replay_buffer.size() < 1:
            return
        steps = agent.train_freq.frequency * agent.n_envs
        per_step = max(1, agent.gradient_steps) if agent.gradient_steps > 0 else steps
        chunk = max(1, agent.target_update_interval * per_step // steps)
        left = self._part.offline_updates
        while left > 0:
            agent.train(gradient_steps=min(chunk, left), batch_size=agent.batch_size)
            left -= chunk
            polyak_update(agent.q_net.parameters(), agent.q_net_target.parameters(), agent.tau)
            polyak_update(agent.batch_norm_stats, agent.batch_norm_stats_target, 1.0)


def remove_demonstration(agent: "BaseAlgorithm") -> None:
    """Gives an agent's replay buffer its own ``add`` back."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        lift(buffer, ["add"])
