"""Words what the layers of the arms represented over training."""

from collections.abc import Callable, Mapping, Sequence

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
_FEW = 6
_OVER_TIME = 4
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
    names = layer_names(task) if has_many_layers(task) else ()
    numbers = {name: f"{number}. " for number, name in enumerate(names, start=1)}
    rows = tuple(row for arm in task.arms for row in _rows(arm, numbers))
    if not rows:
        return ()
    head = ("arm", "layer", "similarity", "effective rank", "dormant units", "distance")
    paragraphs = [Paragraph(_TEXT), *([Paragraph(_words_of_many(task))] if has_many_layers(task) else [])]
    return (Folded("What the layers represent", 3, (*paragraphs, LayerCharts(task), Table(head, rows))),)


def layer_names(task: TaskComparison) -> tuple[str, ...]:
    """Returns the layers of all arms by depth: what only some arms have stands where they have it."""
    names: list[str] = []
    for arm in task.arms:
        place = len(names)
        for name in reversed(arm.layers.names if arm.layers else ()):
            if name in names:
                place = names.index(name)
            else:
                names.insert(place, name)
    return tuple(names)


def has_many_layers(task: TaskComparison) -> bool:
    """Returns whether a chart for each layer would be more than a reader sees at once."""
    return len(layer_names(task)) > _FEW


def layers_over_time(task: TaskComparison) -> tuple[str, ...]:
    """Returns the layers that are drawn over training: all; of many, some from the first to the last, evenly spread."""
    names = layer_names(task)
    if not has_many_layers(task):
        return names
    return tuple(names[round(index * (len(names) - 1) / (_OVER_TIME - 1))] for index in range(_OVER_TIME))


def ending(name: str, fits: Callable[[str], bool]) -> str:
    """Returns a layer's name, without its first parts where there is no room: what is last tells layers apart.

    >>> ending("features_extractor.network.features.3", lambda text: len(text) < 15)
    '…features.3'
    """
    parts = name.split(".")
    texts = [name, *("…" + ".".join(parts[start:]) for start in range(1, len(parts)))]
    return next(filter(fits, texts), texts[-1])


def layers_at_the_end(arm: Arm, names: Sequence[str], measure: str) -> np.ndarray:
    """Returns a measure of an arm's layers at its last evaluation; NaN for layers that it does not have."""
    values = np.full(len(names), np.nan)
    for index, name in enumerate(names):
        if arm.layers is not None and name in arm.layers.names:
            values[index] = _ends(arm.layers.measures[measure][:, arm.layers.names.index(name)])[1]
    return values


def _words_of_many(task: TaskComparison) -> str:
    names, shown = layer_names(task), layers_over_time(task)
    numbered = [f"{names.index(name) + 1} (`{name}`)" for name in shown]
    return (
        f"The arms have {len(names)} layers, numbered as the observation passes them. All of them are drawn at the "
        f"end of training, and {len(shown)} of them over training: {', '.join(numbered[:-1])} and {numbered[-1]}. The "
        "table has the start and the end of all; what the others did in between is in `rltransfer/representation.npz` "
        "of each run, and in TensorBoard."
    )


def _rows(arm: Arm, numbers: Mapping[str, str]) -> list[tuple[str, ...]]:
    if arm.layers is None:
        return []
    rows: list[tuple[str, ...]] = []
    for column, name in enumerate(arm.layers.names):
        ends = {measure: _ends(values[:, column]) for measure, values in arm.layers.measures.items()}
        rows.append(
            (
                f"`{arm.name}`",
                f"{numbers.get(name, '')}`{name}`",
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
