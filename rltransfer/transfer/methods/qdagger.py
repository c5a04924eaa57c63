"""The agent learns Q-values from what the source does, and is drawn to it (QDagger; Agarwal et al. 2022)."""

import functools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.utils import polyak_update

from rltransfer.algorithms import spec_of
from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import QDagger
from rltransfer.transfer.distillation import Distillation, refuse_student, remove_distillation, undistilled
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.overlay import lay_over, lift
from rltransfer.transfer.source_actor import (
    SourceActor,
    SourceActorCallback,
    SourceActorSettings,
    refuse_source_policy,
    remove_source_actor,
)

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair
    from rltransfer.transfer.plan import Plan


class QDaggerMethod(Method[QDagger]):
    """Lets the source act first and the agent learn from that, then draws the agent to it."""

    stage = Stage.GRADIENTS

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def source_actor_settings(self) -> SourceActorSettings:
        """Returns what the source policy is to do."""
        settings = self.settings
        return SourceActorSettings(
            settings.episodes, settings.window, temperature=settings.temperature, demonstrates=settings.collect
        )

    def refuse(self, plan: "Plan", match: "Pair", agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the agent learns no Q-values so, or the source cannot act in its environments."""
        match.refuse_wrong_actions()
        _refuse_other_losses(plan.algo)
        refuse_student(plan.algo)
        refuse_source_policy(plan, match, agent)

    def install(self, installation: "Installation") -> None:
        """Puts the source policy into the environments, its actions into the buffer and a gradient before the steps."""
        source_actor = installation.place_source_actor()
        installation.add(Demonstration(source_actor, installation.agent, self.settings, installation.elapsed))
        installation.add(Distillation(source_actor, self.settings, installation.elapsed, installation.agent))

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Takes source policy, demonstration and gradient away."""
        remove_source_actor(agent)
        remove_demonstration(agent)
        remove_distillation(agent)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields actions in the buffer that are not the source's, and that nothing was added to the gradient."""
        yield from undistilled(run)
        watch, buffer = run.callback(SourceActorCallback), getattr(run.agent, "replay_buffer", None)
        if watch is None or buffer is None or watch.source_actor.source_policy.samples:
            return
        shown = min(self.settings.collect // run.agent.n_envs, buffer.size())
        for moment in range(shown):
            starts = np.full(run.agent.n_envs, True) if moment == 0 else buffer.dones[moment - 1].astype(bool)
            advice = watch.source_actor.source_policy.see(
                buffer.observations[moment], np.arange(run.agent.n_envs), starts
            )
            if not np.array_equal(buffer.actions[moment].flatten(), advice.centre.argmax(axis=1)):
                yield f"action {moment} in the replay buffer is not the source's"
                return


def _refuse_other_losses(algo: str) -> None:
    if not spec_of(algo).has_dqn_loss:
        raise IncompatibleError(
            f"An agent of {algo} cannot be taught by 'qdagger', which is a loss of DQN: Q-values are learned from what "
            "the source does and drawn to its choices. Use 'kickstart', or an agent of dqn."
        )


class Demonstration(HeldCallback):
    """Corrects the actions in the replay buffer while the source policy takes them, and makes the updates after that.

    SB3 goes on collecting and learning as always: what was chosen by the agent is what was done by the source's policy.
    """

    needs_callbacks = "no updates are made on what the source collected before the agent acts"

    def __init__(self, source_actor: SourceActor, agent: Any, settings: QDagger, elapsed: ElapsedSteps) -> None:
        super().__init__()
        self._source_actor = source_actor
        self._settings = settings
        self._agent = agent
        # Its updates come at the beginning of the first rollout after it.
        self._is_over = elapsed.steps - agent.n_envs * agent.train_freq.frequency >= settings.collect
        if not self._is_over:
            buffer = self._agent.replay_buffer
            lay_over(buffer, {"add": functools.partial(self._add, buffer)})

    def state_dict(self) -> dict[str, Any]:
        """Returns whether it is over."""
        return {"is_over": self._is_over}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads whether it is over."""
        self._is_over = state["is_over"]
        if self._is_over:
            remove_demonstration(self._agent)

    def _add(self, buffer: Any, *transition: Any) -> None:
        observation, following, action, *rest = transition
        if self._source_actor.done is not None:
            action = self._source_actor.done
        type(buffer).add(buffer, observation, following, action, *rest)

    def _on_rollout_start(self) -> None:
        if not self._is_over and not self._source_actor.is_demonstrating:
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
        left = self._settings.offline_updates
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
