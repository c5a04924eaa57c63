"""Words what was found about each arm, and what limits it."""

from rltransfer.comparison import Arm, Comparison, TaskComparison, judged
from rltransfer.report import wording
from rltransfer.report.blocks import Alert, Block, Bullets, Findings, Heading, Paragraph, Table, Tone
from rltransfer.report.paths import below
from rltransfer.report.wording import estimate, p_value, percent
from rltransfer.stats import ALPHA


def failed_checks(comparison: Comparison) -> tuple[Block, ...]:
    """Returns the warning about runs that broke a promise they check themselves."""
    lines = [
        f"`{below(comparison, check.folder)}` (`{check.arm}`, seed {check.seed}): {check.check}: {check.detail}"
        for task in comparison.tasks
        for check in task.failed_checks
    ]
    lead = "**Failed self-checks.** These runs are not what they claim to be; their arms get no verdict."
    return (Alert(lead, tuple(lines)),) if lines else ()


def introduction(comparison: Comparison) -> tuple[Block, ...]:
    """Returns what a verdict is in this report."""
    metric = comparison.metric
    text = (
        f"Primary metric: **{wording.metric_name(comparison)}**, the {wording.METRIC_MEANING[metric]}, as a difference "
        f"to `{comparison.baseline}`. A verdict is a two-sided permutation test over seeds, corrected by Holm for the "
        f"number of arms, at {ALPHA:g}."
    )
    return (Paragraph(text),)


def at_a_glance(comparison: Comparison) -> tuple[Block, ...]:
    """Returns a table of arms by tasks; nothing where there is one task."""
    if len(comparison.tasks) < 2:
        return ()
    names = list(dict.fromkeys(arm.name for task in comparison.tasks for arm in task.arms))
    rows = [(f"`{name}`", *(_glance(comparison, task, name) for task in comparison.tasks)) for name in names]
    text = "Differences to the baseline, each with its verdict; the baseline's row shows its level."
    head = ("arm", *(_literal(task.title) for task in comparison.tasks))
    return Heading("At a glance", 2), Table(head, tuple(rows)), Paragraph(text)


def findings(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns a sentence for each arm, controls apart."""
    transfers = [arm for arm in task.arms if arm.kind == "transfer"]
    controls = [arm for arm in task.arms if arm.kind == "control"]
    blocks: list[Block] = []
    if transfers:
        blocks.append(_findings(comparison, task, transfers))
    if controls:
        blocks += [Paragraph("Controls:"), _findings(comparison, task, controls)]
    return tuple(blocks)


def table(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns the primary metric, the test and the origin of each arm."""
    name = wording.metric_name(comparison)
    base = task.baseline or comparison.baseline
    head = (
        "arm",
        "seeds",
        name,
        f"difference to {_literal(base)}",
        "p (Holm)",
        "verdict",
        "origin",
        "share in control",
    )
    rows = [
        (
            wording.judged_name(arm),
            str(len(judged(arm).runs)),
            estimate(judged(arm).scores[comparison.metric].mean),
            estimate(judged(arm).scores[comparison.metric].difference, sign=True),
            p_value(arm.p_adjusted),
            _verdict(arm),
            wording.origin_word(arm.origin),
            percent(arm.origin.share if arm.origin else None),
        )
        for arm in task.arms
    ]
    return (Table(head, tuple(rows), tuple(tone(arm) for arm in task.arms)),)


def notes(task: TaskComparison) -> tuple[Block, ...]:
    """Returns what must be known before believing the numbers."""
    return (Heading("Before you believe it", 3), Bullets(task.notes)) if task.notes else ()


def tone(arm: Arm) -> Tone:
    """Returns the tone of an arm's verdict."""
    return arm.verdict or "plain"


def _findings(comparison: Comparison, task: TaskComparison, arms: list[Arm]) -> Findings:
    return Findings(tuple((tone(arm), wording.sentence(comparison, task, arm)) for arm in arms))


def _glance(comparison: Comparison, task: TaskComparison, name: str) -> str:
    arm = next((candidate for candidate in task.arms if candidate.name == name), None)
    if arm is None:
        return wording.NOTHING
    score = judged(arm).scores[comparison.metric]
    if arm.kind == "baseline" or score.difference is None:
        return wording.NOTHING if score.mean is None else wording.number(score.mean.value)
    difference = wording.number(score.difference.value, sign=True)
    return f"{difference} {_verdict(arm)}"


def _verdict(arm: Arm) -> str:
    return f"**{arm.verdict}**" if arm.verdict in ("positive", "negative") else wording.verdict_word(arm)


def _literal(text: str) -> str:
    """Returns text without what would be read as a mark."""
    return text.replace("`", "'").replace("*", "∗")
