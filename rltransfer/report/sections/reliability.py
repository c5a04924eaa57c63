"""Words what the tests could find, and how often the intervals were measured to hold the truth."""

import math
from collections.abc import Collection

from rltransfer.comparison import Detectable, TaskComparison, judged
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Paragraph, Table
from rltransfer.stats import ACCEPTED, ALPHA, POWER

_MOST_SEEDS = "over 1,000"


def power_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns which differences the tests could find, and the seeds that a named difference needs."""
    tested = [(arm, arm.detectable) for arm in task.arms if arm.detectable is not None]
    if not tested:
        return ()
    named = next((detectable.named for _, detectable in tested if detectable.named is not None), None)
    head = ["arm", "seeds", f"found in {100 * POWER:g} %", "spread over seeds"]
    rows = [
        [wording.judged_name(arm), str(len(judged(arm).runs)), _effect(detectable), wording.number(detectable.sd)]
        for arm, detectable in tested
    ]
    levels = {detectable.level for _, detectable in tested}
    if len(levels) > 1:
        # Arms that were confirmed on fresh seeds are tested among fewer.
        head.append("level")
        rows = [[*row, f"{detectable.level:.2g}"] for row, (_, detectable) in zip(rows, tested, strict=True)]
    if named is not None:
        head += [f"{named.effect:g} is found in", f"seeds for {100 * POWER:g} %"]
        rows = [[*row, *_named_cells(detectable)] for row, (_, detectable) in zip(rows, tested, strict=True)]
    return Table(tuple(head), tuple(map(tuple, rows))), Paragraph(_explained(tested[0][1], levels, named is not None))


def coverage_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns the measured coverage of each kind of interval of the task, what is below 93 % in bold."""
    if not task.coverages:
        return ()
    shapes = list(dict.fromkeys(shape for coverage in task.coverages for shape in coverage.shares))
    rows = tuple(
        (coverage.method, str(coverage.runs), *(_share(coverage.shares.get(shape)) for shape in shapes))
        for coverage in task.coverages
    )
    text = (
        "Share of simulated studies whose 95 % interval holds the truth, by the distribution of the scores (mixed: a "
        f"bimodal arm against a normal baseline); below {100 * ACCEPTED:g} % in bold. Runs: the measured number next "
        "below the fewest that such an interval rests on here. Bands of curves are those of the IQM at each point."
    )
    return Table(("interval", "runs", *shapes), rows), Paragraph(text)


def _effect(detectable: Detectable) -> str:
    return wording.number(detectable.effect) if math.isfinite(detectable.effect) else "nothing"


def _named_cells(detectable: Detectable) -> list[str]:
    if detectable.named is None:
        return [wording.NOTHING] * 2
    seeds, cautious = (
        _MOST_SEEDS if n is None else f"{n:,}" for n in (detectable.named.seeds, detectable.named.cautious_seeds)
    )
    return [f"{round(100 * detectable.named.power)} %", seeds if seeds == cautious else f"{seeds} ({cautious})"]


def _explained(detectable: Detectable, levels: Collection[float], named: bool) -> str:
    level = f"{detectable.level:.2g}" if len(levels) == 1 else "in the table"
    text = (
        f"The smallest true difference that the test of this arm finds in {100 * POWER:g} % of such studies, at the "
        f"level {level} ({ALPHA:g} over the number of tests); smaller ones are found less often. Spread: "
        f"standard deviation over seeds, {detectable.sd_from}. The observed difference plays no part."
    )
    if named:
        return (
            f"{text} Seeds are for both arms; in brackets those that are needed where the spread is at the upper end "
            "of its 80 % interval."
        )
    return f"{text} Name the smallest difference worth finding (`effect` in the study, `--effect`) to see its seeds."


def _share(share: float | None) -> str:
    if share is None:
        return wording.NOTHING
    text = f"{100 * share:.1f} %"
    return text if share >= ACCEPTED else f"**{text}**"
