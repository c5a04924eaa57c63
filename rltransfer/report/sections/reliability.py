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
    named = next((one.named for _, one in tested if one.named is not None), None)
    head = ["arm", "seeds", f"found in {100 * POWER:g} %", "spread over seeds"]
    rows = [
        [wording.judged_name(arm), str(len(judged(arm).runs)), _effect(one), wording.number(one.sd)]
        for arm, one in tested
    ]
    levels = {one.level for _, one in tested}
    if len(levels) > 1:
        # Arms that were confirmed on fresh seeds are tested among fewer.
        head.append("level")
        rows = [[*row, f"{one.level:.2g}"] for row, (_, one) in zip(rows, tested, strict=True)]
    if named is not None:
        head += [f"{named.effect:g} is found in", f"seeds for {100 * POWER:g} %"]
        rows = [[*row, *_named_cells(one)] for row, (_, one) in zip(rows, tested, strict=True)]
    return Table(tuple(head), tuple(map(tuple, rows))), Paragraph(_explained(tested[0][1], levels, named is not None))


def coverage_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns the measured coverage of each kind of interval of the task, what is below 93 % in bold."""
    if not task.coverages:
        return ()
    shapes = list(dict.fromkeys(shape for one in task.coverages for shape in one.shares))
    rows = tuple(
        (one.method, str(one.runs), *(_share(one.shares.get(shape)) for shape in shapes)) for one in task.coverages
    )
    text = (
        "Share of simulated studies whose 95 % interval holds the truth, by the distribution of the scores (mixed: a "
        f"bimodal arm against a normal baseline); below {100 * ACCEPTED:g} % in bold. Runs: the measured number next "
        "below the fewest that such an interval rests on here. Bands of curves are those of the IQM at each point."
    )
    return Table(("interval", "runs", *shapes), rows), Paragraph(text)


def _effect(one: Detectable) -> str:
    return wording.number(one.effect) if math.isfinite(one.effect) else "nothing"


def _named_cells(one: Detectable) -> list[str]:
    if one.named is None:
        return [wording.NOTHING] * 2
    seeds, cautious = (_MOST_SEEDS if n is None else f"{n:,}" for n in (one.named.seeds, one.named.cautious_seeds))
    return [f"{round(100 * one.named.power)} %", seeds if seeds == cautious else f"{seeds} ({cautious})"]


def _explained(one: Detectable, levels: Collection[float], named: bool) -> str:
    level = f"{one.level:.2g}" if len(levels) == 1 else "in the table"
    text = (
        f"The smallest true difference that the test of this arm finds in {100 * POWER:g} % of such studies, at the "
        f"level {level} ({ALPHA:g} over the number of tests); smaller ones are found less often. Spread: "
        f"standard deviation over seeds, {one.sd_from}. The observed difference plays no part."
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
