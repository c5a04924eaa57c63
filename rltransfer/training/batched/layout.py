"""Where each parameter of a policy lies in the row of numbers that holds all of them."""

import dataclasses
import functools
import itertools
import math

import torch

_ALIGNMENT = 16
"""Of float32: 64 bytes. Rows that begin alike in memory are computed alike, to the last bit."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """The parameters of a policy, in SB3's order, each at its offset in a row of ``width`` numbers.

    Between and behind them are zeros that bring each to a multiple of 64 bytes.

    >>> layout = Layout(("weight", "bias"), ((4, 3), (4,)))
    >>> layout.offsets, layout.width
    ((0, 16), 32)
    """

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    offsets: tuple[int, ...] = dataclasses.field(init=False)
    sizes: tuple[int, ...] = dataclasses.field(init=False)
    width: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        sizes = tuple(math.prod(shape) for shape in self.shapes)
        ends = [0, *itertools.accumulate(-(-size // _ALIGNMENT) * _ALIGNMENT for size in sizes)]
        object.__setattr__(self, "sizes", sizes)
        object.__setattr__(self, "offsets", tuple(ends[:-1]))
        object.__setattr__(self, "width", ends[-1])

    @classmethod
    def of(cls, policy: torch.nn.Module) -> "Layout":
        """Returns the layout of a policy's parameters."""
        named = dict(policy.named_parameters())
        return cls(tuple(named), tuple(tuple(parameter.shape) for parameter in named.values()))

    def stacked(self, rows: torch.Tensor, name: str) -> torch.Tensor:
        """Returns a parameter of all runs, as a view of their rows with the run in front."""
        index = self.names.index(name)
        offset, size = self.offsets[index], self.sizes[index]
        return rows[:, offset : offset + size].view(len(rows), *self.shapes[index])

    def single(self, rows: torch.Tensor, run: int, index: int) -> torch.Tensor:
        """Returns a parameter of one run, on the same memory as its row.

        On the CPU it has a storage of its own size over that memory: of a plain view, ``torch.save`` would write all
        rows into each zip, and safetensors would refuse it.
        """
        offset, size, shape = self.offsets[index], self.sizes[index], self.shapes[index]
        if rows.device.type == "cpu":
            return torch.from_numpy(rows.numpy()[run, offset : offset + size].reshape(shape))
        return rows[run, offset : offset + size].view(shape)

    def expand(self, by_tensor: torch.Tensor) -> torch.Tensor:
        """Returns numbers per run and tensor, or per run alone (one column), as numbers per run and element."""
        if by_tensor.shape[1] == 1:
            return by_tensor
        return by_tensor.index_select(1, self.owners.to(by_tensor.device))

    @functools.cached_property
    def owners(self) -> torch.Tensor:
        """Which parameter each element belongs to; padding belongs to the one before it."""
        widths = [end - offset for offset, end in zip(self.offsets, (*self.offsets[1:], self.width), strict=True)]
        return torch.repeat_interleave(torch.arange(len(self.names)), torch.tensor(widths))
