"""Says on which scale a task is measured: its reference, and the thresholds; never from the results of the arms."""

from collections.abc import Sequence

import numpy as np

from rltransfer.comparison.groups import TaskGroup
from rltransfer.config import StudyTask, Threshold
from rltransfer.metrics import Undefined
from rltransfer.reference_returns import Reference, reference_of


def random_returns(group: TaskGroup) -> tuple[float, ...]:
    """Returns what the random policy scored, once for each seed: all arms of a seed measure the same episodes."""
    by_seed = {run.record.seed: run.record.random for arm in group.arms for run in arm.runs if run.record.random}
    return tuple(by_seed[seed].mean_return for seed in sorted(by_seed))


def reference(group: TaskGroup, study: StudyTask | None) -> Reference | Undefined:
    """Returns the ends of the task's scale: the study's own reference, or else the measured one of the table."""
    measured = random_returns(group)
    if study is not None and study.reference is not None:
        if not measured:
            return Undefined("no run measured the random policy")
        return Reference(float(np.mean(measured)), study.reference, "random: the runs; reference: the study")
    known_reference = reference_of(group.settings.task)
    if known_reference is None:
        return Undefined(
            "this task has no reference return: rltransfer has not measured it, and its study gives no `reference`"
        )
    return known_reference


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
    levels = {threshold: _level(threshold, scale) for threshold in wanted}
    distinct = tuple(dict.fromkeys(level for level in levels.values() if level is not None))
    lacking = [str(threshold) for threshold, level in levels.items() if level is None]
    if lacking:
        origin += f"; left out, since this task has no reference return: {', '.join(lacking)}"
    shares = {
        threshold: level for threshold, level in levels.items() if isinstance(threshold, str) and level is not None
    }
    return distinct, "; ".join(
        [origin, *(f"{threshold} of the way to the reference is {shares[threshold]:g}" for threshold in shares)]
    )


def _recorded(several: Sequence[Threshold], single: float | None) -> tuple[Threshold, ...]:
    return tuple(several) or (() if single is None else (single,))


def _level(threshold: Threshold, scale: Reference | Undefined) -> float | None:
    if not isinstance(threshold, str):
        return float(threshold)
    if isinstance(scale, Undefined):
        return None
    share = float(threshold.rstrip("% ")) / 100
    return scale.random + share * (scale.reference - scale.random)


def _text(threshold: Threshold) -> str:
    return threshold if isinstance(threshold, str) else str(float(threshold))
