"""What the plans of a block's runs ask of its next steps: frozen, held and pulled tensors, and scaled rates."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from rltransfer.training.batched.block import Block
from rltransfer.transfer.optimizer_hooks import Pull, StepRules, WatchHeld, is_plan_hook, step_rules
from rltransfer.transfer.training_warnings import WarnOfTrouble

_WATCHING = (WatchHeld, WarnOfTrouble)
"""Hooks that look at an agent before its step and change nothing."""


def foreign_hook(agent: Any) -> str | None:
    """Returns what takes part in an agent's steps that is not a plan's rates, holds and pulls; None for nothing."""
    optimizer = agent.policy.optimizer
    hooks = (*optimizer._optimizer_step_pre_hooks.values(), *optimizer._optimizer_step_post_hooks.values())
    owners = [getattr(hook, "__self__", hook) for hook in hooks if not is_plan_hook(hook)]
    for owner in owners:
        if not isinstance(owner, _WATCHING):
            return f"{type(owner).__name__} takes part in the steps of its optimizer"
    return "low-rank updates move some of its layers" if step_rules(optimizer).is_moved_otherwise else None


class BlockRules:
    """The rules of a block's runs, as arrays per run and tensor.

    Attributes:
        trains: Which tensors get a gradient: SB3's clipping does not count those that are frozen.
        steps: Which of them the optimizer moves: the others keep their values and states to the last bit.
        scales: The factors of their learning rates.
    """

    def __init__(self, block: Block) -> None:
        self._block = block
        shape = block.steps.shape
        self.trains: Bool[np.ndarray, "runs tensors"] = np.ones(shape, dtype=bool)
        self.steps: Bool[np.ndarray, "runs tensors"] = np.ones(shape, dtype=bool)
        self.scales: Float[np.ndarray, "runs tensors"] = np.ones(shape)
        self._pulled: dict[tuple[int, int], tuple[Pull, bool]] = {}
        self._anchors: torch.Tensor | None = None
        self._strengths: torch.Tensor | None = None
        self._frozen: torch.Tensor | None = None

    def read(self) -> None:
        """Reads the rules of the updates that follow the rollouts of now."""
        pulled = {}
        for row, agent in enumerate(self._block.agents):
            optimizer = agent.policy.optimizer
            for hook in optimizer._optimizer_step_pre_hooks.values():
                if isinstance(getattr(hook, "__self__", None), _WATCHING):
                    hook(optimizer)
            rules = step_rules(optimizer)
            for index, parameter in enumerate(self._block.tensors[row]):
                self._read_tensor(row, index, parameter, rules)
                if parameter in rules.pulls:
                    pulled[row, index] = (rules.pulls[parameter], bool(self.steps[row, index]))
        if pulled != self._pulled:
            self._take_pulls(pulled)
        mask = torch.from_numpy(~self.trains).to(self._block.device)
        self._frozen = None if self.trains.all() else self._block.layout.expand(mask)

    @property
    def is_alike(self) -> bool:
        """Whether the tensors of each run step together, by one rate."""
        rows = (self.steps, self.scales, self._block.steps)
        return all(bool((array == array[:, :1]).all()) for array in rows)

    def trained_names(self) -> frozenset[str]:
        """Returns the parameters that are not frozen in every run."""
        is_trained = self.trains[: len(self._block.agents)].any(0)
        return frozenset(np.array(self._block.layout.names)[is_trained].tolist())

    def drop_frozen(self) -> None:
        """Clears the gradients of what is frozen, which stock SB3 does not compute."""
        if self._frozen is not None:
            self._block.gradients.masked_fill_(self._frozen, 0.0)

    def add_pulls(self) -> None:
        """Adds the pulls to the gradients."""
        if self._anchors is not None and self._strengths is not None:
            self._block.gradients.addcmul_(self._block.parameters - self._anchors, self._strengths)

    def _read_tensor(self, row: int, index: int, parameter: torch.Tensor, rules: StepRules) -> None:
        self.trains[row, index] = parameter.requires_grad
        self.steps[row, index] = parameter.requires_grad and parameter not in rules.held
        self.scales[row, index] = rules.scales.get(parameter, 1.0)

    def _take_pulls(self, pulled: dict[tuple[int, int], tuple[Pull, bool]]) -> None:
        block = self._block
        self._pulled = pulled
        # Where nothing pulls, a pull of strength zero changes no bit.
        self._anchors, self._strengths = torch.zeros_like(block.parameters), torch.zeros_like(block.parameters)
        for (row, index), (pull, steps) in pulled.items():
            block.layout.single(self._anchors, row, index).copy_(pull.anchor)
            if steps:
                block.layout.single(self._strengths, row, index).copy_(pull.strength)
