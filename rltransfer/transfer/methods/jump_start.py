"""The source's policy plays the beginning of each training episode (JSRL; Uchendu et al. 2023)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import JumpStart
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.source_actor import (
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


class JumpStartMethod(Method[JumpStart]):
    """Lets the source play inside ``reset``; its steps count, and none of its actions is in a buffer."""

    stage = Stage.GRADIENTS

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def source_actor_settings(self) -> SourceActorSettings:
        """Returns what the source policy is to do."""
        settings = self.settings
        return SourceActorSettings(episodes=settings.episodes, window=settings.window, starts=settings)

    def refuse(self, plan: "Plan", match: "Pair", agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the source cannot act in the agent's environments."""
        refuse_source_policy(plan, match, agent)

    def install(self, installation: "Installation") -> None:
        """Puts the source policy into the agent's environments."""
        installation.place_source_actor()

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Takes the source policy out of the agent's environments."""
        remove_source_actor(agent)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields a source policy that took no step, or whose steps are in the agent's experience."""
        watch = run.callback(SourceActorCallback)
        if watch is None or not watch.source_actor.steps:
            yield "the source took no step"
        elif run.agent.num_timesteps < watch.source_actor.steps:
            yield "the source's steps do not count"
