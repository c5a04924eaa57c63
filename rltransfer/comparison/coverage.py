"""Says how often the intervals of a comparison were measured to hold the truth, with as few runs as it has."""

from collections.abc import Iterable, Sequence

from rltransfer import stats
from rltransfer.comparison.scores import is_paired, sources_of
from rltransfer.comparison.tables import Arm
from rltransfer.metrics import Undefined
from rltransfer.stats import ACCEPTED, Coverage

_CLUSTERED = ", two runs a source"
_SHARED = ", shared sources"
_OF_ONE_ARM = ("mean", "IQM", "median", "optimality gap")
_OF_TWO_ARMS = ("mean difference", "probability of improvement")


def of(arms: Sequence[Arm], metric: str) -> tuple[Coverage, ...]:
    """Returns the measured coverage of each kind of interval that is shown of the primary metric.

    Each is that of the smallest number of runs (or of sources, where these serve several runs each) that such an
    interval rests on; what was not measured says so in its name, and has no shares.
    """
    return _with_fewest(pair for arm in arms for pair in _methods(arm, arms, metric))


def over_tasks(arms: Sequence[Sequence[Arm]], baselines: Sequence[Arm]) -> str:
    """Returns which intervals over tasks hold the truth less often than they say, or were not measured.

    Args:
        arms: For each arm that is shown over tasks, what it is on each task.
        baselines: The baseline of each task.
    """
    coverages = _with_fewest(pair for arm in arms for pair in _methods_over_tasks(arm, baselines))
    weak = sorted(
        (coverage for coverage in coverages if coverage.least < ACCEPTED), key=lambda coverage: coverage.least
    )
    unknown = [coverage.method for coverage in coverages if not coverage.shares]
    parts = []
    if weak:
        listed = ", ".join(f"{coverage.method} {100 * coverage.least:.1f} % with {coverage.runs}" for coverage in weak)
        parts.append(
            "With so few seeds some of these intervals of 95 % hold the truth less often than they say, in simulations "
            f"of three tasks with the distribution of scores that suits them least: {listed}"
        )
    if unknown:
        parts.append(f"How often these hold the truth is not known: {', '.join(unknown)}")
    return ". ".join(parts)


def _with_fewest(pairs: Iterable[tuple[str, int]]) -> tuple[Coverage, ...]:
    fewest: dict[str, int] = {}
    for method, runs in pairs:
        if runs > 1:
            fewest[method] = min(runs, fewest.get(method, runs))
    return tuple(_measured(method, runs) for method, runs in fewest.items())


def _measured(method: str, runs: int) -> Coverage:
    coverage = (
        stats.measured_coverage(method, runs) if method in stats.measured_methods() else Coverage(method, runs, {})
    )
    return coverage if coverage.shares else Coverage(f"{method} (not measured)", runs, {})


def _methods_over_tasks(arm: Sequence[Arm], baselines: Sequence[Arm]) -> list[tuple[str, int]]:
    """Returns the intervals that are shown of an arm over tasks, and the runs (or sources) that each rests on."""
    sources, baseline_sources = ([sources_of(task_arm.runs) for task_arm in some] for some in (arm, baselines))
    units = stats.fewest_units([len(task_arm.runs) for task_arm in arm], sources)
    kind = _CLUSTERED if any(_units(task_arm) < len(task_arm.runs) for task_arm in arm) else ""
    kind = _SHARED if stats.linked(sources) else kind
    methods = [(f"{method} over tasks{kind}", units) for method in _OF_ONE_ARM]
    if all(task_arm.kind == "baseline" for task_arm in arm):
        return methods
    smaller = min(units, stats.fewest_units([len(task_arm.runs) for task_arm in baselines], baseline_sources))
    return methods + [(f"{method} over tasks{kind}", smaller) for method in _OF_TWO_ARMS]


def _methods(arm: Arm, arms: Sequence[Arm], metric: str) -> list[tuple[str, int]]:
    """Returns the intervals that are shown of an arm, by their names in the table, and the runs that each rests on."""
    score, robust = arm.scores[metric], arm.robust
    if score.mean is None:
        return []
    units = _units(arm)
    kind = "" if units == len(arm.runs) else _CLUSTERED
    methods = [("mean", units)]
    if robust is not None:
        methods += [(f"IQM{kind}", units), (f"median{kind}", units)]
        methods += [] if isinstance(robust.optimality_gap, Undefined) else [("optimality gap", units)]
    base = next((candidate for candidate in arms if candidate.kind == "baseline"), None)
    if base is None or score.difference is None:
        return methods
    smaller = min(units, _units(base))
    methods.append((_of_difference(arm, base), smaller))
    methods += [(f"IQM difference{kind}", smaller)] if robust is not None and robust.iqm_difference is not None else []
    methods += [(f"probability of improvement{kind}", smaller)] if arm.improvement is not None else []
    methods += (
        [(f"share of the gain{kind}", smaller)] if arm.origin is not None and arm.origin.share is not None else []
    )
    return methods


def _of_difference(arm: Arm, base: Arm) -> str:
    if is_paired(arm.runs, base.runs):
        return "paired difference"
    return "mean difference" if _units(arm) == len(arm.runs) else f"mean difference{_CLUSTERED}"


def _units(arm: Arm) -> int:
    return stats.units_of(len(arm.runs), sources_of(arm.runs))
