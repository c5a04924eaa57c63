"""What a strategy means for the layers of an agent, before any source is looked at."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from rltransfer.anatomy import Anatomy, Branch, Layer, choose_layers, refuse_unknown_layers
from rltransfer.errors import IncompatibleError
from rltransfer.records import Origin
from rltransfer.strategies import Extra, Finetune, Frozen, LayerSettings, SourceBranch, WarmUpSettings


@dataclasses.dataclass(frozen=True)
class LayerRules:
    """What a strategy means for an agent: its ``chosen`` encoder layers, its heads, and what is not weights.

    Attributes:
        chosen: The encoder layers that the strategy is about.
        origin: Where their values come from.
        frozen: Whether they are held bit-identical.
        rates: The factor on the learning rate, by encoder layer; only those of chosen layers count.
        held_until: Likewise the env_steps before which no update changes them.
        pull: The strength of the pull of moved weights towards the source's.
        decay: That of the pull of other weights towards zero.
        importance: That of the pull of moved weights towards the source's, times each weight's Fisher information.
        return_pull: That of the pull of every weight towards its initial value.
        shrink: What the source's weights are multiplied by, before ``perturb`` times the agent's own are added.
        perturb: See ``shrink``.
        low_rank: The chosen layers that an update of ``rank`` moves.
        rank: The rank of the updates.
        rank_gain: What the product of an update's factors is multiplied by.
        holds_vectors: Whether nothing but the updates trains in these layers.
        heads: Whether heads move too.
        permuted: Whether the entries of what moves are permuted.
        seed: Of the permutation; None for the agent's.
        recomputes: Whether the running statistics of chosen layers are recomputed, as they no longer fit the weights.
        log_std: Whether exploration's ``log_std`` moves, or the value it is set to.
        log_ent_coef: Likewise of the entropy coefficient.
        copies_statistics: Whether VecNormalize's statistics move.
        source_branch: The source's branch that hidden layers come from.
        resets_critic: Whether the critic starts afresh where heads move.
        critic_warmup_steps: The env_steps during which the actor is held.
        continues: Whether an off-policy agent acts by its policy from the first step on.
        is_silent: Whether the agent starts with actions of zero.
    """

    chosen: frozenset[str] = frozenset()
    origin: Origin = "initialised"
    frozen: bool = False
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    held_until: Mapping[str, int] = dataclasses.field(default_factory=dict)
    pull: float = 0.0
    decay: float = 0.0
    importance: float = 0.0
    return_pull: float = 0.0
    shrink: float = 1.0
    perturb: float = 0.0
    low_rank: frozenset[str] = frozenset()
    rank: int = 0
    rank_gain: float = 1.0
    holds_vectors: bool = False
    heads: bool = False
    permuted: bool = False
    seed: int | None = None
    recomputes: bool = False
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"
    copies_statistics: bool = False
    source_branch: SourceBranch = "own"
    resets_critic: bool = False
    critic_warmup_steps: int = 0
    continues: bool = False
    is_silent: bool = False

    def with_(self, **changes: Any) -> "LayerRules":
        """Returns these rules with changes."""
        return dataclasses.replace(self, **changes)

    def moves_head(self, layer: Layer) -> bool:
        """Returns whether a head layer moves."""
        return self.heads and layer.role == "head" and not (self.resets_critic and layer.branch == "critic")


def chosen_layers(settings: LayerSettings, anatomy: Anatomy) -> frozenset[str]:
    """Returns the encoder layers that the settings of a method choose.

    Raises:
        IncompatibleError: They name a layer that the agent lacks.
    """
    chosen: set[str] = set()
    choices: dict[Branch, Any] = {"shared": None, "actor": settings.actor, "critic": settings.critic}
    for branch, stated in choices.items():
        choice = settings.layers if stated is None else stated
        if isinstance(choice, tuple):
            refuse_unknown_layers(anatomy, choice)
        chosen |= choose_layers(anatomy, choice, [branch])
    return frozenset(chosen)


def has_actor(anatomy: Anatomy) -> bool:
    """Returns whether an agent has an actor beside its critic; one that only learns Q(s, a) of each action has none."""
    return any(layer.branch == "actor" for layer in anatomy.online)


def warmup_steps(settings: WarmUpSettings, anatomy: Anatomy) -> int:
    """Returns the env_steps during which the actor waits for its critic.

    Raises:
        IncompatibleError: The agent has no actor.
    """
    if settings.critic_warmup_steps and not has_actor(anatomy):
        raise IncompatibleError(
            f"critic_warmup_steps holds the actor while the critic learns, and an agent of {anatomy.algo} has no actor."
        )
    return settings.critic_warmup_steps


def head_distances(anatomy: Anatomy) -> dict[str, int]:
    """Returns how far each encoder layer is from the heads above it: 1 for the last one.

    A layer that actor and critic share counts the longer way.
    """
    encoders = anatomy.encoders()
    deepest = {
        branch: max(
            (layer.depth for layer in encoders if branch == "shared" or layer.branch in (branch, "shared")), default=0
        )
        for branch in ("actor", "critic", "shared")
    }
    return {layer.name: deepest[layer.branch] + 1 - layer.depth for layer in encoders}


def moved_encoder(rules: LayerRules, settings: Finetune | Frozen, anatomy: Anatomy) -> LayerRules:
    """Returns rules by which the chosen encoder layers move, and exploration's numbers as the settings say."""
    return rules.with_(
        chosen=chosen_layers(settings, anatomy),
        origin="copied",
        log_std=settings.log_std,
        log_ent_coef=settings.log_ent_coef,
        copies_statistics=True,
        source_branch=settings.source_branch,
        critic_warmup_steps=warmup_steps(settings, anatomy),
    )
