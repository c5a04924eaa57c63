"""Writes a comparison as Markdown, the verdict first."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rltransfer.comparison import Arm, Comparison, TaskComparison
from rltransfer.metrics import Undefined
from rltransfer.report import words
from rltransfer.report.words import estimate, p_value, percent, steps
from rltransfer.stats import ALPHA

FIGURES = "figures"


def render(comparison: Comparison) -> str:
    """Returns the whole report; figures are linked at ``figures/<task>.png``."""
    parts = [
        "# Does transfer help?",
        _failed_checks(comparison),
        _introduction(comparison),
        *[_task(comparison, task) for task in comparison.tasks],
        _left_out(comparison),
        _how_to_read(comparison),
        _reproduce(comparison),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _introduction(comparison: Comparison) -> str:
    metric = comparison.metric
    return (
        f"Primary metric: **{words.metric_name(comparison)}**, the {words.METRIC_MEANING[metric]}, as a difference to "
        f"`{comparison.baseline}`. A verdict is a two-sided permutation test over seeds, corrected by Holm for the "
        f"number of arms, at {ALPHA:g}."
    )


def _failed_checks(comparison: Comparison) -> str:
    lines = [
        f"> - `{_below(comparison, check.folder)}` (`{check.arm}`, seed {check.seed}): {check.check}: {check.detail}"
        for task in comparison.tasks
        for check in task.failed_checks
    ]
    if not lines:
        return ""
    head = "> **Failed self-checks.** These runs are not what they claim to be; their arms get no verdict.\n>\n"
    return head + "\n".join(lines)


def _task(comparison: Comparison, task: TaskComparison) -> str:
    transfers = [arm for arm in task.arms if arm.kind == "transfer"]
    controls = [arm for arm in task.arms if arm.kind == "control"]
    parts = [
        f"## {task.title}",
        _bullets(words.sentence(comparison, task, arm) for arm in transfers),
        ("Controls:\n\n" + _bullets(words.sentence(comparison, task, arm) for arm in controls)) if controls else "",
        _verdict_table(comparison, task),
        f"![Learning curves and scores per seed]({FIGURES}/{task.name}.png)",
        _notes(task),
        "### Other metrics\n\n" + _metric_table(comparison, task),
        "### Steps\n\n" + _steps_table(task),
        _races(task),
        "### Settings\n\n" + _settings(task),
    ]
    return "\n\n".join(part for part in parts if part)


def _verdict_table(comparison: Comparison, task: TaskComparison) -> str:
    name = words.metric_name(comparison)
    base = task.baseline or comparison.baseline
    head = ["arm", "seeds", name, f"difference to {base}", "p (Holm)", "verdict", "origin", "share in control"]
    rows = [
        [
            f"`{arm.name}`",
            str(len(arm.runs)),
            estimate(arm.scores[comparison.metric].mean),
            estimate(arm.scores[comparison.metric].difference, sign=True),
            p_value(arm.p_adjusted),
            f"**{arm.verdict}**" if arm.verdict in ("positive", "negative") else words.verdict_word(arm),
            words.origin_word(arm.origin),
            percent(arm.origin.share if arm.origin else None),
        ]
        for arm in task.arms
    ]
    return _table(head, rows)


def _races(task: TaskComparison) -> str:
    """Returns what each run of ``auto`` tried: a row for each strategy, the scores of each seed's trials in order."""
    parts = []
    for arm in task.arms:
        raced = [run for run in arm.runs if run.race is not None]
        if not raced:
            continue
        rows = [
            [
                f"{run.seed}",
                f"`{trial.label}`",
                f"{trial.env_steps:,}",
                f"{trial.evaluation_steps:,}",
                ", ".join(words.number(score) for score in trial.scores) or words.NOTHING,
                f"**{trial.end}**" if trial.end == "went on" else trial.end.partition(":")[0],
            ]
            for run in raced
            for trial in (run.race.trials if run.race else ())
        ]
        head = ["seed", "tried", "env_steps", "steps of judging", "mean return when judged", "end"]
        parts.append(
            f"### What `{arm.name}` tried\n\n{_table(head, rows)}\n\nThe curve is that of the strategy that led, over "
            "the steps of all of them; the episodes that they were judged by count."
        )
    return "\n\n".join(parts)


def _notes(task: TaskComparison) -> str:
    return "### Before you believe it\n\n" + _bullets(task.notes) if task.notes else ""


def _metric_table(comparison: Comparison, task: TaskComparison) -> str:
    """Returns the secondary metrics; a column that is undefined for all arms is left out and explained below."""
    shown = [name for name in words.METRIC_NAMES if name != comparison.metric]
    columns: list[tuple[str, Callable[[Arm], str], Callable[[Arm], str]]] = [
        (words.METRIC_NAMES[name], _score_cell(name), _score_reason(name)) for name in shown
    ]
    columns += [
        ("P(better run)", _improvement, lambda _: ""),
        ("transfer ratio", lambda arm: _ratio(arm.transfer_ratio), lambda arm: _reason(arm, arm.transfer_ratio)),
        ("forward transfer", lambda arm: _ratio(arm.forward_transfer), lambda arm: _reason(arm, arm.forward_transfer)),
    ]
    kept = [column for column in columns if any(column[1](arm) != words.NOTHING for arm in task.arms)]
    rows = [[f"`{arm.name}`", *(cell(arm) for _, cell, _ in kept)] for arm in task.arms]
    table = _table(["arm", *(title for title, _, _ in kept)], rows)
    reasons = [line for title, _, why in columns for line in _reasons(title, why, task.arms)]
    level = f"\n\nLevels for `{task.baseline}`, differences to it for the other arms." if task.baseline else ""
    return table + level + ("\n\nUndefined:\n\n" + _bullets(reasons) if reasons else "")


def _score_cell(name: str) -> Callable[[Arm], str]:
    """Returns the cell of a metric: the level of the baseline, the difference to it for other arms."""

    def cell(arm: Arm) -> str:
        score = arm.scores[name]
        if score.difference is None:
            return estimate(score.mean)
        return estimate(score.difference, sign=True)

    return cell


def _score_reason(name: str) -> Callable[[Arm], str]:
    return lambda arm: arm.scores[name].reason


def _improvement(arm: Arm) -> str:
    """Returns the estimate alone: with few seeds its bootstrap interval collapses where every run is better."""
    return words.NOTHING if arm.improvement is None else words.number(arm.improvement.value)


def _ratio(value: float | Undefined) -> str:
    return words.NOTHING if isinstance(value, Undefined) else words.number(value, sign=True)


def _reason(arm: Arm, value: object) -> str:
    return value.reason if isinstance(value, Undefined) and arm.kind != "baseline" else ""


def _reasons(title: str, why: Callable[[Arm], str], arms: Sequence[Arm]) -> list[str]:
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


def _steps_table(task: TaskComparison) -> str:
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
    if task.threshold is not None:
        head[1:1] = [f"reached {task.threshold:g}", "steps to it", "steps saved"]
        for row, arm in zip(rows, task.arms, strict=True):
            row[1:1] = _time_cells(arm)
    reasons = _reasons("break-even targets", _why_no_break_even, task.arms)
    origin = f"Threshold: {task.threshold_from}." if task.threshold is None else ""
    text = (
        f"Threshold: {task.threshold:g}, {task.threshold_from}. Steps to it are cut at the budget for seeds that never "
        "reached it, and averaged with these. "
        if task.threshold is not None
        else origin + " "
    ) + "All steps are per seed. Break-even: how many targets must be trained until the source has paid off."
    return _table(head, rows) + f"\n\n{text}" + ("\n\nUndefined:\n\n" + _bullets(reasons) if reasons else "")


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


def _settings(task: TaskComparison) -> str:
    record = task.settings
    evaluation = record.evaluation
    actions = "deterministic" if evaluation.deterministic else "sampled"
    count = f"{evaluation.n_envs} environment{'' if evaluation.n_envs == 1 else 's'}"
    random_return = "not measured" if task.random_return is None else words.number(task.random_return)
    lines = [
        f"Environment `{record.task.env}`{_mapping(' with ', record.task.kwargs)}"
        + (f"; wrappers {', '.join(f'`{one}`' for one in record.task.wrappers)}" if record.task.wrappers else ""),
        f"{record.algo.upper()}, {record.n_timesteps:,} target steps{_mapping(', ', record.hyperparams)}",
        f"Evaluation every {evaluation.eval_freq:,} steps, {evaluation.episodes} episodes, {count}, "
        f"{actions} actions; random policy: {random_return}",
        "Versions: " + ", ".join(f"{name} {' and '.join(found)}" for name, found in task.versions.items()),
    ]
    return _bullets(lines if task.versions else lines[:-1])


def _mapping(lead: str, mapping: dict[str, object]) -> str:
    return lead + ", ".join(f"`{key}={value}`" for key, value in sorted(mapping.items())) if mapping else ""


def _left_out(comparison: Comparison) -> str:
    lines = [
        f"`{_below(comparison, run.folder)}` (`{run.arm}`, seed {run.seed}): {run.reason}" for run in comparison.skipped
    ]
    if comparison.source_runs:
        plural = "" if comparison.source_runs == 1 else "s"
        lines.append(f"{comparison.source_runs} source run{plural}: where arms start from, not arms")
    return "## Left out\n\n" + _bullets(lines) if lines else ""


def _how_to_read(comparison: Comparison) -> str:
    baseline = comparison.baseline
    return "## How to read this\n\n" + _bullets(
        [
            "Brackets are 95 % intervals over seeds: what would move if the same runs were made with new seeds. They "
            "are not corrected for the number of arms; the verdict is. They say nothing about other tasks.",
            f"Holm's family for the verdicts is every arm, controls too, against `{baseline}`. The tests of arms "
            "against their own control are a second family.",
            f"*Features*: the arm beats `{baseline}` and its shuffled control. *Initialisation scale*: the control "
            f"beats `{baseline}` and the arm does not beat the control. Otherwise the origin of a gain is undecided. "
            "“Not shown to differ” never means equal, which is why the share of the gain that the control has too is "
            "given with its interval.",
            "Jumpstart: return before any training, with sampled actions. Asymptotic performance: the last agent, on "
            "seeds that chose no checkpoint. Transfer ratio: gain in AUC over what scratch has learned above the "
            "random policy. P(better run): chance that a run of the arm beats a run of the baseline.",
        ]
    )


def _reproduce(comparison: Comparison) -> str:
    roots = [root.as_posix() for root in comparison.roots]
    first = json.dumps(roots[0] if len(roots) == 1 else roots, ensure_ascii=False)
    arguments = [
        first,
        f'metric="{comparison.metric}"',
        f'baseline="{comparison.baseline}"',
        *([] if comparison.threshold is None else [f"threshold={comparison.threshold!r}"]),
        f"seed={comparison.seed}",
    ]
    return (
        "## Reproduce\n\nEach run folder holds its resolved configuration and its command. This report again:\n\n"
        f"```python\nimport rltransfer\n\nrltransfer.compare({', '.join(arguments)})\n```"
    )


def _below(comparison: Comparison, folder: Path) -> str:
    """Returns a run's folder relative to the root that it was found below."""
    for root in comparison.roots:
        if folder.is_relative_to(root):
            return folder.relative_to(root).as_posix() or "."
    return folder.as_posix()


def _bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a Markdown table with the first column left and numbers right, padded so that it reads as text too."""
    cells = [[text.replace("|", "\\|") for text in row] for row in (head, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| "
        + " | ".join(_padded(text, width, i) for i, (text, width) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in cells
    ]
    rule = "|" + "|".join("-" * (width + 1) + ("-" if i == 0 else ":") for i, width in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _padded(text: str, width: int, column: int) -> str:
    return text.ljust(width) if column == 0 else text.rjust(width)
