"""Applies a plan: the only place where weights and statistics are written into a target agent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.records import MOVED, Check
from rltransfer.transfer.hold import Transfer, hold_plan
from rltransfer.transfer.installation import release_plan
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.running_statistics import recompute_statistics
from rltransfer.transfer.statistics import copy_statistics
from rltransfer.transfer.values import planned_tensors
from rltransfer.transfer.verify import verify_plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def apply_plan(plan: Plan, agent: "BaseAlgorithm") -> Transfer:
    """Writes a plan's weights and statistics into an agent, then holds the plan (see ``hold_plan``).

    Weights are copied in place, after the policy is built: a new ``Parameter`` would be in no optimizer, and weights
    loaded while it is built are re-initialised by PPO and A2C (sb3_facts.md#replaced-parameters, #initialisation).
    Target networks take the online tensors (sb3_facts.md#target-networks). Optimizer moments start fresh. Running
    statistics that a plan recomputes take env_steps in the agent's environments, which count.

    Args:
        plan: From ``plan_transfer`` for this agent.
        agent: The agent that was planned for.

    Returns:
        The transfer, with the callbacks for ``agent.learn`` and the self-checks.

    Raises:
        IncompatibleError: The plan was made for another agent, or was read from a file and has no weights.
        TransferError: The agent does not hold what the plan says of each tensor, worked out a second time.
    """
    _refuse_other_agent(plan, agent)
    tensors = agent_tensors(agent)
    before = {entry.tensor: tensors[entry.tensor].detach().clone() for entry in plan.entries}
    with torch.no_grad():
        for name, values in planned_tensors(plan, before).items():
            tensors[name].copy_(values)
    if plan.encoder is not None:
        copy_statistics(plan, agent)
    _sample_exploration(plan, agent)
    for optimizer in agent_optimizers(agent).values():
        optimizer.state.clear()
    release_plan(agent)
    alive = recompute_statistics(plan, agent)
    arrived = _arrival_check(plan, before, {name: tensor.detach() for name, tensor in tensors.items()})
    transfer = hold_plan(plan, agent, applied=(arrived, *alive), env_steps=plan.statistics_steps, done_steps=0)
    verify_plan(plan, agent, before)
    return transfer


def _sample_exploration(plan: Plan, agent: Any) -> None:
    """Draws the exploration matrix of gSDE anew from a log_std that was written: it is no tensor of the policy."""
    if not getattr(agent, "use_sde", False):
        return
    anatomy = anatomy_of_agent(agent)
    if any(anatomy.is_log_std(entry.tensor) and entry.origin != "initialised" for entry in plan.entries):
        owner = agent.actor if hasattr(agent, "actor") else agent.policy
        owner.reset_noise()


def _refuse_other_agent(plan: Plan, agent: "BaseAlgorithm") -> None:
    shapes = anatomy_of_agent(agent).shapes
    if {entry.tensor: entry.shape for entry in plan.entries} != dict(shapes):
        raise IncompatibleError("The plan was made for another agent: its tensors differ. Call plan_transfer again.")
    reads_source = any(entry.origin in (*MOVED, "rescaled") for entry in plan.entries)
    if reads_source and plan.encoder is None:
        raise IncompatibleError(
            "The plan was read from a file and has no weights: it can be held (hold_plan), not applied."
        )


def _arrival_check(plan: Plan, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> Check:
    """Checks that the moved layers hold other numbers than before; that they are the source's is verified apart."""
    moved = [entry for entry in plan.entries if entry.origin in MOVED]
    layers = {entry.layer for entry in moved}
    changed = {entry.layer for entry in moved if not torch.equal(before[entry.tensor], after[entry.tensor])}
    unchanged = sorted(layers - changed)
    detail = f"{len(moved)} tensors of {len(layers)} layers moved"
    if unchanged:
        detail += f"; equal to their initialisation: {', '.join(unchanged)}"
    return Check(name="moved tensors arrived", passed=not unchanged, detail=detail)
