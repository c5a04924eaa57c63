"""Applies a plan: the only place where weights and statistics are written into a target agent."""

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rltransfer.anatomy import agent_tensors, anatomy_of_agent
from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.transfer.hold import Transfer, agent_optimizers, hold_plan
from rltransfer.transfer.plan import MOVED, Plan, PlanEntry
from rltransfer.transfer.statistics import copy_statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


# What the agent's own values of new inputs are multiplied by, where they start small and random.
_SMALL = 0.1


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
    return hold_plan(plan, agent, applied=(arrived,))


def planned_tensors(plan: Plan, fresh: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns what every tensor of the target agent will hold, from what it holds now; changes nothing."""
    planned = {
        entry.tensor: fresh[entry.tensor]
        if entry.origin in ("initialised", "synced")
        else _new_values(entry, plan, fresh[entry.tensor])
        for entry in plan.entries
    }
    return planned | {entry.tensor: planned[entry.twin] for entry in plan.entries if entry.twin is not None}


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


def _new_values(entry: PlanEntry, plan: Plan, fresh: torch.Tensor) -> torch.Tensor:
    if entry.origin == "set":
        return torch.full_like(fresh, float(entry.value or 0.0))
    source = _source(plan.encoder)[entry.source_tensor].to(fresh.device)
    rng = np.random.default_rng([plan.seed, zlib.crc32(entry.tensor.encode())])
    if entry.origin == "rescaled":
        return _at_norm_of(source, fresh, rng)
    moved = _gathered(entry, source)
    if entry.permuted:
        order = torch.as_tensor(rng.permutation(moved.numel()), device=moved.device)
        moved = moved.reshape(-1)[order].reshape(moved.shape)
    if entry.origin == "copied":
        return moved
    return _placed(entry, moved, fresh)


def _gathered(entry: PlanEntry, source: torch.Tensor) -> torch.Tensor:
    """Returns the source's rows and columns that move, in the order of the target's, times the gain."""
    if entry.rows is not None:
        source = source[[row for row in entry.rows if row is not None]]
    if entry.columns is not None:
        side = min(1, source.dim() - 1)
        if "mean" in entry.columns:
            source = source.mean(dim=side, keepdim=True).repeat_interleave(len(entry.columns), dim=side)
        else:
            taken = torch.tensor([column for column in entry.columns if isinstance(column, int)], device=source.device)
            source = source.index_select(side, taken)
    return source if entry.gain == 1.0 else source * entry.gain


def _placed(entry: PlanEntry, moved: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    """Returns a target's tensor in which what moves has its place, and the rest is as planned."""
    rows = [row for row, source in enumerate(entry.rows or ()) if source is not None]
    values = fresh.clone()
    block = fresh[rows].clone() if entry.rows is not None else fresh.clone()
    if entry.columns is None:
        block = moved
    else:
        side = min(1, fresh.dim() - 1)
        block.movedim(side, 0)[_places(entry, "zero")] = 0.0
        block.movedim(side, 0)[_places(entry, "random")] *= _SMALL
        block.movedim(side, 0)[_taken(entry)] = moved.movedim(side, 0)
    if entry.rows is None:
        return block
    values[rows] = block
    return values


def _places(entry: PlanEntry, kind: str) -> list[int]:
    return [place for place, column in enumerate(entry.columns or ()) if column == kind]


def _taken(entry: PlanEntry) -> list[int]:
    return [place for place, column in enumerate(entry.columns or ()) if isinstance(column, int) or column == "mean"]


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
    moved = [entry for entry in plan.entries if entry.origin in MOVED]
    source = _source(plan.encoder)
    wrong = [
        entry.tensor for entry in moved if not _holds_source(entry, source[entry.source_tensor], after[entry.tensor])
    ]
    changed = {entry.layer for entry in moved if not torch.equal(before[entry.tensor], after[entry.tensor])}
    unchanged = sorted({entry.layer for entry in moved} - changed)
    detail = f"{len(moved)} tensors of {len(changed) + len(unchanged)} layers moved"
    if wrong:
        detail += f"; not the source's numbers: {', '.join(wrong)}"
    if unchanged:
        detail += f"; equal to their initialisation: {', '.join(unchanged)}"
    return Check(name="moved tensors arrived", passed=not wrong and not unchanged, detail=detail)


def _holds_source(entry: PlanEntry, source: torch.Tensor, now: torch.Tensor) -> bool:
    expected, now = _gathered(entry, source.cpu()), now.cpu()
    if entry.rows is not None:
        now = now[[row for row, source in enumerate(entry.rows) if source is not None]]
    if entry.columns is not None:
        now = now.index_select(min(1, now.dim() - 1), torch.tensor(_taken(entry)))
    if entry.permuted:
        expected, now = expected.reshape(-1).sort().values, now.reshape(-1).sort().values
    return torch.equal(expected, now)
