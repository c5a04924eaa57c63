"""Says how often the intervals of a task were measured to hold the truth, with as few runs as it has."""

from collections.abc import Sequence

from rltransfer import stats
from rltransfer.comparison.scores import is_paired, sources_of
from rltransfer.comparison.tables import Arm
from rltransfer.metrics import Undefined
from rltransfer.stats import Coverage


def of(arms: Sequence[Arm], metric: str) -> tuple[Coverage, ...]:
    """Returns the measured coverage of each kind of interval that is shown of the primary metric.

    Each is that of the smallest number of runs (or of sources, where these serve several runs each) that such an
    interval rests on.
    """
    fewest: dict[str, int] = {}
    for arm in arms:
        for method, runs in _methods(arm, arms, metric):
            if runs > 1:
                fewest[method] = min(runs, fewest.get(method, runs))
    return tuple(stats.measured_coverage(method, runs) for method, runs in fewest.items())


def _methods(arm: Arm, arms: Sequence[Arm], metric: str) -> list[tuple[str, int]]:
    """Returns the intervals that are shown of an arm, by their names in the table, and the runs that each rests on."""
    score, robust = arm.scores[metric], arm.robust
    if score.mean is None:
        return []
    runs, units = len(arm.runs), _units(arm)
    found = [("mean", units)]
    if robust is not None:
        found += [("IQM", units), ("median", runs)]
        found += [] if isinstance(robust.optimality_gap, Undefined) else [("optimality gap", units)]
    base = next((one for one in arms if one.kind == "baseline"), None)
    if base is None or score.difference is None:
        return found
    smaller = min(units, len(base.runs))
    found.append((_of_difference(arm, base), smaller))
    found += [("IQM difference", smaller)] if robust is not None and robust.iqm_difference is not None else []
    found += [("probability of improvement", min(runs, len(base.runs)))] if arm.improvement is not None else []
    found += [("share of the gain", smaller)] if arm.origin is not None and arm.origin.share is not None else []
    return found


def _of_difference(arm: Arm, base: Arm) -> str:
    if is_paired(arm.runs, base.runs):
        return "paired difference"
    return "mean difference" if _units(arm) == len(arm.runs) else "mean difference, two runs a source"


def _units(arm: Arm) -> int:
    sources = len(set(sources_of(arm.runs) or ()))
    return sources if 1 < sources < len(arm.runs) else len(arm.runs)
