"""Words the secondary metrics, with the reason wherever a value is undefined, and the races of ``auto``."""

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.records import Trial
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Folded, Paragraph, Table
from rltransfer.report.sections import reasons
from rltransfer.report.wording import estimate
from rltransfer.stats import Estimate


def metric_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns the secondary metrics; a column that is undefined for all arms is left out and explained below."""
    columns: list[tuple[str, reasons.Cell, reasons.Cell]] = [
        (title, _score_cell(name), _score_reason(name))
        for name, title in wording.METRIC_NAMES.items()
        if name != comparison.metric
    ]
    columns += [
        ("transfer ratio", lambda arm: _ratio(arm.transfer_ratio), lambda arm: reasons.of(arm, arm.transfer_ratio)),
        ("forward transfer", lambda arm: _ratio(arm.forward_transfer), _why_no_forward_transfer),
    ]
    kept = [column for column in columns if any(column[1](arm) != wording.NOTHING for arm in task.arms)]
    rows = tuple((f"`{arm.name}`", *(cell(arm) for _, cell, _ in kept)) for arm in task.arms)
    level = f"Levels for `{task.baseline}`, differences to it for the other arms."
    return (
        Table(("arm", *(title for title, _, _ in kept)), rows),
        *([Paragraph(level)] if task.baseline else []),
        *reasons.blocks([line for title, _, why in columns for line in reasons.lines(title, why, task.arms)]),
    )


def race_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns what each run of ``auto`` tried: a row for each strategy, the scores of each seed's trials in order."""
    head = ("seed", "tried", "env_steps", "steps of judging", "mean return when judged", "end")
    text = (
        "The curve is that of the strategy that led, over the steps of all of them; the episodes that they were judged "
        "by count."
    )
    tried = {
        arm.name: tuple(
            _trial(run.seed, trial) for run in arm.runs for trial in (() if run.race is None else run.race.trials)
        )
        for arm in task.arms
    }
    return tuple(
        Folded(f"What {name} tried", 3, (Table(head, rows), Paragraph(f"{text}{_race_share(comparison, task, name)}")))
        for name, rows in tried.items()
        if rows
    )


def _race_share(comparison: Comparison, task: TaskComparison, name: str) -> str:
    """Says how near an arm of ``auto`` comes to the best arm that knew from the beginning; nothing without others."""
    is_race = {arm.name: any(run.race is not None for run in arm.runs) for arm in task.arms}
    levels = {
        arm.name: mean.value
        for arm in task.arms
        if arm.kind != "control" and (mean := arm.scores[comparison.metric].mean) is not None
    }
    others = {arm: level for arm, level in levels.items() if not is_race[arm]}
    if name not in levels or not others or task.random_return is None or comparison.metric == "success_auc":
        return ""
    best = max(others, key=lambda arm: others[arm])
    way = others[best] - task.random_return
    if way <= 0:
        return ""
    shares = {arm: (levels[arm] - task.random_return) / way for arm in (name, task.baseline or best)}
    told = [f"`{arm}` is at {share:.2f}" for arm, share in shares.items() if arm != best]
    return (
        f" On the scale from a random policy (0) to the best arm without a race, `{best}` (1), of "
        f"{wording.metric_name(comparison)}, {' and '.join(told)}."
    )


def _trial(seed: int, trial: Trial) -> tuple[str, ...]:
    return (
        str(seed),
        f"`{trial.label}`",
        f"{trial.env_steps:,}",
        f"{trial.evaluation_steps:,}",
        ", ".join(wording.number(score) for score in trial.scores) or wording.NOTHING,
        f"**{trial.end}**" if trial.end == "went on" else trial.end.partition(":")[0],
    )


def _score_cell(name: str) -> reasons.Cell:
    """Returns the cell of a metric: the level of the baseline, the difference to it for other arms."""

    def cell(arm: Arm) -> str:
        score = arm.scores[name]
        if score.difference is None:
            return estimate(score.mean)
        return estimate(score.difference, sign=True)

    return cell


def _score_reason(name: str) -> reasons.Cell:
    return lambda arm: arm.scores[name].reason


def _why_no_forward_transfer(arm: Arm) -> str:
    return reasons.of(arm, arm.forward_transfer)


def _ratio(value: Estimate | Undefined) -> str:
    return estimate(value, sign=True)
