"""The agent is drawn to what the source's policy would do in the agent's own states (Schmitt et al. 2018)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.strategies import Kickstart
from rltransfer.transfer.distillation import Distillation, refuse_student, remove_distillation, undistilled
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.source_actor import SourceActorSettings, refuse_source_policy, remove_source_actor

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair
    from rltransfer.transfer.plan import Plan


class KickstartMethod(Method[Kickstart]):
    """Adds the gradient of the distance from the source's policy to each step of the actor's optimizer."""

    stage = Stage.GRADIENTS

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def source_actor_settings(self) -> SourceActorSettings:
        """Returns what the source policy is to do."""
        settings = self.settings
        return SourceActorSettings(settings.episodes, settings.window, temperature=settings.temperature)

    def refuse(self, plan: "Plan", match: "Pair", agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the agent cannot be taught, or the source cannot act in its environments."""
        match.refuse_wrong_actions()
        refuse_student(plan.algo)
        refuse_source_policy(plan, match, agent)

    def install(self, installation: "Installation") -> None:
        """Puts the source policy into the environments, and the gradient before the steps of the actor's optimizer."""
        source_actor = installation.place_source_actor()
        installation.add(Distillation(source_actor, self.settings, installation.elapsed, installation.agent))

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Takes source policy and gradient away."""
        remove_source_actor(agent)
        remove_distillation(agent)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that nothing was added to the actor's gradient."""
        yield from undistilled(run)
