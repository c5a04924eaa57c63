"""Words what each arm costs: time to thresholds, steps with those of the source, seconds and updates."""

from rltransfer.comparison import Arm, Comparison, Effort, StepsAccount, TaskComparison, ThresholdTime
from rltransfer.metrics import Undefined
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Paragraph, Table
from rltransfer.report.sections import reasons
from rltransfer.report.wording import estimate, steps


def threshold_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns when each arm reached each threshold."""
    if not task.thresholds:
        return (Paragraph(f"Threshold: {task.threshold_from}."),)
    rows = [
        (f"`{arm.name}`", f"{time.level:g}", *_time_cells(arm, time))
        for index in range(len(task.thresholds))
        for arm in task.arms
        for time in arm.times[index : index + 1]
    ]
    listed = ", ".join(f"{level:g}" for level in task.thresholds)
    plural = "s" if len(task.thresholds) > 1 else ""
    text = (
        f"Threshold{plural}: {listed}, {task.threshold_from}. Steps to it are target steps, cut at the budget for "
        "seeds that never reached it, and averaged with these (restricted mean)."
    )
    return Table(("arm", "threshold", "reached", "steps to it", "steps saved"), tuple(rows)), Paragraph(text)


def steps_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns target and source steps of each arm, when its source has paid off, and scratch with as many steps."""
    head = ("arm", "target steps", "source steps", "source + target", "break-even targets")
    rows = tuple(
        (
            f"`{arm.name}`",
            steps(arm.steps.target_steps),
            "unknown" if arm.steps.source_steps is None else steps(arm.steps.source_steps),
            steps(arm.steps.total_steps),
            _break_even(arm.steps),
        )
        for arm in task.arms
    )
    saved = f"saves to {task.threshold:g}" if task.threshold is not None else "saves to a threshold"
    text = (
        "Steps per seed. Break-even: how many targets must be trained until the source has paid off, from the target "
        f"steps that the arm {saved}; in brackets its 95 % interval."
    )
    return (
        Table(head, rows),
        Paragraph(text),
        *_total_blocks(comparison, task),
        *reasons.blocks(
            [
                *reasons.lines("break-even targets", _why_no_break_even, task.arms),
                *reasons.lines("total accounting", _why_no_total, task.arms),
            ]
        ),
    )


def retention_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns what the last agents still score in the source task; or why no arm was evaluated there."""
    retentions = [(arm, arm.retention) for arm in task.arms if not isinstance(arm.retention, Undefined)]
    missing = reasons.blocks(reasons.lines("retention", lambda arm: reasons.of(arm, arm.retention), task.arms))
    if not retentions:
        return missing
    rows = tuple(
        (f"`{arm.name}`", estimate(retention.mean), estimate(retention.change, sign=True))
        for arm, retention in retentions
    )
    text = (
        "Mean return of the last agent in the *source* task after the target training, and its change from what the "
        "source agent scored there: what is lacking was forgotten."
    )
    return (
        Table(("arm", "return in the source task", "change from the source agent"), rows),
        Paragraph(text),
        *missing,
    )


def effort_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns wall time, environment steps and updates of a run of each arm."""
    rows = tuple((f"`{arm.name}`", *_effort_cells(arm.effort)) for arm in task.arms)
    text = "Per run of the target, on average. Updates as SB3 counts them; seconds depend on the machine and its load."
    return Table(("arm", "wall time", "of it evaluation", "environment steps", "updates"), rows), Paragraph(text)


def _total_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns each arm against scratch that was trained for as many steps as source and target together."""
    totals = [(arm, arm.total) for arm in task.arms if not isinstance(arm.total, Undefined)]
    if not totals:
        return ()
    rows = tuple(
        (
            f"`{arm.name}`",
            steps(total.total_steps),
            estimate(total.arm),
            estimate(total.scratch_long),
            estimate(total.difference, sign=True),
        )
        for arm, total in totals
    )
    name = wording.metric_name(comparison)
    text = (
        f"Total accounting: {name} of the arm against that of `scratch_long`"
        + ("" if comparison.metric == "final" else " over the same total steps, when it was trained for as long")
        + f" ({len(task.scratch_long)} seeds with a budget of {steps(task.scratch_long_steps)} steps). The difference "
        "is no part of the verdict."
    )
    head = ("arm", "total steps", f"{name} of the arm", f"{name} of scratch_long", "difference")
    return Table(head, rows), Paragraph(text)


def _effort_cells(effort: Effort) -> tuple[str, ...]:
    updates = wording.NOTHING if effort.n_updates is None else steps(effort.n_updates)
    seconds = wording.duration(effort.wall_seconds) if effort.wall_seconds else wording.NOTHING
    share = wording.NOTHING
    if effort.wall_seconds and effort.evaluation_seconds is not None:
        share = f"{effort.evaluation_seconds / effort.wall_seconds:.0%}"
    return seconds, share, steps(effort.env_steps), updates


def _time_cells(arm: Arm, threshold: ThresholdTime) -> tuple[str, ...]:
    saved = wording.NOTHING if arm.kind == "baseline" else steps(threshold.steps_saved, sign=True)
    reached = f"{threshold.time.reached} of {threshold.time.runs}"
    return reached, steps(threshold.time.restricted_mean) if threshold.time.reached else "not reached", saved


def _break_even(account: StepsAccount) -> str:
    targets = account.break_even_targets
    if isinstance(targets, Undefined):
        return wording.NOTHING
    text = f"at most {targets:,}" if account.at_most else f"{targets:,}"
    if account.break_even_range is None:
        return text
    low, high = account.break_even_range
    return f"{text} [{low:,}, {'∞' if high is None else f'{high:,}'}]"


def _why_no_break_even(arm: Arm) -> str:
    return reasons.of(arm, arm.steps.break_even_targets) if arm.steps.source_steps != 0 else ""


def _why_no_total(arm: Arm) -> str:
    return reasons.of(arm, arm.total) if arm.steps.source_steps != 0 else ""
