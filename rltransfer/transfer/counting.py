"""Counts every env_step that is not the agent's own, so that budgets, schedules and curves know of it."""

from collections.abc import Callable, Mapping
from typing import Any

from rltransfer.records import Check
from rltransfer.transfer.holding import Holding

OF_STATISTICS = "running statistics"
"""Who takes the steps on which running statistics are recomputed; all others are the source's."""


class CountSteps(Holding):
    """Adds the steps that others take in environments to the agent's env_steps, before anything looks at these.

    Args:
        taken: Says how many steps were taken so far, by who takes them.
    """

    needs_callbacks = "the source's steps are not counted"

    def __init__(self, taken: Mapping[str, Callable[[], int]]) -> None:
        super().__init__()
        self._taken = dict(taken)
        self._counted = dict.fromkeys(taken, 0)

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-check."""
        now = {who: taken() for who, taken in self._taken.items()}
        left = sum(now.values()) - sum(self._counted.values())
        detail = ", ".join(f"{who} {steps:,}" for who, steps in now.items()) + (f"; {left:,} are not" if left else "")
        whose = "steps beside training" if OF_STATISTICS in now else "the source's steps"
        return (Check(name=f"{whose} counted as env_steps", passed=left == 0, detail=detail),)

    def state(self) -> dict[str, Any]:
        """Returns what is counted."""
        return dict(self._counted)

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up the counts."""
        self._counted = dict(state)

    def _on_step(self) -> bool:
        now = {who: taken() for who, taken in self._taken.items()}
        self.model.num_timesteps += sum(now.values()) - sum(self._counted.values())
        self._counted = now
        self.num_timesteps = self.model.num_timesteps
        return True

    def _on_rollout_end(self) -> None:
        self.logger.record("transfer/source_steps", sum(self._counted.values()))
