"""Decides what a report says, and in which order: the verdicts first, what they rest on behind them."""

from collections.abc import Sequence

from rltransfer.comparison import Comparison, TaskComparison
from rltransfer.report.blocks import Block, Charts, Folded, Heading
from rltransfer.report.provenance import Provenance
from rltransfer.report.sections import (
    aggregates,
    costs,
    facts,
    layers,
    measures,
    plans,
    reliability,
    sweeps,
    verdicts,
)


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
        *aggregates.across_blocks(comparison),
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
        *aggregates.task_blocks(comparison, task),
        *verdicts.notes(task),
        *_folded("Other metrics", measures.metric_blocks(comparison, task)),
        *_folded("Time to threshold", costs.threshold_blocks(task)),
        *_folded("Steps, the source's included", costs.steps_blocks(comparison, task)),
        *_folded("What is left of the source task", costs.retention_blocks(task)),
        *_folded("Power", reliability.power_blocks(task)),
        *_folded("How often the intervals hold", reliability.coverage_blocks(task)),
        *measures.race_blocks(comparison, task),
        *layers.layer_blocks(task),
        *plans.blocks(task, provenance),
        *_folded("Wall time, steps and updates", costs.effort_blocks(task)),
        *_folded("Settings", facts.settings(task)),
    )


def _folded(title: str, blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Returns blocks under a heading that is folded; nothing where there are none."""
    return (Folded(title, 3, tuple(blocks)),) if blocks else ()
