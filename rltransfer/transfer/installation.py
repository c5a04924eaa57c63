"""Puts the methods of a plan on an agent, in an order that is part of its numbers, and takes them away again."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.methods import Stage, acting_methods, method_classes
from rltransfer.transfer.minibatches import Minibatches
from rltransfer.transfer.optimizer_hooks import Updates
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_actor import SourceActor, SourceActorCallback, combined_settings
from rltransfer.transfer.source_policy import innermost, source_policy_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class Installation:
    """An agent while a plan is put on it; methods add to it what acts in training.

    Attributes:
        plan: The plan.
        agent: The agent.
        tensors: Its live tensors by name.
        elapsed: Its env_steps since the transfer.
        importance: The Fisher information of the source's weights, where a method measured it.
        updates: What moves some layers in the place of SB3's optimizers.
        steps_taken: How many env_steps were taken for the agent so far, by who takes them.
        callbacks: What ``learn`` needs, in the order in which it was added.
    """

    def __init__(
        self, plan: Plan, agent: "BaseAlgorithm", tensors: Mapping[str, torch.Tensor], elapsed: ElapsedSteps
    ) -> None:
        self.plan = plan
        self.agent = agent
        self.tensors = tensors
        self.elapsed = elapsed
        self.importance: Mapping[str, torch.Tensor] = {}
        self.updates: Updates | None = None
        self.steps_taken: dict[str, Callable[[], int]] = {}
        self.callbacks: list[HeldCallback] = []
        self._methods = acting_methods(plan.strategy)
        self._source_actor: SourceActor | None = None
        self._minibatches: Minibatches | None = None

    def prepare(self) -> None:
        """Lets the methods make what they install, while the agent is still as it was."""
        for method in self._methods:
            method.prepare(self.plan, self.agent)

    def install(self, *stages: Stage) -> None:
        """Installs the methods of some stages, one stage after the other."""
        for stage in stages:
            for method in self._methods:
                if method.stage is stage:
                    method.install(self)

    def add(self, callback: HeldCallback) -> None:
        """Adds a callback."""
        self.callbacks.append(callback)

    def place_source_actor(self) -> SourceActor:
        """Returns the source's policy in the agent's environments; one does what all methods ask of it."""
        if self._source_actor is None:
            wishes = [wish for method in self._methods if (wish := method.source_actor_settings()) is not None]
            settings = combined_settings(wishes)
            source_policy = source_policy_of(self.plan, self.agent, temperature=settings.temperature or 1.0)
            assert self.agent.env is not None
            seed = int(self.agent.seed or 0)
            source_actor = SourceActor(source_policy, innermost(self.agent.env), self.elapsed, settings, seed=seed)
            self._source_actor = source_actor
            # The name of version 0.1, whose runs are resumed.
            self.steps_taken["guide"] = lambda: source_actor.steps
            self.add(SourceActorCallback(source_actor, self.agent))
        return self._source_actor

    def minibatches(self) -> Minibatches:
        """Returns what stands between the agent and its replay buffer; one does what all methods ask of it."""
        if self._minibatches is None:
            self._minibatches = Minibatches(self.agent, self.elapsed)
            self.add(self._minibatches)
        return self._minibatches


def release_plan(agent: "BaseAlgorithm") -> None:
    """Takes from an agent what an earlier plan put on its steps and its experience."""
    # In the order that undoes the one in which they are put there: one may cover what another put on an environment.
    for method in reversed([*method_classes()]):
        method.release(agent)


def equip(env: VecEnv, plan: Plan, *, device: torch.device | str = "cpu") -> VecEnv:
    """Returns environments in which a planned agent acts as in those that it learned in.

    With ``residual`` the source acts in them too; other plans leave them as they are. Evaluate a saved agent of such a
    plan in environments that were equipped, with a plan from ``read_plan`` that was given its ``encoder`` back.

    Args:
        env: The environments with their wrappers, which are kept; call it once for each.
        plan: The plan, with its encoder.
        device: Where the source's policy computes.

    Raises:
        IncompatibleError: The plan has no source, or the source cannot act here.
    """
    for kind in method_classes():
        env = kind.strip(env)
    for method in acting_methods(plan.strategy):
        env = method.equip(env, plan, device)
    return env
