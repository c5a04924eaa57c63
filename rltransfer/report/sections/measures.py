"""Words the secondary metrics and the account of steps, with the reason wherever a value is undefined."""

from collections.abc import Callable, Sequence

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.records import Trial
from rltransfer.report import words
from rltransfer.report.blocks import Block, Bullets, Folded, Paragraph, Table
from rltransfer.report.words import estimate, steps
from rltransfer.stats import Estimate

_Cell = Callable[[Arm], str]


def metric_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns the secondary metrics; a column that is undefined for all arms is left out and explained below."""
    columns: list[tuple[str, _Cell, _Cell]] = [
        (title, _score_cell(name), _score_reason(name))
        for name, title in words.METRIC_NAMES.items()
        if name != comparison.metric
    ]
    columns += [
        ("P(better run)", _improvement, lambda _: ""),
        ("transfer ratio", lambda arm: _ratio(arm.transfer_ratio), lambda arm: _reason(arm, arm.transfer_ratio)),
        ("forward transfer", lambda arm: _ratio(arm.forward_transfer), lambda arm: _reason(arm, arm.forward_transfer)),
    ]
    kept = [column for column in columns if any(column[1](arm) != words.NOTHING for arm in task.arms)]
    rows = tuple((f"`{arm.name}`", *(cell(arm) for _, cell, _ in kept)) for arm in task.arms)
    level = f"Levels for `{task.baseline}`, differences to it for the other arms."
    return (
        Table(("arm", *(title for title, _, _ in kept)), rows),
        *([Paragraph(level)] if task.baseline else []),
        *_undefined([line for title, _, why in columns for line in _reasons(title, why, task.arms)]),
    )


def steps_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns what each arm costs in steps, and when it reached the threshold."""
    head = ["arm", "target steps", "source steps", "source + target", "break-even targets"]
    rows = [
        [
            f"`{arm.name}`",
            steps(arm.steps.target_steps),
            "unknown" if arm.steps.source_steps is None else steps(arm.steps.source_steps),
            steps(arm.steps.total_steps),
            _break_even(arm),
        ]
        for arm in task.arms
    ]
    text = f"Threshold: {task.threshold_from}. "
    if task.threshold is not None:
        head[1:1] = [f"reached {task.threshold:g}", "steps to it", "steps saved"]
        for row, arm in zip(rows, task.arms, strict=True):
            row[1:1] = _time_cells(arm)
        text = (
            f"Threshold: {task.threshold:g}, {task.threshold_from}. Steps to it are cut at the budget for seeds that "
            "never reached it, and averaged with these. "
        )
    text += "All steps are per seed. Break-even: how many targets must be trained until the source has paid off."
    return (
        Table(tuple(head), tuple(map(tuple, rows))),
        Paragraph(text),
        *_undefined(_reasons("break-even targets", _why_no_break_even, task.arms)),
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
        f"{words.metric_name(comparison)}, {' and '.join(told)}."
    )


def _trial(seed: int, trial: Trial) -> tuple[str, ...]:
    return (
        str(seed),
        f"`{trial.label}`",
        f"{trial.env_steps:,}",
        f"{trial.evaluation_steps:,}",
        ", ".join(words.number(score) for score in trial.scores) or words.NOTHING,
        f"**{trial.end}**" if trial.end == "went on" else trial.end.partition(":")[0],
    )


def _undefined(lines: Sequence[str]) -> tuple[Block, ...]:
    return (Paragraph("Undefined:"), Bullets(tuple(lines))) if lines else ()


def _score_cell(name: str) -> _Cell:
    """Returns the cell of a metric: the level of the baseline, the difference to it for other arms."""

    def cell(arm: Arm) -> str:
        score = arm.scores[name]
        if score.difference is None:
            return estimate(score.mean)
        return estimate(score.difference, sign=True)

    return cell


def _score_reason(name: str) -> _Cell:
    return lambda arm: arm.scores[name].reason


def _improvement(arm: Arm) -> str:
    return estimate(arm.improvement)


def _ratio(value: Estimate | Undefined) -> str:
    return estimate(value, sign=True)


def _reason(arm: Arm, value: object) -> str:
    return value.reason if isinstance(value, Undefined) and arm.kind != "baseline" else ""


def _reasons(title: str, why: _Cell, arms: Sequence[Arm]) -> list[str]:
    """Returns one line per reason why a metric is undefined, with the arms that it holds for."""
    by_reason: dict[str, list[Arm]] = {}
    for arm in arms:
        if why(arm):
            by_reason.setdefault(why(arm), []).append(arm)
    concerned = len([arm for arm in arms if arm.kind != "baseline"])
    return [
        f"{title}{_names(members) if len(members) < concerned else ''}: {reason}."
        for reason, members in by_reason.items()
    ]


def _names(arms: Sequence[Arm]) -> str:
    return f" of {', '.join(f'`{arm.name}`' for arm in arms)}"


def _time_cells(arm: Arm) -> list[str]:
    if arm.time is None:
        return [words.NOTHING] * 3
    saved = words.NOTHING if arm.kind == "baseline" else steps(arm.steps_saved, sign=True)
    reached = f"{arm.time.reached} of {arm.time.runs}"
    return [reached, steps(arm.time.restricted_mean) if arm.time.reached else "not reached", saved]


def _break_even(arm: Arm) -> str:
    targets = arm.steps.break_even_targets
    if isinstance(targets, Undefined):
        return words.NOTHING
    return f"at most {targets:,}" if arm.steps.at_most else f"{targets:,}"


def _why_no_break_even(arm: Arm) -> str:
    return _reason(arm, arm.steps.break_even_targets) if arm.steps.source_steps != 0 else ""
