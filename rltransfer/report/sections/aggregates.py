"""Words the primary metric without trust in its mean: on one task, and over all tasks that have one scale."""

from rltransfer.comparison import Arm, ArmAcrossTasks, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Bullets, Charts, Heading, Paragraph, Table
from rltransfer.report.sections import reasons
from rltransfer.report.wording import estimate

NORMALISED = "normalised"
_Column = tuple[str, reasons.Cell, reasons.Cell]


def task_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns interquartile mean, median, normalised score, optimality gap and probability of improvement.

    The mean stands in the table of the verdicts.
    """
    columns: list[_Column] = [
        ("IQM", lambda arm: _NO_SCORE if arm.robust is None else estimate(arm.robust.iqm), _no_reason),
        ("IQM, difference", _iqm_difference, _no_reason),
        ("median", lambda arm: _NO_SCORE if arm.robust is None else estimate(arm.robust.median), _no_reason),
        ("normalised", lambda arm: estimate(arm.scores[NORMALISED].mean), lambda arm: arm.scores[NORMALISED].reason),
        ("optimality gap", _gap, _no_reason),
        ("P(better run)", lambda arm: estimate(arm.improvement), _no_reason),
    ]
    kept = [column for column in columns if any(column[1](arm) != wording.NOTHING for arm in task.arms)]
    if not kept:
        return ()
    rows = tuple((f"`{arm.name}`", *(cell(arm) for _, cell, _ in kept)) for arm in task.arms)
    shown = {title for title, _, _ in kept}
    return (
        Heading(f"{wording.metric_name(comparison)} without trust in the mean", 3),
        Table(("arm", *(title for title, _, _ in kept)), rows),
        *([Paragraph(_scale(comparison, task))] if "normalised" in shown else []),
        *reasons.blocks([line for title, _, why in columns for line in reasons.lines(title, why, task.arms)]),
    )


def across_blocks(comparison: Comparison) -> tuple[Block, ...]:
    """Returns the arms over all tasks on normalised scores; why there is none, where there are several tasks."""
    heading = Heading("Across tasks", 2)
    if not comparison.across:
        several = len(comparison.tasks) > 1
        return (heading, Paragraph(f"No average over tasks: {comparison.across_reason}.")) if several else ()
    used = comparison.across[0].tasks
    titles = ", ".join(task.title for task in comparison.tasks if task.name in used)
    text = (
        f"{wording.metric_name(comparison)} from 0 (random policy) to 1 (reference) on {len(used)} tasks ({titles}), "
        "each task with equal weight in mean, median, optimality gap and difference, each run in the IQM (Agarwal et "
        "al., 2021). Intervals are over seeds of these tasks and say nothing about other tasks; there is no verdict "
        "over tasks."
    )
    rows = tuple(_across_row(arm) for arm in comparison.across)
    head = ("arm", "mean", "mean, difference", "IQM", "median", "optimality gap", "P(better run)")
    left_out = [comparison.across_reason] if comparison.across_reason else []
    return (
        heading,
        Paragraph(text),
        Charts(None),
        Table(head, rows),
        *([Bullets(tuple(f"{line[0].upper()}{line[1:]}." for line in left_out))] if left_out else []),
    )


_NO_SCORE = wording.NOTHING


def _across_row(arm: ArmAcrossTasks) -> tuple[str, ...]:
    return (
        f"`{arm.name}`",
        estimate(arm.mean),
        estimate(arm.mean_difference, sign=True),
        estimate(arm.iqm),
        estimate(arm.median),
        estimate(arm.optimality_gap),
        estimate(arm.improvement),
    )


def _iqm_difference(arm: Arm) -> str:
    return _NO_SCORE if arm.robust is None else estimate(arm.robust.iqm_difference, sign=True)


def _gap(arm: Arm) -> str:
    return _NO_SCORE if arm.robust is None else estimate(arm.robust.optimality_gap)


def _scale(comparison: Comparison, task: TaskComparison) -> str:
    lead = "Normalised: from 0 to 1, and the optimality gap is how far runs fall short of 1"
    if comparison.metric == "success_auc" or isinstance(task.reference, Undefined):
        return f"{lead}; a success rate is on that scale already."
    scale = task.reference
    return f"{lead}; 0 is {wording.number(scale.random)}, 1 is {wording.number(scale.reference)} ({scale.origin})."


def _no_reason(_: Arm) -> str:
    return ""
