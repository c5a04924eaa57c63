"""Progressive columns: a source's frozen layers beside new ones that read them (Rusu et al. 2016)."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn


class ProgressiveColumns(BaseFeaturesExtractor):
    """A new column of layers that also reads, level by level, what the frozen columns of sources give.

    ``h_i = f(W_i h_{i-1} + sum over columns of U f(V a s_{i-1}))`` (Rusu et al. 2016, eq. 2): what level ``i - 1`` of a
    source's column gives is scaled by a learned ``a``, reduced to few units and projected into level ``i`` of the new
    one. Levels of a source at the end of the new column and above are reduced, too, and are features beside its own:
    the layers that follow read them. Sources' columns get no gradient, whatever trains the agent.

    Columns are plain data: a ``divisor`` of the observations and ``layers`` in order, each with its ``kind``
    (``linear`` or ``convolution``), ``size``, ``activation`` (a class of ``torch.nn``), of convolutions ``kernel`` and
    ``stride``; a linear layer behind convolutions may have a ``pool`` to which images are pooled before.

    Args:
        observation_space: Vectors, or images with the channels first; no dictionaries.
        sources: The sources' columns by name.
        own: The new column; without layers it is the observations themselves.
        units: To how many units each level of a source's column is reduced.
        scale: What the learned scales begin with.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        sources: Mapping[str, Mapping[str, Any]],
        own: Mapping[str, Any],
        units: int,
        scale: float,
    ) -> None:
        if isinstance(observation_space, spaces.Dict):
            raise ValueError(f"progressive columns read one vector or image, found {observation_space}.")
        # The number of features is known when the columns are built.
        super().__init__(observation_space, features_dim=1)
        self._divisors = {name: float(column["divisor"]) for name, column in sources.items()}
        self._own_divisor = float(own["divisor"])
        self.columns = nn.ModuleDict(
            {name: _levels(observation_space, column["layers"]) for name, column in sources.items()}
        )
        self.own = _levels(observation_space, own["layers"])
        # Named `laterals.<column>.<level>`; the level is the source's, from 1 on.
        self.laterals = nn.ModuleDict(
            {name: self._laterals(column, units, scale) for name, column in self.columns.items()}
        )
        own_size = math.prod(self._own_levels[-1].shape) if self._own_levels else spaces.flatdim(observation_space)
        self._features_dim = own_size + sum(lateral.size for _, _, lateral in self._ends)

    def _laterals(self, column: Any, units: int, scale: float) -> nn.ModuleDict:
        into = {place: level for place, level in enumerate(self._own_levels) if place}
        return nn.ModuleDict(
            {str(place): _Lateral(level, into.get(place), units, scale) for place, level in enumerate(column, start=1)}
        )

    @property
    def _own_levels(self) -> list["_Level"]:
        return list(self.own)  # type: ignore[arg-type]

    @property
    def _ends(self) -> list[tuple[str, int, "_Lateral"]]:
        """The laterals that end in features, each with its column and its level there."""
        every: Any = self.laterals.items()
        return [(name, int(place), level) for name, column in every for place, level in column.items() if level.ends]

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Returns the features of the new column and, behind them, what it takes from the sources' last levels."""
        given = {name: self._given(name, observations) for name in self.columns}
        laterals: Any = self.laterals
        hidden = observations.float() / self._own_divisor
        for place, level in enumerate(self._own_levels):
            total = level.layer(level.prepare(hidden))
            for name, levels in given.items():
                if 0 < place <= len(levels):
                    total = total + laterals[name][str(place)](levels[place - 1])
            hidden = level.activation(total)
        beside = [lateral(given[name][place - 1]) for name, place, lateral in self._ends]
        return torch.cat([hidden.flatten(start_dim=1), *beside], dim=1)

    @torch.no_grad()
    def _given(self, name: str, observations: torch.Tensor) -> list[torch.Tensor]:
        """Returns what each level of a source's column gives."""
        hidden, given = observations.float() / self._divisors[name], []
        column: Any = self.columns[name]
        for level in column:
            hidden = level.activation(level.layer(level.prepare(hidden)))
            given.append(hidden)
        return given


class _Level(nn.Module):
    """One layer of a column, with what happens to its input before (pooling, flattening) and its activation.

    ``shape`` is that of one output: [units], or [channels, rows, columns]; ``places`` the number of inputs from each
    unit that it reads.
    """

    def __init__(self, shape: tuple[int, ...], facts: Mapping[str, Any]) -> None:
        super().__init__()
        size = int(facts["size"])
        self.prepare: nn.Module
        self.layer: nn.Linear | nn.Conv2d
        if facts["kind"] == "convolution":
            kernel, stride = int(facts["kernel"]), int(facts["stride"])
            if min(shape[1:]) < kernel:
                raise ValueError(f"images of {shape[1]}x{shape[2]} entries are too small for a kernel of {kernel}.")
            self.prepare = nn.Identity()
            self.layer = nn.Conv2d(shape[0], size, kernel_size=kernel, stride=stride)
            self.shape: tuple[int, ...] = (size, *((side - kernel) // stride + 1 for side in shape[1:]))
        else:
            self.prepare = nn.Flatten()
            if "pool" in facts:
                shape = (shape[0], *(min(side, int(facts["pool"])) for side in shape[1:]))
                self.prepare = nn.Sequential(nn.AdaptiveMaxPool2d(shape[1:]), nn.Flatten())
            self.layer = nn.Linear(math.prod(shape), size)
            self.shape = (size,)
        self.places = math.prod(shape[1:])
        self.activation = getattr(nn, facts["activation"])()


class _Lateral(nn.Module):
    """What a level of the new column takes from a level of a source's: scaled, reduced, projected.

    Without a level to project into (``into`` None) it ``ends`` in ``size`` features of its own.
    """

    def __init__(self, level: _Level, into: _Level | None, units: int, scale: float) -> None:
        super().__init__()
        channels, *image = level.shape
        units = min(units, channels)
        self.scale = nn.Parameter(torch.tensor(scale))
        self.reduce = nn.Conv2d(channels, units, kernel_size=1) if image else nn.Linear(channels, units)
        self.activation = type(level.activation)()
        self.prepare: nn.Module = nn.Flatten()
        self.project: nn.Module = nn.Identity()
        self.ends = into is None
        self.size = units * math.prod(image)
        if into is not None:
            self.prepare = into.prepare
            self.project = _projection(units, into.layer, into.places)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        taken: torch.Tensor = self.project(self.prepare(self.activation(self.reduce(self.scale * given))))
        return taken


def _projection(units: int, into: nn.Linear | nn.Conv2d, places: int) -> nn.Module:
    if isinstance(into, nn.Conv2d):
        return nn.Conv2d(units, into.out_channels, into.kernel_size, into.stride, bias=False)  # type: ignore[arg-type]
    return nn.Linear(units * places, into.out_features, bias=False)


def _levels(space: spaces.Space[Any], layers: Sequence[Mapping[str, Any]]) -> nn.ModuleList:
    is_image = bool(layers) and layers[0]["kind"] == "convolution"
    shape: tuple[int, ...] = tuple(space.shape or ()) if is_image else (spaces.flatdim(space),)
    levels = nn.ModuleList()
    for facts in layers:
        level = _Level(shape, facts)
        levels.append(level)
        shape = level.shape
    return levels
