"""Matches the layers of progressive columns: which tensor of which source each layer of a column takes."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rltransfer.anatomy import Anatomy, Layer
from rltransfer.artifact import Encoder, source_columns
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap, Inputs
from rltransfer.strategies import Progressive
from rltransfer.vecnormalize_reader import Statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_COLUMN = re.compile(r"\.columns\.((\d+)_[a-z]+)\.(\d+)$")


def number_of_source(layer: Layer) -> int:
    """Returns the number of the source that a layer's column is of; 0 for any other layer."""
    match = _COLUMN.search(layer.name)
    return int(match.group(2)) if match else 0


def is_first_of_column(layer: Layer) -> bool:
    """Returns whether a layer of a column reads the observations."""
    match = _COLUMN.search(layer.name)
    return match is not None and match.group(3) == "0"


def match_column_tensors(anatomy: Anatomy, encoders: Sequence[Encoder]) -> dict[str, str]:
    """Returns the source's tensor for each online tensor of a column."""
    columns = {
        column.name: column for number, encoder in enumerate(encoders) for column in source_columns(encoder, number)
    }
    tensors: dict[str, str] = {}
    for layer in anatomy.online:
        match = _COLUMN.search(layer.name)
        if match:
            weight, bias = columns[match.group(1)].tensors[int(match.group(3))]
            tensors |= {tensor: weight if tensor.endswith(".weight") else bias for tensor in layer.tensors}
    return tensors


def columns_of_column(layer: Layer, shape: tuple[int, ...], entries: IndexMap | None) -> tuple[int | str, ...] | None:
    """Returns what each column of a matrix of a source's frozen layers takes: what is new is zero to them.

    None where it is all alike, and of kernels, whose channels are matched as any image's.
    """
    if entries is None or len(shape) != 2 or not is_first_of_column(layer):
        return None
    if len(entries) != shape[1]:
        raise IncompatibleError(f"inputs: the map has {len(entries)} entries, and {layer.name} reads {shape[1]}.")
    return tuple("zero" if entry is None else entry for entry in entries)


def refuse_wrong_columns(
    agent: "BaseAlgorithm", anatomy: Anatomy, encoders: Sequence[Encoder], part: Progressive | None
) -> None:
    """Raises IncompatibleError if an agent's columns are not those of the sources and the strategy."""
    has_columns = any(layer.role == "column" for layer in anatomy.layers)
    if part is None:
        if has_columns and encoders:
            raise IncompatibleError(
                "The agent has progressive columns, which only 'progressive' fills: build it without them, or use that."
            )
        return
    name = "encoder" if len(encoders) == 1 else "encoders"
    settings = f", part={part!r}" if part != Progressive() else ""
    build = f"policy_kwargs=rltransfer.progressive_kwargs({name}, {anatomy.algo!r}{settings})"
    if not has_columns:
        raise IncompatibleError(
            f"'progressive' needs an agent with columns, and this one has none: build it with {build}."
        )
    stated: Any = agent.policy_kwargs["features_extractor_kwargs"]
    wanted = {
        column_of_source.name: list(column_of_source.layers)
        for number, source in enumerate(encoders)
        for column_of_source in source_columns(source, number)
    }
    built = {column: list(column_of_source["layers"]) for column, column_of_source in stated["sources"].items()}
    if wanted != built:
        raise IncompatibleError(f"The agent's columns are those of other sources: build it with {build}.")
    if (stated["units"], stated["scale"]) != (part.units, part.scale):
        raise IncompatibleError(
            f"The agent's columns have {stated['units']} units and a scale of {stated['scale']:g}, the strategy asks "
            f"for {part.units} and {part.scale:g}: build it with {build}."
        )


def refuse_wrong_inputs(encoders: Sequence[Encoder], inputs: Inputs | None) -> None:
    """Raises IncompatibleError if frozen columns would read what their sources never did."""
    if inputs is not None and inputs.new == "random":
        raise IncompatibleError(
            "inputs: new inputs are zero to the columns of sources, which stay as they are (the agent's own column "
            "learns them): leave 'new' out."
        )
    first, *others = [_statistics(encoder) for encoder in encoders]
    if any(not _equal(first, other) for other in others):
        raise IncompatibleError(
            "The sources saw observations that were normalised in different ways (VecNormalize), and an agent sees "
            "them in one way: columns beside each other need sources without normalisation, or with one statistic."
        )


def _statistics(encoder: Encoder) -> Statistics | None:
    normaliser = encoder.normaliser
    if normaliser is None or not normaliser.norm_obs or not isinstance(normaliser.observation, Statistics):
        return None
    return normaliser.observation


def _equal(first: Statistics | None, other: Statistics | None) -> bool:
    if first is None or other is None:
        return first is other
    return np.array_equal(first.mean, other.mean) and np.array_equal(first.var, other.var)
