"""What each strategy means for the layers of an agent."""

import dataclasses
from collections.abc import Mapping
from typing import Any, assert_never

from rltransfer.anatomy import Anatomy, Branch, Layer, choose_layers, refuse_unknown_layers
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import (
    EWC,
    L2SP,
    Augment,
    Auto,
    Discriminative,
    Extra,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    JumpStart,
    Kickstart,
    L2Init,
    LoRA,
    Modifier,
    NormaliserOnly,
    Progressive,
    QDagger,
    RandomFrozen,
    ReDo,
    Replay,
    Rescaled,
    Residual,
    Scratch,
    ShrinkPerturb,
    Shuffled,
    Strategy,
    WeightsPart,
    modifiers,
    weights_part,
)
from rltransfer.transfer.layer_counts import refuse_idle_steps, refuse_missing_layers
from rltransfer.transfer.matching.layers import SourceBranch
from rltransfer.transfer.plan import Origin


@dataclasses.dataclass(frozen=True)
class Treatment:
    """What a strategy means for an agent: its ``chosen`` encoder layers, its heads, and what is not weights.

    ``rates`` and ``held_until`` are by encoder layer, and only those of chosen layers count. ``low_rank`` are the
    chosen layers that an update of ``rank`` moves; with ``holds_vectors`` nothing else in them trains. One that
    ``is_silent`` starts with actions of zero. With ``recomputes`` the running statistics of chosen layers are
    recomputed, since they fit the weights no more.
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
    recomputes: bool = False
    log_std: Extra = "reset"
    log_ent_coef: Extra = "reset"
    copies_statistics: bool = False
    source_branch: SourceBranch = "own"
    resets_critic: bool = False
    critic_warmup_steps: int = 0
    continues: bool = False
    is_silent: bool = False

    def moves_head(self, layer: Layer) -> bool:
        """Says whether a head layer moves."""
        return self.heads and layer.role == "head" and not (self.resets_critic and layer.branch == "critic")


def treatment_of(strategy: Strategy, anatomy: Anatomy) -> Treatment:
    """Returns the treatment that a strategy gives to an agent of this anatomy.

    Raises:
        IncompatibleError: The strategy names layers that the agent lacks, more layers than it has, or steps at which
            no layer is released.
    """
    refuse_missing_layers(strategy, anatomy)
    treatment = _of_weights(weights_part(strategy), anatomy)
    for part in modifiers(strategy):
        treatment = _modified(treatment, part, anatomy)
    return treatment


def _modified(treatment: Treatment, part: Modifier, anatomy: Anatomy) -> Treatment:
    changes: dict[str, Any] = {}
    match part:
        case Discriminative():
            changes["rates"] = {
                name: treatment.rates.get(name, 1.0) * part.decay**distance
                for name, distance in _distances(anatomy).items()
            }
        case GradualUnfreeze():
            distances = _distances(anatomy)
            refuse_idle_steps(part, anatomy, treatment.chosen, distances)
            changes["held_until"] = {
                name: part.at[min(distance, len(part.at)) - 1] for name, distance in distances.items()
            }
        case L2SP():
            changes |= {"pull": part.alpha, "decay": part.beta}
        case EWC():
            changes["importance"] = part.strength
        case L2Init():
            changes["return_pull"] = part.alpha
        case ShrinkPerturb():
            changes |= {"shrink": part.shrink, "perturb": part.perturb}
        case LoRA():
            changes |= {
                "low_rank": _of_low_rank(part, treatment, anatomy),
                "rank": part.rank,
                "rank_gain": part.gain,
                "holds_vectors": not part.bias,
            }
        case Residual():
            changes["is_silent"] = True
        case ReDo() | JumpStart() | Kickstart() | QDagger() | Replay() | Augment():
            # What they do to a tensor is not known before training.
            pass
        case _:
            assert_never(part)
    return dataclasses.replace(treatment, **changes)


def _of_low_rank(part: LoRA, treatment: Treatment, anatomy: Anatomy) -> frozenset[str]:
    named = choose_layers(anatomy, part.layers, ["shared", "actor", "critic"])
    if isinstance(part.layers, tuple):
        refuse_unknown_layers(anatomy, part.layers)
        for name in sorted(named - treatment.chosen):
            raise IncompatibleError(
                f"'lora' changes what moves, and {name} starts afresh: it has to be learned at full rank. Leave it out "
                "of the setting layers of 'lora', or move it too."
            )
    return frozenset(named & treatment.chosen)


def _distances(anatomy: Anatomy) -> dict[str, int]:
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


def _of_weights(part: WeightsPart, anatomy: Anatomy) -> Treatment:
    match part:
        case Scratch() | NormaliserOnly():
            treatment = Treatment(copies_statistics=isinstance(part, NormaliserOnly))
        case Full():
            treatment = _moving_everything(part, anatomy)
        case Finetune():
            treatment = _moving(part, anatomy, lr_scale=part.lr_scale)
        case Frozen():
            treatment = _moving(part, anatomy, frozen=True)
        case Progressive():
            treatment = _in_columns(anatomy)
        case RandomFrozen():
            treatment = Treatment(chosen=_chosen(part, anatomy), frozen=True, recomputes=True, copies_statistics=True)
        case Rescaled():
            treatment = Treatment(
                chosen=_chosen(part, anatomy),
                origin="rescaled",
                copies_statistics=True,
                source_branch=part.source_branch,
            )
        case Auto():
            raise IncompatibleError(
                "'auto' trains an agent for each strategy that it tries, and has no plan of its own: plan one of them "
                "(full, finetune, frozen), or train it with rltransfer transfer or in a study."
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


def _in_columns(anatomy: Anatomy) -> Treatment:
    """Returns what happens to the columns of sources: they are filled and held; all else is the agent's own."""
    columns = frozenset(layer.name for layer in anatomy.online if layer.role == "column")
    return Treatment(chosen=columns, origin="copied", frozen=True, copies_statistics=True)


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
    return dataclasses.replace(treatment_of(part.of, anatomy), permuted=True, recomputes=True)


def _moving(part: Finetune | Frozen, anatomy: Anatomy, *, frozen: bool = False, lr_scale: float = 1.0) -> Treatment:
    chosen = _chosen(part, anatomy)
    return Treatment(
        chosen=chosen,
        origin="copied",
        frozen=frozen,
        rates=dict.fromkeys(chosen, lr_scale),
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
