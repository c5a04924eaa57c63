"""Applies a plan: the only place where weights and statistics are written into a target agent."""

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.transfer.hold import Transfer, agent_optimizers, hold_plan
from rltransfer.transfer.plan import Plan, PlanEntry
from rltransfer.transfer.statistics import copy_statistics

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
        for entry in plan.entries:
            if entry.origin not in ("initialised", "synced"):
                tensors[entry.tensor].copy_(_new_values(entry, plan, before[entry.tensor]))
        for entry in plan.entries:
            if entry.twin is not None:
                tensors[entry.tensor].copy_(tensors[entry.twin])
    if plan.encoder is not None:
        copy_statistics(plan.statistics, plan.encoder.normaliser, agent)
    for optimizer in agent_optimizers(agent).values():
        optimizer.state.clear()
    arrived = _arrival_check(plan, before, {name: tensor.detach() for name, tensor in tensors.items()})
    return hold_plan(plan, agent, applied=(arrived,))


def _refuse_other_agent(plan: Plan, agent: "BaseAlgorithm") -> None:
    shapes = anatomy_of_agent(agent).shapes
    if {entry.tensor: entry.shape for entry in plan.entries} != dict(shapes):
        raise IncompatibleError("The plan was made for another agent: its tensors differ. Call plan_transfer again.")
    reads_source = any(entry.origin in ("copied", "sliced", "rescaled") for entry in plan.entries)
    if reads_source and plan.encoder is None:
        raise IncompatibleError(
            "The plan was read from a file and has no weights: it can be held (hold_plan), not applied."
        )


def _new_values(entry: PlanEntry, plan: Plan, fresh: torch.Tensor) -> torch.Tensor:
    if entry.origin == "set":
        return torch.full_like(fresh, float(entry.value or 0.0))
    source = _source(plan.encoder)[entry.tensor].to(fresh.device)
    rng = np.random.default_rng([plan.seed, zlib.crc32(entry.tensor.encode())])
    if entry.origin == "rescaled":
        return _at_norm_of(source, fresh, rng)
    moved = source if entry.columns is None else source[:, : entry.columns]
    if entry.permuted:
        order = torch.as_tensor(rng.permutation(moved.numel()), device=moved.device)
        moved = moved.reshape(-1)[order].reshape(moved.shape)
    if entry.columns is None:
        return moved
    values = fresh.clone()
    values[:, : entry.columns] = moved
    return values


def _source(encoder: Encoder | None) -> Mapping[str, torch.Tensor]:
    return {} if encoder is None else encoder.tensors


def _at_norm_of(source: torch.Tensor, fresh: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns the fresh values at the source's norm; where they are all zero (biases), a random direction at it."""
    direction = fresh
    if not torch.any(fresh):
        direction = torch.as_tensor(rng.standard_normal(tuple(fresh.shape)), dtype=fresh.dtype, device=fresh.device)
    rescaled: torch.Tensor = direction * (source.norm() / direction.norm())
    return rescaled


def _arrival_check(plan: Plan, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]) -> Check:
    """Checks that the moved layers hold the source's numbers, and other ones than before (the copy did happen)."""
    moved = [entry for entry in plan.entries if entry.origin in ("copied", "sliced")]
    source = _source(plan.encoder)
    wrong = [entry.tensor for entry in moved if not _holds_source(entry, source[entry.tensor], after[entry.tensor])]
    changed = {entry.layer for entry in moved if not torch.equal(before[entry.tensor], after[entry.tensor])}
    unchanged = sorted({entry.layer for entry in moved} - changed)
    detail = f"{len(moved)} tensors of {len(changed) + len(unchanged)} layers moved"
    if wrong:
        detail += f"; not the source's numbers: {', '.join(wrong)}"
    if unchanged:
        detail += f"; equal to their initialisation: {', '.join(unchanged)}"
    return Check(name="moved tensors arrived", passed=not wrong and not unchanged, detail=detail)


def _holds_source(entry: PlanEntry, source: torch.Tensor, now: torch.Tensor) -> bool:
    source, now = source.cpu(), now.cpu()
    if entry.columns is not None:
        source, now = source[:, : entry.columns], now[:, : entry.columns]
    if entry.permuted:
        source, now = source.reshape(-1).sort().values, now.reshape(-1).sort().values
    return torch.equal(source, now)
