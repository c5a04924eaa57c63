"""Applies a plan: the only place where weights and statistics are written into a target agent."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.transfer.gradient.steps import agent_optimizers
from rltransfer.transfer.hold import Transfer, hold_plan
from rltransfer.transfer.plan import MOVED, Plan, PlanEntry
from rltransfer.transfer.statistics import copy_statistics
from rltransfer.transfer.values import gathered, new_values, planned_tensors, source_of, taken

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def apply_plan(plan: Plan, agent: "BaseAlgorithm") -> Transfer:
    """Writes a plan's weights and statistics into an agent, then holds the plan (see ``hold_plan``).

    Weights are copied in place, after the policy is built: a new ``Parameter`` would be in no optimizer, and weights
    loaded while it is built are re-initialised by PPO and A2C (FACTS A1, A5). Target networks take the online tensors
    (A7). Optimizer moments start fresh.

    Args:
        plan: From ``plan_transfer`` for this agent.
        agent: The agent that was planned for.

    Returns:
        The transfer, with the callbacks for ``agent.learn`` and the self-checks.

    Raises:
        IncompatibleError: The plan was made for another agent, or was read from a file and has no weights.
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
    arrived = _arrival_check(plan, before, {name: tensor.detach() for name, tensor in tensors.items()})
    return hold_plan(plan, agent, applied=(arrived,), done_steps=0)


def _sample_exploration(plan: Plan, agent: Any) -> None:
    """Draws the exploration matrix of gSDE anew from a log_std that was written: it is no tensor of the policy."""
    if getattr(agent, "use_sde", False) and any(
        entry.layer.endswith("log_std") and entry.origin != "initialised" for entry in plan.entries
    ):
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
    """Checks that the moved layers hold the source's numbers, and other ones than before (the copy did happen)."""
    moved = [entry for entry in plan.entries if entry.origin in MOVED]
    wrong = [entry.tensor for entry in moved if not _arrived(entry, plan, before[entry.tensor], after[entry.tensor])]
    changed = {entry.layer for entry in moved if not torch.equal(before[entry.tensor], after[entry.tensor])}
    unchanged = sorted({entry.layer for entry in moved} - changed)
    detail = f"{len(moved)} tensors of {len(changed) + len(unchanged)} layers moved"
    if wrong:
        detail += f"; not the source's numbers: {', '.join(wrong)}"
    if unchanged:
        detail += f"; equal to their initialisation: {', '.join(unchanged)}"
    return Check(name="moved tensors arrived", passed=not wrong and not unchanged, detail=detail)


def _arrived(entry: PlanEntry, plan: Plan, fresh: torch.Tensor, now: torch.Tensor) -> bool:
    if entry.is_mixed:
        return torch.equal(now, new_values(entry, plan, fresh))
    return _holds_source(entry, source_of(plan, entry)[entry.source_tensor], now)


def _holds_source(entry: PlanEntry, source: torch.Tensor, now: torch.Tensor) -> bool:
    expected, now = gathered(entry, source.cpu()), now.cpu()
    if entry.rows is not None:
        now = now[[row for row, source in enumerate(entry.rows) if source is not None]]
    if entry.columns is not None:
        now = now.index_select(min(1, now.dim() - 1), torch.tensor(taken(entry)))
    if entry.permuted:
        expected, now = expected.reshape(-1).sort().values, now.reshape(-1).sort().values
    return torch.equal(expected, now)
