"""Works out what happens to every tensor of a target agent: where its values come from, and how it may change."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rltransfer.anatomy import LOG_ENT_COEF, Anatomy, Layer
from rltransfer.errors import IncompatibleError
from rltransfer.records import MOVED, Origin, PlanEntry
from rltransfer.strategies import Extra
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.matching.columns import number_of_source
from rltransfer.transfer.matching.pair import Pair


def entries_of(pairs: Sequence[Pair], rules: LayerRules, sources: Mapping[str, str]) -> Iterator[PlanEntry]:
    """Yields a plan's entry for every tensor of the target agent.

    Args:
        pairs: The target with each of its sources, or alone.
        rules: What the strategy means for the agent.
        sources: The source's tensor for each of the target's that has one.

    Raises:
        IncompatibleError: A setting of the strategy cannot be applied to a tensor.
    """
    pair = pairs[0]
    online: dict[str, PlanEntry] = {}
    for layer in pair.anatomy.online:
        number = number_of_source(layer)
        for weights in _online_entries(pairs[number], rules, layer, sources):
            entry = weights.model_copy(update={"source_number": number})
            if not _is_of_exploration(pair.anatomy, layer):
                entry = _with_pulls(rules, entry)
            online[entry.tensor] = entry
            yield entry
    for layer in pair.anatomy.layers:
        if layer.branch == "target":
            # A group's name need not be a prefix of its tensors' names; the module that holds it is.
            module = str(layer.twin).removesuffix(layer.name[len(layer.path) :])
            for tensor in layer.tensors:
                twin = module + tensor[len(layer.path) :]
                yield _entry(pair.anatomy, layer, tensor, origin="synced", twin=twin, frozen=online[twin].frozen)


def _is_of_exploration(anatomy: Anatomy, layer: Layer) -> bool:
    return layer.name == LOG_ENT_COEF or anatomy.rule_of(layer).gives == "log_std"


def _with_pulls(rules: LayerRules, entry: PlanEntry) -> PlanEntry:
    """Returns the entry with what draws it towards the source or away from it."""
    if not (entry.trains or entry.frozen):
        return entry
    moves = entry.origin in MOVED
    drawn: dict[str, Any] = {"shrink": rules.shrink, "perturb": rules.perturb} if moves else {}
    if entry.trains:
        drawn |= {"decay": rules.decay, "return_pull": rules.return_pull}
    if entry.trains and moves:
        drawn |= {"pull": rules.pull, "importance": rules.importance}
    return entry.model_copy(update=drawn)


def _online_entries(pair: Pair, rules: LayerRules, layer: Layer, sources: Mapping[str, str]) -> Iterator[PlanEntry]:
    is_chosen = layer.name in rules.chosen
    moves = is_chosen and rules.origin == "copied"
    maps = {tensor: _map_of(pair, layer, tensor, sources[tensor]) for tensor in layer.tensors if moves}
    is_partly_new = any({"fresh", "random"} & {*(origin.get("columns") or ())} for origin in maps.values())
    for tensor in layer.tensors:
        is_parameter = tensor in pair.anatomy.parameters
        # What new inputs bring has to be learned, however well the rest is known.
        is_held = is_chosen and not is_partly_new
        is_low_rank = moves and layer.name in rules.low_rank
        by_user = tensor in pair.frozen_by_user
        held = (is_held and rules.frozen) or (is_low_rank and _is_held_vector(pair, rules, tensor))
        frozen, learns = held or by_user, is_chosen and not by_user
        entry = _entry(
            pair.anatomy,
            layer,
            tensor,
            frozen=frozen,
            frozen_by_user=by_user,
            trains=is_parameter and not frozen,
            lr_scale=rules.rates.get(layer.name, 1.0) if learns and is_parameter else 1.0,
            held_until=rules.held_until.get(layer.name, 0) if learns and is_held else 0,
        )
        if is_chosen and rules.recomputes and tensor in pair.running_statistics:
            yield entry.model_copy(update={"origin": "recomputed"})
        elif layer.role == "head":
            yield _head_entry(pair, rules, layer, entry, sources.get(tensor))
        elif moves:
            origin = _origin(tensor, sources[tensor], maps[tensor])
            updates = _low_rank(rules, entry) if is_low_rank else {}
            yield entry.model_copy(update={**origin, **updates, "permuted": rules.permuted and is_parameter})
        elif is_chosen and is_parameter:
            yield entry.model_copy(update={"origin": rules.origin, "source": _other_name(tensor, sources)})
        else:
            yield entry


def _is_held_vector(pair: Pair, rules: LayerRules, tensor: str) -> bool:
    is_vector = len(pair.anatomy.shapes[tensor]) < 2
    return rules.holds_vectors and is_vector and tensor in pair.anatomy.parameters


def _low_rank(rules: LayerRules, entry: PlanEntry) -> dict[str, Any]:
    """Returns the low-rank update of a matrix; a convolution's is of its output channels and all else."""
    if len(entry.shape) < 2 or not entry.trains:
        return {}
    return {"rank": min(rules.rank, entry.full_rank), "rank_gain": rules.rank_gain}


def _map_of(pair: Pair, layer: Layer, tensor: str, source: str) -> dict[str, Any]:
    """Returns the rows, columns and gain by which a tensor comes from the source's; nothing where it is a copy."""
    assert pair.encoder is not None
    updates: dict[str, Any] = {}
    columns = pair.columns(layer, tensor, source)
    if columns is None:
        columns = pair.channels(layer, tensor, source)
        if columns is not None and pair.inputs is not None and pair.inputs.channels is not None:
            updates["gain"] = pair.encoder.anatomy.shapes[source][1] / pair.anatomy.shapes[tensor][1]
    rows = pair.rows(layer, tensor, source)
    if pair.anatomy.is_log_std(tensor) and len(pair.anatomy.shapes[tensor]) == 2 and pair.anatomy.reads_features(layer):
        # With gSDE, log_std has a row for each feature that the actor's last layer reads.
        updates |= {} if pair.features is None else {"rows": pair.features}
    if rows is not None and pair.anatomy.is_log_std(tensor) and len(pair.anatomy.shapes[tensor]) == 2:
        # With gSDE, log_std has a column for each action.
        columns, rows = tuple("fresh" if row is None else row for row in rows), None
    return updates | {name: value for name, value in (("columns", columns), ("rows", rows)) if value is not None}


def _origin(tensor: str, source: str, mapped: Mapping[str, Any]) -> dict[str, Any]:
    origin: Origin = "mapped" if mapped else "copied"
    return {"origin": origin, "source": None if source == tensor else source, **mapped}


def _other_name(tensor: str, sources: Mapping[str, str]) -> str | None:
    source = sources.get(tensor)
    return None if source == tensor else source


def _head_entry(pair: Pair, rules: LayerRules, layer: Layer, entry: PlanEntry, source: str | None) -> PlanEntry:
    gives = pair.anatomy.rule_of(layer).gives
    if rules.is_silent and gives == "actions":
        return entry.model_copy(update={"origin": "set", "value": 0.0})
    setting: Extra = "copy" if rules.moves_head(layer) else "reset"
    if gives == "log_std":
        setting = rules.log_std
        if isinstance(setting, float) and not pair.anatomy.is_log_std(entry.tensor):
            raise IncompatibleError("log_std is a layer here, which depends on the state: use 'copy' or 'reset'.")
    elif entry.tensor == LOG_ENT_COEF:
        setting = rules.log_ent_coef
    if isinstance(setting, float):
        return entry.model_copy(update={"origin": "set", "value": setting})
    if setting == "reset" or source is None or pair.encoder is None:
        return entry
    mapped = _map_of(pair, layer, entry.tensor, source)
    if not mapped and pair.encoder.anatomy.shapes[source] != entry.shape:
        return entry
    return entry.model_copy(update={**_origin(entry.tensor, source, mapped), "permuted": rules.permuted})


def _entry(anatomy: Anatomy, layer: Layer, tensor: str, **settings: Any) -> PlanEntry:
    facts: dict[str, Any] = {"origin": "initialised", "trains": False, "frozen": False, **settings}
    return PlanEntry(
        tensor=tensor,
        layer=layer.name,
        branch=layer.branch,
        role=layer.role,
        shape=anatomy.shapes[tensor],
        **facts,
    )
