"""Warns of training that is not as planned, as soon as it shows."""

import warnings
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.callbacks import BaseCallback

from rltransfer.records import Check
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.optimizer_hooks import agent_optimizers, remove_hooks

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.hold import Transfer


class WarnOfTrouble(BaseCallback):
    """Warns of failed self-checks, of a call of ``learn`` without the callbacks, and of one of another agent with them.

    Args:
        agent: The agent that a plan is held on.
        held: What is held on it: a call without callbacks matters where one of them needs these.
    """

    transfer: "Transfer"

    def __init__(self, agent: "BaseAlgorithm", held: Iterable[HeldCallback]) -> None:
        super().__init__()
        self._agent = agent
        self._call = agent.start_time
        self._lost = list(dict.fromkeys(callback.needs_callbacks for callback in held if callback.needs_callbacks))
        for optimizer in agent_optimizers(agent).values():
            remove_hooks(optimizer._optimizer_step_pre_hooks, WarnOfTrouble)
            if self._lost:
                optimizer.register_step_pre_hook(self.before_step)

    def before_step(self, *_: Any) -> None:
        """Warns at the first update of a call of ``learn`` that these callbacks know nothing of."""
        if self._agent.start_time != self._call:
            self._call = self._agent.start_time
            warnings.warn(
                f"learn() was called without the transfer's callbacks: {', '.join(self._lost)}. Call "
                "agent.learn(..., callback=transfer.callbacks).",
                stacklevel=2,
            )

    def _init_callback(self) -> None:
        self._call = self._agent.start_time

    def _on_training_start(self) -> None:
        if self.model is not self._agent:
            warnings.warn(
                "These callbacks belong to a transfer to another agent, and nothing of its plan is held on this one: "
                "call transfer = hold_plan(plan, agent, done_steps=N), and pass transfer.callbacks.",
                stacklevel=2,
            )
        _warn_of_failed(self.transfer.environment_checks())

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        _warn_of_failed(self.transfer.checks())


def _warn_of_failed(checks: Iterable[Check]) -> None:
    for check in checks:
        if not check.passed:
            warnings.warn(f"Transfer check failed: {check.name}: {check.detail}", stacklevel=3)
