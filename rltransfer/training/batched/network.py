"""The policy and value networks of a block of runs: products of stacked matrices, forward and backward."""

from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

import torch

from rltransfer.training.batched.block import Block

_aten = torch.ops.aten


class _Layer(Protocol):
    """One layer of all runs, which remembers what its gradient needs."""

    names: tuple[str, ...]

    def forward(self, inputs: torch.Tensor, /, *, trains: bool) -> torch.Tensor:
        """Returns the outputs."""

    def backward(self, gradient: torch.Tensor, /, *, to_inputs: bool) -> torch.Tensor:
        """Writes the gradients of its parameters, and returns that of its inputs if it is asked for."""


class _Linear:
    """Linear layers, ``run x out x in``."""

    def __init__(self, block: Block, name: str) -> None:
        self.names: tuple[str, ...] = (f"{name}.weight", f"{name}.bias")
        self.weight = block.stacked(f"{name}.weight")
        self.bias = block.stacked(f"{name}.bias").unsqueeze(1)
        self._transposed = self.weight.transpose(1, 2)
        self._weight_gradient = block.layout.stacked(block.gradients, f"{name}.weight")
        self._bias_gradient = block.layout.stacked(block.gradients, f"{name}.bias")
        self._inputs: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor, /, *, trains: bool) -> torch.Tensor:
        self._inputs = inputs if trains else None
        return torch.baddbmm(self.bias, inputs, self._transposed)

    def backward(self, gradient: torch.Tensor, /, *, to_inputs: bool) -> torch.Tensor:
        assert self._inputs is not None
        self._weight_gradient.copy_(torch.bmm(gradient.transpose(1, 2), self._inputs))
        torch.sum(gradient, 1, out=self._bias_gradient)
        self._inputs = None
        return torch.bmm(gradient, self.weight) if to_inputs else gradient


class _InPlace:
    """An activation whose gradient follows from its outputs alone."""

    names: tuple[str, ...] = ()

    def __init__(
        self,
        apply: Callable[[torch.Tensor], torch.Tensor],
        differentiate: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> None:
        self._apply = apply
        self._differentiate = differentiate
        self._outputs: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor, /, *, trains: bool) -> torch.Tensor:
        outputs = self._apply(inputs)
        self._outputs = outputs if trains else None
        return outputs

    def backward(self, gradient: torch.Tensor, /, *, to_inputs: bool) -> torch.Tensor:
        assert self._outputs is not None
        outputs, self._outputs = self._outputs, None
        return self._differentiate(gradient, outputs) if to_inputs else gradient


class _Differentiated:
    """Any other activation without parameters, by autograd."""

    names: tuple[str, ...] = ()

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._inputs: torch.Tensor | None = None
        self._outputs: torch.Tensor | None = None

    def forward(self, inputs: torch.Tensor, /, *, trains: bool) -> torch.Tensor:
        if not trains:
            output: torch.Tensor = self._module(inputs)
            return output
        with torch.enable_grad():
            self._inputs = inputs.detach().requires_grad_()
            self._outputs = self._module(self._inputs)
        return self._outputs.detach()

    def backward(self, gradient: torch.Tensor, /, *, to_inputs: bool) -> torch.Tensor:
        assert self._inputs is not None
        assert self._outputs is not None
        inputs, outputs = self._inputs, self._outputs
        self._inputs = self._outputs = None
        return torch.autograd.grad(outputs, inputs, gradient)[0] if to_inputs else gradient


class Network:
    """One branch of a block's policies, from observations to the outputs of its head.

    Args:
        block: The runs.
        hidden: The hidden layers in the first agent's policy.
        head: The last layer there.
    """

    def __init__(self, block: Block, hidden: torch.nn.Sequential, head: torch.nn.Module) -> None:
        names = {module: name for name, module in block.agents[0].policy.named_modules()}
        self._layers: list[_Layer] = [_layer(block, names[layer], layer) for layer in (*hidden, head)]
        self._lowest = 0

    def train_only(self, names: AbstractSet[str]) -> None:
        """Leaves out gradients below the lowest layer that has some of these parameters."""
        trained = [index for index, layer in enumerate(self._layers) if not names.isdisjoint(layer.names)]
        self._lowest = trained[0] if trained else len(self._layers)

    def forward(self, inputs: torch.Tensor, *, trains: bool = False) -> torch.Tensor:
        """Returns the outputs of the head, ``run x row x out``; remembers what ``backward`` needs where it trains."""
        outputs = inputs
        for index, layer in enumerate(self._layers):
            outputs = layer.forward(outputs, trains=trains and index >= self._lowest)
        return outputs

    def backward(self, gradient: torch.Tensor) -> None:
        """Writes the gradients of the parameters, from that of the outputs."""
        for index in range(len(self._layers) - 1, self._lowest - 1, -1):
            gradient = self._layers[index].backward(gradient, to_inputs=index > self._lowest)


def _layer(block: Block, name: str, module: Any) -> _Layer:
    if isinstance(module, torch.nn.Linear):
        return _Linear(block, name)
    if type(module) is torch.nn.Tanh:
        return _InPlace(torch.tanh_, _aten.tanh_backward)
    if type(module) is torch.nn.ReLU:
        return _InPlace(torch.relu_, lambda gradient, outputs: _aten.threshold_backward(gradient, outputs, 0))
    return _Differentiated(module)
