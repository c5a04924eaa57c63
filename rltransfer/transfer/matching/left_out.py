"""Names what a plan leaves out of its sources, and layers that move without those that they were trained behind."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, Layer, is_same_network
from rltransfer.artifact import Encoder
from rltransfer.records import MOVED, Finding, LeftOut, PlanEntry, Reason
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.compatibility import is_of_unused_key
from rltransfer.transfer.matching.pair import Pair

_SHOWN = 6


def source_size(encoders: Sequence[Encoder]) -> int:
    """Returns how many values the online networks of some sources have."""
    return sum(int(np.prod(shape)) for encoder in encoders for shape in encoder.anatomy.shapes.values())


def left_out_of(
    pairs: Sequence[Pair], entries: Sequence[PlanEntry], rules: LayerRules, sources: Mapping[str, str]
) -> Iterator[LeftOut]:
    """Yields the tensors of the sources of which some values do not move, in the sources' order.

    Args:
        pairs: The target with each of its sources.
        entries: The plan's entries.
        rules: What the strategy means for the agent.
        sources: The source's tensor for each of the target's that has one, whether it moves or not.
    """
    for number, pair in enumerate(pairs):
        if pair.encoder is None:
            continue
        layers = pair.encoder.anatomy.layer_of()
        moving = [entry for entry in entries if entry.source_number == number]
        for tensor, shape in pair.encoder.anatomy.shapes.items():
            takers = [entry for entry in moving if entry.source_tensor == tensor]
            taken = _taken(shape, [entry for entry in takers if entry.origin in MOVED])
            if taken.all():
                continue
            yield LeftOut(
                tensor=tensor,
                layer=layers[tensor].name,
                source_number=number,
                size=taken.size,
                values=int((~taken).sum()),
                reason=_used_reason(takers) or _reason(pair, layers[tensor], tensor, rules, sources),
            )


def _taken(shape: tuple[int, ...], entries: Sequence[PlanEntry]) -> np.ndarray:
    """Returns which values of a source's tensor some entries take: [shape], boolean."""
    taken = np.zeros(shape, dtype=bool)
    for entry in entries:
        sides = [np.arange(length) for length in shape]
        if entry.rows is not None:
            sides[0] = np.array([row for row in entry.rows if row is not None], dtype=int)
        if entry.columns is not None and "mean" not in entry.columns:
            columns = [column for column in entry.columns if isinstance(column, int)]
            sides[min(1, len(shape) - 1)] = np.array(columns, dtype=int)
        taken[np.ix_(*sides)] = True
    return taken


def _used_reason(takers: Sequence[PlanEntry]) -> Reason | None:
    """Returns why a tensor of which something is used does not move as a whole; None of one that is not used."""
    if any(entry.origin == "rescaled" for entry in takers):
        return "norm"
    return "inputs" if any(entry.origin in MOVED for entry in takers) else None


def _reason(pair: Pair, layer: Layer, tensor: str, rules: LayerRules, sources: Mapping[str, str]) -> Reason:
    """Returns why nothing of a source's tensor is used."""
    if is_of_unused_key(pair, layer):
        return "inputs"
    if tensor in sources.values() or any(target.role == "column" for target in pair.anatomy.layers):
        return "strategy"
    is_chosen_branch = rules.source_branch in ("own", layer.branch) or layer.branch == "shared"
    if layer.role == "head":
        is_wanted = rules.log_ent_coef == "copy" if tensor == LOG_ENT_COEF else rules.moves_head(layer)
    else:
        is_wanted = is_chosen_branch
    return "no_place" if is_wanted else "strategy"


def left_out_findings(
    pair: Pair, entries: Sequence[PlanEntry], left_out: Sequence[LeftOut], sources: Mapping[str, str]
) -> Iterator[Finding]:
    """Yields what the user should know of what is left out of one source."""
    if pair.encoder is None:
        return
    lost = [tensor for tensor in left_out if tensor.reason == "no_place"]
    if lost:
        values, size = sum(tensor.values for tensor in lost), source_size([pair.encoder])
        names = _listed(list(dict.fromkeys(tensor.layer for tensor in lost)))
        is_alike = is_same_network(pair.encoder.algo, pair.anatomy.algo)
        only_coefficient = all(tensor.tensor == LOG_ENT_COEF for tensor in lost)
        yield Finding(
            kind="no_place",
            severity="warning" if is_alike and not only_coefficient else "note",
            words=f"the agent has no place for {values:,} of the source's {size:,} values: {names}",
            numbers={"values": values, "source_values": size},
        )
    for behind, layers in _trained_behind(pair, pair.encoder.anatomy, entries, sources).items():
        places = {tensor.layer for tensor in lost}
        what = "which the agent has no place for" if places.issuperset(behind) else "which does not move"
        advice = ""
        if all(layer.branch == "critic" for layer in layers):
            advice = " (critic 'reset' of 'full', or critic 'none' of 'finetune' and 'frozen', lets it start afresh)"
        yield Finding(
            kind="trained_behind",
            severity="warning",
            words=f"{_listed([layer.name for layer in layers])}: trained behind {_listed(list(behind))}, {what}; "
            f"behind other features it gives something else{advice}",
        )


def _trained_behind(
    pair: Pair, source: Anatomy, entries: Sequence[PlanEntry], sources: Mapping[str, str]
) -> dict[tuple[str, ...], list[Layer]]:
    """Returns the agent's layers that move, by the source's layers that they were trained behind and are not here."""
    source_layers = source.layer_of()
    layer_in_source = {
        layer.name: source_layers[sources[tensor]]
        for layer in pair.anatomy.online
        for tensor in layer.tensors
        if tensor in sources and layer.role != "column"
    }
    moving = {entry.layer for entry in entries if entry.origin in MOVED and len(entry.shape) > 1}
    behind: dict[tuple[str, ...], list[Layer]] = {}
    for layer in pair.anatomy.online:
        if layer.name not in moving or layer.name not in layer_in_source:
            continue
        before = [other.name for other in pair.anatomy.before(layer) if other.name in moving]
        here = {layer_in_source[name].name for name in before if name in layer_in_source}
        missing = [
            other.name
            for other in source.before(layer_in_source[layer.name])
            if other.name not in here and not is_of_unused_key(pair, other)
        ]
        if missing:
            behind.setdefault(tuple(missing), []).append(layer)
    return behind


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
