"""Checks an agent against its plan, entry by entry, with arithmetic of its own: nothing here is what wrote the weights.

Of each number that a plan speaks of, its place in the source is worked out again, from the words of the plan alone.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rltransfer.anatomy import agent_tensors
from rltransfer.errors import TransferError
from rltransfer.records import PlanEntry
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

# What is multiplied or averaged may differ by rounding; what is copied may not.
_TOLERANCE = 1e-5
_SMALL_START = 0.1
_SHOWN = 6


def verify_plan(plan: Plan, agent: "BaseAlgorithm", before: Mapping[str, torch.Tensor]) -> None:
    """Raises TransferError where an agent does not hold what its plan says.

    Args:
        plan: The plan, which has been applied and is held.
        agent: The agent.
        before: What its tensors held before, by name.
    """
    tensors = agent_tensors(agent)
    now = {name: _array(tensor) for name, tensor in tensors.items()}
    problems = [
        f"{entry.tensor}: {problem}"
        for entry in plan.entries
        for problem in _problems(plan, entry, _array(before[entry.tensor]), now, tensors[entry.tensor])
    ]
    problems += _problems_of_statistics(plan, agent)
    if problems:
        more = f"\n  and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise TransferError(
            "The agent does not hold what its plan says, so that nothing was trained:\n  "
            + "\n  ".join(problems[:_SHOWN])
            + f"{more}\nThis is a defect of rltransfer, or the agent was changed while the plan was applied."
        )


def _array(tensor: torch.Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().cpu().numpy()
    return array


def _problems(
    plan: Plan, entry: PlanEntry, before: np.ndarray, now: Mapping[str, np.ndarray], tensor: torch.Tensor
) -> Iterator[str]:
    values = now[entry.tensor]
    problem = None
    match entry.origin:
        case "initialised":
            problem = None if np.array_equal(values, before, equal_nan=True) else "is not as it was"
        case "set":
            wanted = np.asarray(entry.value or 0.0, values.dtype)
            problem = None if np.all(values == wanted) else f"is not {wanted:g}"
        case "synced":
            same = np.array_equal(values, now[str(entry.twin)], equal_nan=True)
            problem = None if same else f"differs from {entry.twin}"
        case "rescaled":
            problem = _problem_of_norm(entry, _source_of(plan, entry), before, values)
        case "recomputed":
            problem = None if np.isfinite(values).all() else "is not finite"
        case "copied" | "mapped":
            problem = _problem_of_moved(entry, _source_of(plan, entry), before, values)
    if problem:
        yield problem
    if entry.twin is None and (entry.trains or entry.frozen) and tensor.requires_grad != entry.trains:
        yield "is trained, and should be frozen" if tensor.requires_grad else "is frozen, and should be trained"


def _source_of(plan: Plan, entry: PlanEntry) -> np.ndarray:
    encoders = [plan.encoder, *plan.others]
    encoder = encoders[entry.source_number]
    assert encoder is not None
    return _array(encoder.tensors[entry.source_tensor])


def _problem_of_norm(entry: PlanEntry, source: np.ndarray, before: np.ndarray, values: np.ndarray) -> str | None:
    """Returns what is wrong with fresh values at the source's norm; the direction is the agent's own, if it has one."""
    wanted, norm, length = (float(np.linalg.norm(array.astype(np.float64))) for array in (source, values, before))
    if not np.isclose(norm, wanted, rtol=_TOLERANCE):
        return f"has the norm {norm:g}, and the source's {entry.source_tensor} {wanted:g}"
    if length and wanted and not np.allclose(values / norm, before / length, atol=_TOLERANCE):
        return "has another direction than the agent's own values"
    return None


def _problem_of_moved(entry: PlanEntry, source: np.ndarray, before: np.ndarray, values: np.ndarray) -> str | None:
    if entry.rows is None and entry.columns is None and source.shape != values.shape:
        return f"has the shape {list(values.shape)}, and the source's {entry.source_tensor} {list(source.shape)}"
    expected, moved = before.astype(np.float64), np.zeros(before.shape, dtype=bool)
    _fill(entry, source.astype(np.float64), expected, moved)
    if entry.permuted:
        return _problem_of_permuted(entry, expected, moved, before, values)
    if entry.is_mixed:
        expected[moved] = entry.shrink * expected[moved] + entry.perturb * before[moved]
    is_exact = not entry.is_mixed and entry.gain == 1.0 and not {"mean", "random"} & {*(entry.columns or ())}
    tolerance = 0.0 if is_exact else _TOLERANCE * _scale(source, before)
    wrong = ~np.isclose(values, expected, rtol=0.0, atol=tolerance, equal_nan=True)
    return f"{int(wrong.sum()):,} of {wrong.size:,} values are not those of the plan" if wrong.any() else None


def _scale(*arrays: np.ndarray) -> float:
    """Returns the largest number of some arrays, by which their rounding is judged; at least 1."""
    return max(1.0, *(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in arrays))


def _fill(entry: PlanEntry, source: np.ndarray, expected: np.ndarray, moved: np.ndarray) -> None:
    """Writes what a plan says of a tensor into the agent's own values, and where these come from the source."""
    # As [rows, columns, rest], whatever the number of sides; where columns are named of a vector, it is one row.
    is_row = entry.columns is not None and len(entry.shape) == 1
    given, target, is_moved = (_three_sides(array, is_row=is_row) for array in (source, expected, moved))
    rows = range(len(given)) if entry.rows is None else entry.rows
    places = [place for place, row in enumerate(rows) if row is not None]
    taken = [row for row in rows if row is not None]
    for at, column in enumerate(range(given.shape[1]) if entry.columns is None else entry.columns):
        if isinstance(column, int):
            target[places, at] = given[taken, column] * entry.gain
        elif column == "mean":
            target[places, at] = given[taken].mean(axis=1) * entry.gain
        elif column == "zero":
            target[places, at] = 0.0
        elif column == "random":
            target[places, at] *= _SMALL_START
        is_moved[places, at] = isinstance(column, int) or column == "mean"


def _problem_of_permuted(
    entry: PlanEntry, expected: np.ndarray, moved: np.ndarray, before: np.ndarray, values: np.ndarray
) -> str | None:
    """Returns what is wrong where the numbers that move are the source's in another order; the rest stays."""
    numbers, wanted = values[moved].astype(np.float64), expected[moved]
    if entry.is_mixed:
        numbers, wanted = numbers - entry.perturb * before[moved], entry.shrink * wanted
    tolerance = _TOLERANCE * _scale(expected, before)
    same = np.allclose(np.sort(numbers), np.sort(wanted), rtol=0.0, atol=tolerance, equal_nan=True)
    rest = np.allclose(values[~moved], expected[~moved], rtol=0.0, atol=tolerance, equal_nan=True)
    return None if same and rest else "does not hold the source's numbers in another order"


def _three_sides(array: np.ndarray, *, is_row: bool) -> np.ndarray:
    """Returns a view of an array as [rows, columns, rest]; a vector is one row, or one column."""
    if is_row:
        return array.reshape(1, -1, 1)
    rows = array.shape[0] if array.ndim else 1
    columns = array.shape[1] if array.ndim > 1 else 1
    return array.reshape(rows, columns, -1)


def _problems_of_statistics(plan: Plan, agent: "BaseAlgorithm") -> Iterator[str]:
    """Yields where an agent's observation statistics are not those that the plan speaks of."""
    wrapper: Any = agent.get_vec_normalize_env()
    normaliser = plan.encoder.normaliser if plan.encoder else None
    if plan.statistics.observation not in ("copied", "mapped") or wrapper is None or normaliser is None:
        return
    # The bounds are part of what the encoder saw.
    for name in ("clip_obs", "epsilon"):
        stated, held = getattr(normaliser, name), getattr(wrapper, name)
        if held != stated:
            yield f"VecNormalize: {name} is {held:g}, and the source's {stated:g}"
    for key, part in plan.inputs.items():
        running = wrapper.obs_rms.get(key) if isinstance(wrapper.obs_rms, dict) else wrapper.obs_rms
        given = normaliser.observation
        statistics = given.get(str(part.source)) if isinstance(given, dict) else given
        if part.source is None or running is None or statistics is None:
            continue
        for name, fresh in (("mean", 0.0), ("var", 1.0)):
            source, values = (np.ravel(getattr(holder, name)) for holder in (statistics, running))
            for place, value in enumerate(values):
                entries = range(len(source)) if part.entries is None else part.entries
                # Of stacked frames, statistics are those of one.
                taken = {entry if entry is None else entry % len(source) for entry in entries[place :: len(values)]}
                wanted = {fresh if entry is None else source[entry] for entry in taken if entry is not None} or {fresh}
                if value not in wanted:
                    yield f"statistics of the observation {key!r}: the {name} of entry {place} is not that of the plan"
                    break
