"""Tells what the user of an agent froze from what an earlier plan did, and what is then left to train."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from rltransfer.algorithms import spec_of
from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, agent_tensors, anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.records import PlanEntry
from rltransfer.strategies import acting
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

# On the policy: no part of a zip, gone after a load as requires_grad is, and copied with it in a deep copy.
_BY_PLAN = "_frozen_by_plan"


def frozen_by_plan(agent: "BaseAlgorithm") -> frozenset[str]:
    """Returns the parameters that are frozen now since a plan that is held on the agent asks for it."""
    names: frozenset[str] = agent.policy.__dict__.get(_BY_PLAN, frozenset())
    tensors = agent_tensors(agent)
    return frozenset(name for name in names if name in tensors and not tensors[name].requires_grad)


def frozen_by_user(agent: "BaseAlgorithm", anatomy: Anatomy) -> frozenset[str]:
    """Returns the tensors of the online networks that the user froze, by ``requires_grad`` of their parameters.

    Buffers (running statistics) are among them where all parameters of the module around them are.

    Raises:
        IncompatibleError: SAC's entropy coefficient is frozen, which SB3 cannot train with.
    """
    tensors, by_plan = agent_tensors(agent), frozen_by_plan(agent)
    online = [tensor for layer in anatomy.online for tensor in layer.tensors]
    learned = {name for name in online if name in anatomy.parameters}
    frozen = {name for name in learned if not tensors[name].requires_grad} - by_plan
    if LOG_ENT_COEF in frozen:
        raise IncompatibleError(
            "The entropy coefficient (log_ent_coef) is frozen, and SB3 cannot train without its gradient: build the "
            "agent with ent_coef=VALUE, which fixes it."
        )
    return frozenset(frozen | {name for name in online if name not in learned and _is_inside(name, learned, frozen)})


def note_frozen(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Notes on an agent what its held plan freezes and its user did not.

    Raises:
        IncompatibleError: The user froze what the plan trains, after the plan was made.
    """
    tensors, by_plan = agent_tensors(agent), frozen_by_plan(agent)
    late = [
        entry.tensor
        for entry in plan.entries
        if entry.trains and not tensors[entry.tensor].requires_grad and entry.tensor not in by_plan
    ]
    if late:
        raise IncompatibleError(
            f"{_listed(late)} {'is' if len(late) == 1 else 'are'} frozen (requires_grad False), and the plan trains "
            f"{'it' if len(late) == 1 else 'them'}. Freeze before plan_transfer, and call it again; or unfreeze."
        )
    agent.policy.__dict__[_BY_PLAN] = frozenset(
        entry.tensor for entry in plan.entries if entry.frozen and entry.twin is None and not entry.frozen_by_user
    )


def frozen_names(entries: Iterable[PlanEntry]) -> str:
    """Returns the layers that the user froze, or the tensors of those that are frozen in part."""
    by_layer: dict[str, list[PlanEntry]] = {}
    for entry in entries:
        if entry.twin is None and (entry.trains or entry.frozen):
            by_layer.setdefault(entry.layer, []).append(entry)
    names: list[str] = []
    for layer, layer_entries in by_layer.items():
        frozen = [entry.tensor for entry in layer_entries if entry.frozen_by_user]
        names += [layer] if len(frozen) == len(layer_entries) else frozen
    return ", ".join(names)


def refuse_nothing_to_train(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Raises IncompatibleError if the user froze all that a loss of the algorithm, or a source policy, could change."""
    if not any(entry.frozen_by_user for entry in plan.entries):
        return
    trained = {entry.tensor for entry in plan.entries if entry.trains}
    tensors = agent_tensors(agent)
    for whose, names in _trained_together(plan, agent):
        if not trained & names:
            frozen = _listed(sorted(name for name in names if not tensors[name].requires_grad))
            raise IncompatibleError(
                f"Nothing is left to train in {whose}: {frozen} are frozen (requires_grad False). Unfreeze some."
            )


def _trained_together(plan: Plan, agent: "BaseAlgorithm") -> Iterator[tuple[str, set[str]]]:
    """Yields the tensors of which each loss has to change some, and what they are in words."""
    names = {tensor: name for name, tensor in agent_tensors(agent).items()}
    for name, optimizer in agent_optimizers(agent).items():
        # The loss of an actor goes through the critic, whose gradients SB3 drops.
        if not name.startswith("actor"):
            whose = "the critic" if name.startswith("critic") else "the agent"
            yield whose, {names[parameter] for group in optimizer.param_groups for parameter in group["params"]}
    heads = [entry for entry in plan.entries if entry.twin is None and entry.tensor != LOG_ENT_COEF]
    actor = {entry.tensor for entry in heads if entry.branch in ("actor", "shared")}
    critic = {entry.tensor for entry in heads if entry.branch in ("critic", "shared")}
    if spec_of(plan.algo).uses_natural_gradient:
        yield from (("the actor", actor), ("the critic", critic))
    if any(settings.distils for settings in acting(plan.strategy)):
        has_actor = any(entry.branch == "actor" for entry in heads)
        anatomy = anatomy_of_agent(agent)
        yield "the actor", {name for name in (actor if has_actor else critic) if not anatomy.is_log_std(name)}


def _is_inside(buffer: str, learned: set[str], frozen: set[str]) -> bool:
    """Returns whether the nearest module around a buffer that has parameters is frozen."""
    module = buffer
    while "." in module:
        module = module.rpartition(".")[0]
        inside = {name for name in learned if name.startswith(module + ".")}
        if inside:
            return inside <= frozen
    return False


def _listed(names: list[str], shown: int = 4) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
