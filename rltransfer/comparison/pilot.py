"""Reads the spread over seeds from runs that were made before, for planning a study."""

import dataclasses
from pathlib import Path

from rltransfer.comparison.groups import find, group
from rltransfer.comparison.scores import PRIMARY_METRICS, Measuring, grid, score_run, values
from rltransfer.errors import RunError, unknown
from rltransfer.metrics import Undefined
from rltransfer.stats import Spread, pooled_spread


@dataclasses.dataclass(frozen=True)
class PilotSpread:
    """The spread of the primary metric over the seeds of one task, around the mean of each arm."""

    title: str
    spread: Spread


def pilot_spreads(root: Path, *, metric: str) -> tuple[PilotSpread, ...]:
    """Returns the spread over seeds of each task below a folder. Effects are not looked at.

    Raises:
        RunError: There is no finished run, or no arm with two seeds.
        UnknownNameError: The metric does not exist.
    """
    if metric not in PRIMARY_METRICS:
        raise unknown("metric", metric, PRIMARY_METRICS)
    spreads = []
    for task in group(find([root]).finished):
        runs = [run for arm in task.arms for run in arm.runs]
        budget = task.settings.n_timesteps
        measuring = Measuring(metric, budget, (), Undefined(""), grid(runs, budget))
        arms = [values([score_run(run, measuring) for run in arm.runs], metric) for arm in task.arms]
        spread = pooled_spread([scores for scores in arms if not isinstance(scores, Undefined)])
        if spread is not None:
            spreads.append(PilotSpread(task.title, spread))
    if not spreads:
        raise RunError(f"No arm below {root} has two finished seeds with the metric {metric}: they show no spread.")
    return tuple(spreads)
