"""Words what the layers of the arms represented over training."""

import numpy as np

from rltransfer.comparison import Arm, TaskComparison
from rltransfer.report import wording
from rltransfer.report.blocks import Block, Folded, LayerCharts, Paragraph, Table

MEASURES = {
    "cka": "similarity to the start",
    "effective_rank": "effective rank",
    "dormant": "dormant units",
    "distance": "distance of the weights",
}
LEAST_TOP = {"cka": 1.0, "dormant": 0.1, "distance": 0.1}
"""How far the axis of a measure goes at least, so that next to nothing does not look like much."""
_TEXT = (
    "All of it is measured at each evaluation on one batch of states that random actions lead to, and averaged over "
    "seeds. The start is the agent before its first update: a layer that was moved starts as the source's. "
    "*Similarity* is linear CKA of its features with those at the start (Kornblith et al., 2019), 1 where they are the "
    "same up to rotation and scale. *Effective rank* is how many directions the features spread over (Roy & Vetterli, "
    "2007). *Dormant units* hardly react to any state (Sokar et al., 2023: below 0.025 of the layer's mean). "
    "*Distance* is how far the weights are from the start, in units of their norm there."
)


def layer_blocks(task: TaskComparison) -> tuple[Block, ...]:
    """Returns the charts and, for each arm and layer, where they end; nothing where no run recorded its layers."""
    rows = tuple(row for arm in task.arms for row in _rows(arm))
    if not rows:
        return ()
    head = ("arm", "layer", "similarity", "effective rank", "dormant units", "distance")
    table = Table(head, rows)
    return (Folded("What the layers represent", 3, (Paragraph(_TEXT), LayerCharts(task), table)),)


def layer_names(task: TaskComparison) -> tuple[str, ...]:
    """Returns the layers of all arms, in the order in which they come."""
    return tuple(dict.fromkeys(name for arm in task.arms if arm.layers for name in arm.layers.names))


def _rows(arm: Arm) -> list[tuple[str, ...]]:
    if arm.layers is None:
        return []
    rows: list[tuple[str, ...]] = []
    for column, name in enumerate(arm.layers.names):
        ends = {measure: _ends(values[:, column]) for measure, values in arm.layers.measures.items()}
        rows.append(
            (
                f"`{arm.name}`",
                f"`{name}`",
                f"{ends['cka'][1]:.2f}" if np.isfinite(ends["cka"][1]) else wording.NOTHING,
                f"{ends['effective_rank'][0]:.1f} → {ends['effective_rank'][1]:.1f}",
                f"{ends['dormant'][0]:.0%} → {ends['dormant'][1]:.0%}",
                f"{ends['distance'][1]:.2f}",
            )
        )
    return rows


def _ends(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite[0]), float(finite[-1])) if len(finite) else (float("nan"), float("nan"))
