"""What each strategy means for the layers of an agent."""

import dataclasses
from typing import Any, assert_never

from rltransfer.anatomy import Anatomy, Branch, Layer, choose_layers, refuse_unknown_layers
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import (
    Extra,
    Finetune,
    Frozen,
    Full,
    NormaliserOnly,
    Part,
    RandomFrozen,
    Rescaled,
    Scratch,
    Shuffled,
)
from rltransfer.transfer.counterparts import SourceBranch
from rltransfer.transfer.plan import Origin


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What a strategy means for an agent: its ``chosen`` encoder layers, its heads, and what is not weights."""

    chosen: frozenset[str] = frozenset()
    origin: Origin = "initialised"
    frozen: bool = False
    lr_scale: float = 1.0
    heads: bool = False
    permuted: bool = False
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"
    copies_statistics: bool = False
    source_branch: SourceBranch = "own"
    resets_critic: bool = False
    critic_warmup_steps: int = 0
    continues: bool = False

    def moves_head(self, layer: Layer) -> bool:
        """Says whether a head layer moves."""
        return self.heads and layer.role == "head" and not (self.resets_critic and layer.branch == "critic")


def treatment_of(part: Part, anatomy: Anatomy) -> Treatment:
    """Returns the treatment that one part of a strategy gives to an agent of this anatomy.

    Raises:
        IncompatibleError: The part names layers that the agent lacks.
    """
    match part:
        case Scratch():
            treatment = Treatment()
        case NormaliserOnly():
            treatment = Treatment(copies_statistics=True)
        case Full():
            treatment = _moving_everything(part, anatomy)
        case Finetune():
            treatment = _moving(part, anatomy, lr_scale=part.lr_scale)
        case Frozen():
            treatment = _moving(part, anatomy, frozen=True)
        case RandomFrozen():
            treatment = Treatment(chosen=_chosen(part, anatomy), frozen=True, copies_statistics=True)
        case Rescaled():
            treatment = Treatment(
                chosen=_chosen(part, anatomy),
                origin="rescaled",
                copies_statistics=True,
                source_branch=part.source_branch,
            )
        case Shuffled():
            treatment = _shuffling(part, anatomy)
        case _:
            assert_never(part)
    return treatment


def _moving_everything(part: Full, anatomy: Anatomy) -> Treatment:
    resets = part.critic == "reset"
    if resets and not has_actor(anatomy):
        raise IncompatibleError(f"critic 'reset' would leave nothing: an agent of {anatomy.algo} has no actor.")
    return Treatment(
        chosen=frozenset(layer.name for layer in anatomy.encoders() if not (resets and layer.branch == "critic")),
        origin="copied",
        heads=True,
        log_std=part.log_std,
        log_ent_coef=part.log_ent_coef,
        copies_statistics=True,
        resets_critic=resets,
        critic_warmup_steps=_warmup_steps(part, anatomy),
        continues=part.exploration == "continue",
    )


def has_actor(anatomy: Anatomy) -> bool:
    """Says whether an agent has an actor beside its critic; one that only learns Q(s, a) of each action has none."""
    return any(layer.branch == "actor" for layer in anatomy.online)


def _warmup_steps(part: Full | Finetune | Frozen, anatomy: Anatomy) -> int:
    if part.critic_warmup_steps and not has_actor(anatomy):
        raise IncompatibleError(
            f"critic_warmup_steps holds the actor while the critic learns, and an agent of {anatomy.algo} has no actor."
        )
    return part.critic_warmup_steps


def _shuffling(part: Shuffled, anatomy: Anatomy) -> Treatment:
    (inner,) = part.of
    return dataclasses.replace(treatment_of(inner, anatomy), permuted=True)


def _moving(part: Finetune | Frozen, anatomy: Anatomy, *, frozen: bool = False, lr_scale: float = 1.0) -> Treatment:
    return Treatment(
        chosen=_chosen(part, anatomy),
        origin="copied",
        frozen=frozen,
        lr_scale=lr_scale,
        log_std=part.log_std,
        log_ent_coef=part.log_ent_coef,
        copies_statistics=True,
        source_branch=part.source_branch,
        critic_warmup_steps=_warmup_steps(part, anatomy),
    )


def _chosen(part: Finetune | Frozen | RandomFrozen | Rescaled, anatomy: Anatomy) -> frozenset[str]:
    chosen: set[str] = set()
    per_branch: dict[Branch, Any] = {"shared": None, "actor": part.actor, "critic": part.critic}
    for branch, own in per_branch.items():
        choice = part.layers if own is None else own
        if isinstance(choice, tuple):
            refuse_unknown_layers(anatomy, choice)
        chosen |= choose_layers(anatomy, choice, [branch])
    return frozenset(chosen)
