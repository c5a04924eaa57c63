"""Prints the verdicts of a comparison as tables in the terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rltransfer.comparison import Comparison, TaskComparison, judged
from rltransfer.report import wording

_STYLES = {"positive": "green", "negative": "red", "inconclusive": "yellow"}


def print_comparison(comparison: Comparison, console: Console | None = None) -> None:
    """Prints failed self-checks, one table per task with its notes, and the runs that were left out."""
    console = console or Console()
    for check in (check for task in comparison.tasks for check in task.failed_checks):
        where = f"{check.folder}: {check.check}: {check.detail}"
        console.print(f"[bold red]Failed self-check[/] in {escape(where)}")
    for task in comparison.tasks:
        console.print(_table(comparison, task))
        console.print(Text("n: seeds; brackets: 95 % intervals; p: permutation test, after Holm"), style="dim")
        for arm in task.arms:
            if arm.verdict is None and arm.kind != "baseline":
                console.print(Text(f"{arm.name}: no verdict, since {arm.reason}.".replace("`", "")))
        for note in task.notes:
            console.print(Text(f"- {note}".replace("`", "")), style="dim")
    if comparison.across:
        console.print(_across(comparison))
    for run in comparison.skipped:
        console.print(f"[yellow]Left out:[/] {escape(str(run.folder))} ({escape(run.reason)})")


def _across(comparison: Comparison) -> Table:
    """Returns the arms over all tasks that have one scale."""
    title = f"{wording.metric_name(comparison)}, normalised, over {len(comparison.across[0].tasks)} tasks"
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    table.add_column("arm", overflow="fold")
    for column in ("IQM", "mean to baseline", "P(better run)"):
        table.add_column(column, justify="right", no_wrap=True)
    for arm in comparison.across:
        table.add_row(
            Text(arm.name),
            wording.estimate(arm.iqm),
            wording.estimate(arm.mean_difference, sign=True),
            wording.estimate(arm.improvement),
        )
    return table


def _table(comparison: Comparison, task: TaskComparison) -> Table:
    name = wording.metric_name(comparison)
    title = f"{task.title}, {task.settings.n_timesteps:,} steps"
    table = Table(title=escape(title), title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0)
    table.add_column("arm", overflow="fold")
    table.add_column("n", justify="right")
    table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"to {task.baseline or comparison.baseline}", justify="right", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("origin of gain")
    for arm in task.arms:
        score = judged(arm).scores[comparison.metric]
        word = wording.verdict_word(arm)
        table.add_row(
            Text(arm.name, style="dim" if arm.kind == "control" else ""),
            str(len(judged(arm).runs)),
            wording.NOTHING if score.mean is None else wording.number(score.mean.value),
            wording.estimate(score.difference, sign=True),
            wording.p_value(arm.p_adjusted),
            Text(word, style=_STYLES.get(word, "")),
            wording.origin_word(arm.origin),
        )
    return table
