"""Decides what a report says, and in which order: the verdicts first, what they rest on behind them."""

from rltransfer.comparison import Comparison, TaskComparison
from rltransfer.report.blocks import Block, Charts, Folded, Heading
from rltransfer.report.provenance import Provenance
from rltransfer.report.sections import facts, layers, measures, plans, sweeps, verdicts


def document(comparison: Comparison, provenance: Provenance) -> tuple[Block, ...]:
    """Returns the whole report as blocks."""
    return (
        Heading("Does transfer help?", 1),
        *verdicts.failed_checks(comparison),
        *facts.not_finished(comparison, provenance),
        *verdicts.introduction(comparison),
        *verdicts.at_a_glance(comparison),
        *sweeps.matrix_blocks(comparison),
        *(block for task in comparison.tasks for block in _task(comparison, task, provenance)),
        *facts.left_out(comparison),
        *facts.how_to_read(comparison),
        *facts.reproduce(comparison, provenance),
    )


def _task(comparison: Comparison, task: TaskComparison, provenance: Provenance) -> tuple[Block, ...]:
    return (
        Heading(task.title, 2),
        *verdicts.findings(comparison, task),
        *sweeps.task_blocks(comparison, task),
        Charts(task),
        *verdicts.table(comparison, task),
        *verdicts.notes(task),
        Folded("Other metrics", 3, measures.metric_blocks(comparison, task)),
        Folded("Steps", 3, measures.steps_blocks(task)),
        *measures.race_blocks(comparison, task),
        *layers.layer_blocks(task),
        *plans.blocks(task, provenance),
        Folded("Settings", 3, facts.settings(task)),
    )
