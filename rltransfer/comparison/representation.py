"""Averages what the layers of an arm's runs represented over training."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from rltransfer.errors import RunError
from rltransfer.records import Representation, read_representation


@dataclasses.dataclass(frozen=True)
class Layers:
    """The means over an arm's runs, ``[points, layers]`` for each measure of ``RepresentationPoint``.

    ``n_runs`` is how many runs they are of: others recorded nothing that can be read. Where a run says nothing of a
    step there is NaN.
    """

    names: tuple[str, ...]
    n_runs: int
    measures: Mapping[str, Float[np.ndarray, "points layers"]]


def layers_of(folders: Sequence[Path], grid_steps: Int[np.ndarray, " points"]) -> Layers | None:
    """Returns the means over runs at the steps of a grid; None where no run has recorded its layers."""
    representations = [
        representation
        for representation in map(_read, folders)
        if representation is not None and len(representation.env_steps) > 0
    ]
    if not representations:
        return None
    names = tuple(
        name
        for name in representations[0].layers
        if all(name in representation.layers for representation in representations)
    )
    if not names:
        return None
    return Layers(
        names=names,
        n_runs=len(representations),
        measures={
            measure: np.mean(
                [_on_grid(representation, measure, names, grid_steps) for representation in representations], axis=0
            )
            for measure in representations[0].measures
        },
    )


def _read(folder: Path) -> Representation | None:
    try:
        return read_representation(folder)
    except RunError:
        # A view beside the scores: a damaged one must not stop a report.
        return None


def _on_grid(
    representation: Representation, measure: str, names: Sequence[str], grid_steps: Int[np.ndarray, " points"]
) -> Float[np.ndarray, "points layers"]:
    columns = [
        np.interp(
            grid_steps,
            representation.env_steps,
            representation.measures[measure][:, representation.layers.index(name)],
            right=np.nan,
        )
        for name in names
    ]
    return np.stack(columns, axis=1)
