"""Works out what the tensors of a planned agent hold, from the source's weights and its own; changes nothing."""

import zlib
from collections.abc import Mapping

import numpy as np
import torch

from rltransfer.records import MOVED, PlanEntry
from rltransfer.transfer.plan import Plan

# What the agent's own values of new inputs are multiplied by, where they start small and random.
_SMALL = 0.1


def planned_tensors(plan: Plan, fresh: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns what every tensor of the target agent will hold, from what it holds now; changes nothing."""
    planned = {
        entry.tensor: fresh[entry.tensor]
        if entry.origin in ("initialised", "synced", "recomputed")
        else new_values(entry, plan, fresh[entry.tensor])
        for entry in plan.entries
    }
    return planned | {entry.tensor: planned[entry.twin] for entry in plan.entries if entry.twin is not None}


def anchored(plan: Plan, entry: PlanEntry, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the source's numbers in their places in a target's tensor, and where these places are (1, else 0).

    Both have the shape of ``like``; elsewhere the numbers are zero. Shrinking and perturbing are left out: the numbers
    are what the weights come from.
    """
    zeros = torch.zeros_like(like)
    if entry.origin not in MOVED:
        return zeros, zeros
    moved = _moved(entry, plan, source_of(plan, entry), like)
    return _in_places(entry, moved, zeros), _in_places(entry, torch.ones_like(moved), zeros)


def importance_in_places(
    plan: Plan, entry: PlanEntry, importance: Mapping[str, torch.Tensor], like: torch.Tensor
) -> torch.Tensor:
    """Returns how much each weight of a target's tensor matters, from what the source's do; zero for new ones.

    Of a weight that is ``gain`` times the source's, a step is worth that much less there.
    """
    zeros = torch.zeros_like(like)
    if entry.origin not in MOVED or entry.source_tensor not in importance:
        return zeros
    return _in_places(entry, _moved(entry, plan, importance, like), zeros) / entry.gain**3


def source_of(plan: Plan, entry: PlanEntry) -> Mapping[str, torch.Tensor]:
    """Returns the tensors of an entry's source by name; none where the plan has no encoder."""
    return {} if plan.encoder is None else (plan.encoder, *plan.others)[entry.source_number].tensors


def new_values(entry: PlanEntry, plan: Plan, fresh: torch.Tensor) -> torch.Tensor:
    """Returns what a tensor that is not left as it is will hold, from what it holds now."""
    if entry.origin == "set":
        return torch.full_like(fresh, float(entry.value or 0.0))
    if entry.origin == "rescaled":
        return _at_norm_of(source_of(plan, entry)[entry.source_tensor].to(fresh.device), fresh, _rng(plan, entry))
    moved = _moved(entry, plan, source_of(plan, entry), fresh)
    values = _in_places(entry, moved, fresh)
    if not entry.is_mixed:
        return values
    places = _in_places(entry, torch.ones_like(moved), torch.zeros_like(fresh)).bool()
    return torch.where(places, entry.shrink * values + entry.perturb * fresh, values)


def _rng(plan: Plan, entry: PlanEntry) -> np.random.Generator:
    return np.random.default_rng([plan.seed, zlib.crc32(entry.tensor.encode())])


def _moved(entry: PlanEntry, plan: Plan, source: Mapping[str, torch.Tensor], like: torch.Tensor) -> torch.Tensor:
    """Returns the source's numbers that move, without their places."""
    moved = gathered(entry, source[entry.source_tensor].to(like.device))
    if not entry.permuted:
        return moved
    order = torch.as_tensor(_rng(plan, entry).permutation(moved.numel()), device=moved.device)
    return moved.reshape(-1)[order].reshape(moved.shape)


def _in_places(entry: PlanEntry, moved: torch.Tensor, fresh: torch.Tensor) -> torch.Tensor:
    return moved if entry.origin == "copied" else _placed(entry, moved, fresh)


def gathered(entry: PlanEntry, source: torch.Tensor) -> torch.Tensor:
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
        block.movedim(side, 0)[taken(entry)] = moved.movedim(side, 0)
    if entry.rows is None:
        return block
    values[rows] = block
    return values


def _places(entry: PlanEntry, kind: str) -> list[int]:
    return [place for place, column in enumerate(entry.columns or ()) if column == kind]


def taken(entry: PlanEntry) -> list[int]:
    """Returns the columns of a mapped tensor that hold numbers of the source."""
    return [place for place, column in enumerate(entry.columns or ()) if isinstance(column, int) or column == "mean"]


def _at_norm_of(source: torch.Tensor, fresh: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Returns the fresh values at the source's norm; where they are all zero (biases), a random direction at it."""
    direction = fresh
    if not torch.any(fresh):
        direction = torch.as_tensor(rng.standard_normal(tuple(fresh.shape)), dtype=fresh.dtype, device=fresh.device)
    rescaled: torch.Tensor = direction * (source.norm() / direction.norm())
    return rescaled
