"""Says on which scale a task is measured: its reference, and the thresholds; never from the results of the arms."""

from collections.abc import Sequence

import numpy as np

from rltransfer.comparison.groups import TaskGroup
from rltransfer.config import StudyTask, Threshold
from rltransfer.metrics import Undefined
from rltransfer.reference_returns import Reference, reference_of


def random_returns(group: TaskGroup) -> tuple[float, ...]:
    """Returns what the random policy scored, once for each seed: all arms of a seed measure the same episodes."""
    found = {run.record.seed: run.record.random for arm in group.arms for run in arm.runs if run.record.random}
    return tuple(found[seed].mean_return for seed in sorted(found))


def reference(group: TaskGroup, study: StudyTask | None) -> Reference | Undefined:
    """Returns the ends of the task's scale: the study's own reference, or else the measured one of the table."""
    measured = random_returns(group)
    if study is not None and study.reference is not None:
        if not measured:
            return Undefined("no run measured the random policy")
        return Reference(float(np.mean(measured)), study.reference, "random: the runs; reference: the study")
    found = reference_of(group.settings.task)
    if found is None:
        return Undefined(
            "this task has no reference return: rltransfer has not measured it, and its study gives no `reference`"
        )
    return found


def thresholds(
    group: TaskGroup, given: Sequence[Threshold], scale: Reference | Undefined
) -> tuple[tuple[float, ...], str]:
    """Returns the thresholds as returns, and where they come from or why there is none.

    Args:
        group: The task's runs, whose records hold what the study or the environment says.
        given: What was asked for in place of that.
        scale: The ends of the task's scale, which shares such as "90%" are shares of.
    """
    wanted, origin = tuple(given), "as given"
    if not wanted:
        said = {_recorded(run.record.thresholds, run.record.reward_threshold) for arm in group.arms for run in arm.runs}
        said.discard(())
        if len(said) > 1:
            listed = ", ".join(sorted(" and ".join(map(_text, some)) for some in said))
            return (), f"none: the runs disagree ({listed})"
        if not said:
            return (), "none: neither the command, the study nor the environment names one"
        wanted, origin = said.pop(), "from the study or the environment"
    levels = {one: _level(one, scale) for one in wanted}
    found = tuple(dict.fromkeys(level for level in levels.values() if level is not None))
    lacking = [str(one) for one, level in levels.items() if level is None]
    if lacking:
        origin += f"; left out, since this task has no reference return: {', '.join(lacking)}"
    shares = {one: level for one, level in levels.items() if isinstance(one, str) and level is not None}
    return found, "; ".join([origin, *(f"{one} of the way to the reference is {shares[one]:g}" for one in shares)])


def _recorded(several: Sequence[Threshold], single: float | None) -> tuple[Threshold, ...]:
    return tuple(several) or (() if single is None else (single,))


def _level(one: Threshold, scale: Reference | Undefined) -> float | None:
    if not isinstance(one, str):
        return float(one)
    if isinstance(scale, Undefined):
        return None
    share = float(one.rstrip("% ")) / 100
    return scale.random + share * (scale.reference - scale.random)


def _text(one: Threshold) -> str:
    return one if isinstance(one, str) else str(float(one))
