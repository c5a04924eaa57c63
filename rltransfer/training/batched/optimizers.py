"""The optimizers of a block of runs: torch's own formulas, with rates and step counts per run and tensor."""

from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike

from rltransfer.training.batched.block import Block

Rates = Float[np.ndarray, "runs tensors"]
"""Learning rates; one column where those of all tensors of a run are the same."""


class BatchedOptimizer(Protocol):
    """Moves the parameters of all runs by their gradients."""

    def move(self, rates: Rates, steps: Float[np.ndarray, "runs tensors"], /) -> None:
        """Makes the next step, the ``steps``-th of each tensor."""


def batched_optimizer(block: Block) -> BatchedOptimizer:
    """Returns the counterpart of the agents' optimizer."""
    optimizer = block.agents[0].policy.optimizer
    settings = optimizer.param_groups[0]
    if isinstance(optimizer, torch.optim.Adam):
        return _Adam(block, settings)
    return _RMSprop(block, settings, root_first=not isinstance(optimizer, RMSpropTFLike))


class Stepper:
    """Steps a block's optimizer, and leaves some tensors as they are: their values, states and step counts."""

    def __init__(self, block: Block) -> None:
        self._block = block
        self._optimizer = batched_optimizer(block)

    def step(
        self, rates: Float[np.ndarray, "runs tensors"], stepped: Bool[np.ndarray, "runs tensors"], *, alike: bool
    ) -> None:
        """Makes the next step of the tensors that are ``stepped``.

        Args:
            rates: Their learning rates.
            stepped: Which of them step.
            alike: Whether the tensors of a run have one rate and one step count, and step together.
        """
        block = self._block
        block.steps += stepped
        columns = slice(0, 1) if alike else slice(None)
        # Of what has never stepped nothing is kept below.
        steps = np.maximum(block.steps[:, columns].astype(np.float64), 1.0)
        if stepped.all():
            self._optimizer.move(rates[:, columns], steps)
            return
        kept = block.layout.expand(torch.from_numpy(~stepped[:, columns]).to(block.device))
        changing = [block.parameters, *block.moments.values()]
        before = [rows.clone() for rows in changing]
        self._optimizer.move(rates[:, columns], steps)
        for rows, old in zip(changing, before, strict=True):
            torch.where(kept, old, rows, out=rows)


class _Adam:
    """As ``torch.optim.adam._single_tensor_adam``, which is what SB3's agents step by on a CPU."""

    def __init__(self, block: Block, settings: dict[str, Any]) -> None:
        self._block = block
        self._beta1, self._beta2 = settings["betas"]
        self._eps = settings["eps"]
        self._buffers = torch.empty_like(block.parameters), torch.empty_like(block.parameters)

    def move(self, rates: Rates, steps: Float[np.ndarray, "runs tensors"], /) -> None:
        block, gradients = self._block, self._block.gradients
        first, second = block.moments["exp_avg"], block.moments["exp_avg_sq"]
        update, root = self._buffers
        sizes = rates / (1 - self._beta1**steps)
        corrections = (1 - self._beta2**steps) ** 0.5
        first.lerp_(gradients, 1 - self._beta1)
        second.mul_(self._beta2).addcmul_(gradients, gradients, value=1 - self._beta2)
        torch.sqrt(second, out=root)
        root.div_(_per_element(block, corrections)).add_(self._eps)
        torch.mul(first, _per_element(block, sizes), out=update)
        block.parameters.addcdiv_(update, root, value=-1)


class _RMSprop:
    """As ``torch.optim.RMSprop``, or as SB3's RMSpropTFLike, which adds epsilon under the root."""

    def __init__(self, block: Block, settings: dict[str, Any], *, root_first: bool) -> None:
        self._block = block
        self._alpha = settings["alpha"]
        self._eps = settings["eps"]
        self._root_first = root_first

    def move(self, rates: Rates, _steps: Float[np.ndarray, "runs tensors"], /) -> None:
        block, gradients = self._block, self._block.gradients
        squares = block.moments["square_avg"]
        squares.mul_(self._alpha).addcmul_(gradients, gradients, value=1 - self._alpha)
        root = squares.sqrt().add_(self._eps) if self._root_first else squares.add(self._eps).sqrt_()
        block.parameters.addcdiv_(gradients * _per_element(block, rates), root, value=-1)


def _per_element(block: Block, values: Rates) -> torch.Tensor:
    return block.layout.expand(torch.from_numpy(values.astype(np.float32)).to(block.device))
