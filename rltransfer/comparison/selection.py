"""Says which arms a sweep picked, and takes their verdict from fresh seeds: a gain that was looked for is flattered."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

from rltransfer.comparison.groups import is_comparable
from rltransfer.comparison.studies import study_folder
from rltransfer.comparison.tables import Arm, Comparison, Selection, TaskComparison
from rltransfer.config import CONFIRM, StudyConfig

Confirmation = Callable[[Path], Comparison | str]
"""Returns the comparison of a confirmation in a folder, or why there is none."""


def with_selection(
    task: TaskComparison, studies: Mapping[Path, StudyConfig], confirmation: Confirmation
) -> TaskComparison:
    """Returns the task with the verdicts of swept arms as they may be claimed.

    An arm of a sweep that its own test calls positive is a candidate. One that ``study confirm`` has run again has the
    verdict of the fresh seeds alone, whatever the sweep's seeds said.
    """
    arms = tuple(_selected(task, arm, studies, confirmation) for arm in task.arms)
    notes = tuple(_note(arm.name, judged(arm)) for arm in arms if is_confirmed(arm))
    return dataclasses.replace(task, arms=arms, notes=(*notes, *task.notes))


def best_candidates(comparison: Comparison) -> dict[str, str]:
    """Returns the name of each task's candidate with the largest gain; tasks without a candidate are left out."""
    best: dict[str, str] = {}
    for task in comparison.tasks:
        gains = {
            arm.runs[0].folder.parent.name: difference.value
            for arm in task.arms
            if is_candidate(arm) and (difference := arm.scores[comparison.metric].difference) is not None
        }
        if gains:
            best[task.settings.task_name] = max(gains, key=lambda name: gains[name])
    return best


def is_candidate(arm: Arm) -> bool:
    """Returns whether a sweep picked the arm and no fresh seeds have confirmed it, or refuted it."""
    return arm.selection is not None and arm.selection.fresh is None


def judged(arm: Arm) -> Arm:
    """Returns an arm on the seeds that its verdict is of: where a sweep picked it and it was confirmed, the fresh ones.

    A difference, a number of seeds or a power stands beside a verdict as that of this arm.
    """
    if arm.selection is None or arm.selection.fresh is None:
        return arm
    return dataclasses.replace(arm.selection.fresh, name=arm.name, control_of=arm.control_of)


def is_confirmed(arm: Arm) -> bool:
    """Returns whether the verdict of an arm is of other seeds than its curve: those of ``study confirm``."""
    return arm.selection is not None and arm.selection.fresh is not None


def _selected(task: TaskComparison, arm: Arm, studies: Mapping[Path, StudyConfig], confirmation: Confirmation) -> Arm:
    folder, name = study_folder(arm.runs[0].folder), arm.runs[0].folder.parent.name
    study = studies.get(folder)
    if study is None or study.confirms or arm.kind != "transfer":
        return arm
    planned = study.planned_arms()
    if name not in planned or not planned[name].is_swept:
        return arm
    among = sum(planned_arm.is_swept and planned_arm.strategy[0].kind != "shuffled" for planned_arm in planned.values())
    fresh = _fresh(task, arm, confirmation(folder / CONFIRM))
    if isinstance(fresh, Arm):
        return dataclasses.replace(
            arm,
            p_value=fresh.p_value,
            p_adjusted=fresh.p_adjusted,
            smallest_p_adjusted=fresh.smallest_p_adjusted,
            verdict=fresh.verdict,
            reason=fresh.reason,
            detectable=fresh.detectable,
            origin=fresh.origin,
            selection=Selection(among, fresh),
        )
    if arm.verdict != "positive":
        return arm
    reason = f"it was picked among {among} arms of a sweep, and {fresh or 'no fresh seeds have confirmed it'}"
    return dataclasses.replace(arm, verdict=None, reason=reason, origin=None, selection=Selection(among, None, fresh))


def _fresh(task: TaskComparison, arm: Arm, confirmation: Comparison | str) -> Arm | str:
    """Returns the same arm in a confirmation, or why it is not there; an empty text where nobody asked for it."""
    if isinstance(confirmation, str):
        return confirmation
    name = arm.runs[0].folder.parent.name
    for other in confirmation.tasks:
        if other.settings.task_name != task.settings.task_name:
            continue
        for fresh in other.arms:
            if fresh.runs[0].folder.parent.name != name:
                continue
            if not is_comparable(other.settings, task.settings):
                return "the confirmation was run with other settings"
            if set(fresh.seeds) & set(arm.seeds):
                return "the seeds of the confirmation are not fresh any more: the study has run some of them since"
            return fresh
    return "another arm was chosen for its fresh seeds"


def _note(name: str, fresh: Arm) -> str:
    seeds = ", ".join(map(str, fresh.seeds))
    return (
        f"`{name}`: verdict, p and origin are of the fresh seeds {seeds} alone, on which `study confirm` ran it again. "
        "The difference, level, seeds and power that stand beside them are of these seeds too. Its curve and its other "
        "metrics are of the sweep's seeds, among which it was picked."
    )
