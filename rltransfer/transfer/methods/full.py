"""All weights move, heads too."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.records import MOVED, Finding
from rltransfer.strategies import Full
from rltransfer.transfer.layer_rules import LayerRules, has_actor, warmup_steps
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.matching.pair import Pair


class FullMethod(Method[Full]):
    """Moves the encoder and the heads, and lets an off-policy agent act by them from the first step on."""

    works_on_features = True

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns rules by which everything moves, the critic apart where it is reset.

        Raises:
            IncompatibleError: The critic is reset, and the agent has nothing else.
        """
        resets = self._resets_critic
        if resets and not has_actor(anatomy):
            raise IncompatibleError(f"critic 'reset' would leave nothing: an agent of {anatomy.algo} has no actor.")
        return rules.with_(
            chosen=frozenset(layer.name for layer in anatomy.encoders() if not (resets and layer.branch == "critic")),
            origin="copied",
            heads=True,
            log_std=self.settings.log_std,
            log_ent_coef=self.settings.log_ent_coef,
            copies_statistics=True,
            resets_critic=resets,
            critic_warmup_steps=warmup_steps(self.settings, anatomy),
            continues=self.settings.exploration == "continue",
        )

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields that the critic is reset."""
        if self._resets_critic:
            yield Finding(
                kind="critic_reset", severity="note", words="the critic starts afresh under the source's actor"
            )

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields what does not start with the source's numbers, and a critic that is not as built where it is reset."""
        moved = run.entries(lambda entry: entry.origin in MOVED)
        yield from run.not_from_source(moved)
        for role in ("encoder", "head"):
            if not any(entry.role == role for entry in moved):
                yield f"no {role} moved"
        if self._resets_critic:
            yield from run.not_as_built(run.entries(lambda entry: entry.branch == "critic"))
        yield from run.not_trained(run.entries(lambda entry: entry.trains))

    @property
    def _resets_critic(self) -> bool:
        return self.settings.critic == "reset"
