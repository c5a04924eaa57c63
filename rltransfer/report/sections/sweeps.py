"""Words what sweeps show: how many layers to move, which source helps which target, how long to pretrain."""

from rltransfer.comparison import Arm, Cell, Comparison, EffectGrid, EffectLine, TaskComparison, is_confirmed, judged
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Folded, Heading, Paragraph, SweepChart, Table, spans
from rltransfer.report.wording import estimate, p_value, steps
from rltransfer.stats import ALPHA

_KEY = "▲ positive, ▼ negative, ● inconclusive, △ candidate: picked by the sweep, not confirmed on fresh seeds."

_FRESH = " Of arms that were confirmed, the difference is that on fresh seeds, as the verdict is."


def matrix_blocks(comparison: Comparison) -> tuple[Block, ...]:
    """Returns the transfer matrices, which are about several tasks."""
    return tuple(
        block
        for sweep in comparison.sweeps
        if isinstance(sweep, EffectGrid) and sweep.task is None
        for block in (
            Heading(_literal(sweep.title), 2),
            Paragraph(_about_matrix(comparison, sweep)),
            SweepChart(sweep),
            Folded("The numbers of the matrix", 3, (_grid_table(comparison, sweep),)),
        )
    )


def task_blocks(comparison: Comparison, task: TaskComparison) -> tuple[Block, ...]:
    """Returns the sweeps of a task."""
    blocks: list[Block] = []
    for sweep in comparison.sweeps:
        if sweep.task == task.name and isinstance(sweep, EffectGrid):
            blocks += [Heading(sweep.title, 3), Paragraph(_about_layers(comparison)), SweepChart(sweep)]
            blocks += [Folded("The numbers of the layer sweep", 3, (_grid_table(comparison, sweep),))]
        elif sweep.task == task.name and isinstance(sweep, EffectLine):
            blocks += [Heading(sweep.title, 3), Paragraph(_about_steps(comparison, sweep)), SweepChart(sweep)]
            blocks += [Folded("The numbers of the source budgets", 3, (_line_table(comparison, sweep),))]
    return tuple(blocks)


def how_to_read(comparison: Comparison) -> tuple[str, ...]:
    """Returns what the words of sweeps mean, where there are some."""
    has_matrix = any(sweep.task is None for sweep in comparison.sweeps)
    matrix = "In a matrix both families are over all its targets together, since all of it is looked at."
    candidate = (
        "*Candidate*: an arm of a sweep whose test is positive. The best of many arms is picked for its luck too, so "
        "that it is called positive only after `rltransfer study confirm` has run it on fresh seeds; its verdict, p "
        "and origin are then of these seeds alone."
    )
    has_picked = any(sweep.task is not None for sweep in comparison.sweeps)
    return (*([matrix] if has_matrix else []), *([candidate] if has_picked else []))


def cell_words(comparison: Comparison, cell: Cell) -> str:
    """Returns what one cell of a picture shows, in words."""
    arm = cell.arm
    if arm is None:
        return "no finished run"
    score = judged(arm).scores[comparison.metric]
    if arm.kind == "baseline":
        return f"{arm.name}: {estimate(score.mean)}"
    whose = " on fresh seeds" if is_confirmed(arm) else ""
    return f"{arm.name}: {estimate(score.difference, sign=True)}, {wording.verdict_word(arm)}{whose}"


def _about_layers(comparison: Comparison) -> str:
    return (
        "Each cell is an arm: so many layers, counted from the observations on, moved under new heads, all else fresh. "
        f"Shown is the difference in {wording.metric_name(comparison)} to `{comparison.baseline}`. {_KEY}{_FRESH}"
    )


def _about_matrix(comparison: Comparison, sweep: EffectGrid) -> str:
    tests = sum(cell.arm is not None and cell.arm.p_value is not None for row in sweep.cells for cell in row)
    return (
        f"Each cell is the difference in {wording.metric_name(comparison)} to `{comparison.baseline}` of its target; "
        "rows are not compared with each other. Outlined: a task as its own source, to compare others with. All tests "
        f"of the matrix ({tests} here) share the level of {ALPHA:g}. ▲ positive, ▼ negative, ● inconclusive."
    )


def _about_steps(comparison: Comparison, sweep: EffectLine) -> str:
    total = sweep.source_steps * sweep.seeds
    return (
        "Each point is an arm that starts from the agent that the source run of its seed was after so many steps; "
        "where a rate falls over the whole run, this is not the agent of a run of that length. Shown is the "
        f"difference in {wording.metric_name(comparison)} to `{comparison.baseline}` with its 95 % interval. The "
        f"source runs of all points together took {steps(total)} steps ({sweep.seeds} of {steps(sweep.source_steps)}); "
        f"the table has what each point alone costs. {_KEY}{_FRESH}"
    )


def _grid_table(comparison: Comparison, sweep: EffectGrid) -> Table:
    rows = [
        (f"`{_literal(name)}`", *(_cell(comparison, cell) for cell in cells))
        for name, cells in zip(sweep.rows, sweep.cells, strict=True)
    ]
    head = (f"{sweep.row_title} \\ {sweep.column_title}", *(_literal(name) for name in sweep.columns))
    return Table(head, tuple(rows))


def _cell(comparison: Comparison, cell: Cell) -> str:
    if cell.arm is None:
        return wording.NOTHING
    score = judged(cell.arm).scores[comparison.metric]
    if cell.arm.kind == "baseline":
        return estimate(score.mean)
    return f"{estimate(score.difference, sign=True)} {verdict(cell.arm)}"


def verdict(arm: Arm) -> str:
    """Returns a verdict, marked where it is a claim."""
    word = wording.verdict_word(arm)
    return f"**{word}**" if word in ("positive", "negative") else word


def _line_table(comparison: Comparison, sweep: EffectLine) -> Table:
    name = wording.metric_name(comparison)
    head = ("arm", "source steps", "source + target steps", name, "difference", "p (Holm)", "verdict")
    rows = []
    for points in sweep.points.values():
        for asked, arm in points:
            if arm is None:
                rows.append((wording.NOTHING, steps(asked), *[wording.NOTHING] * 5))
                continue
            score = judged(arm).scores[comparison.metric]
            rows.append(
                (
                    wording.judged_name(arm),
                    steps(arm.steps.source_steps),
                    steps(arm.steps.total_steps),
                    estimate(score.mean),
                    estimate(score.difference, sign=True),
                    p_value(arm.p_adjusted),
                    verdict(arm),
                )
            )
    return Table(head, tuple(rows))


def _literal(text: str) -> str:
    return "".join(span.text for span in spans(text))
