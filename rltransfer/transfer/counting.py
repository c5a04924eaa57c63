"""Counts every env_step that is not the agent's own, so that budgets, schedules and curves know of it."""

from collections.abc import Callable, Mapping
from typing import Any

from rltransfer.records import Check
from rltransfer.strategies import acting
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.plan import Plan

OF_STATISTICS = "running statistics"
"""Who takes the steps on which running statistics are recomputed; all others are the source's."""
OF_IMPORTANCE = "importance"
"""Who takes the steps on which the source shows what matters to it."""
_BEFORE_TRAINING = (OF_STATISTICS, OF_IMPORTANCE)


def steps_before_training(plan: Plan) -> int:
    """Returns the env_steps that applying a plan takes: they are paid for, and the agent learns nothing in them."""
    return plan.statistics_steps + sum(settings.steps_before_training for settings in acting(plan.strategy))


def quiet_until(plan: Plan) -> int:
    """Returns up to which of its env_steps no update of an agent counts, by SB3's count."""
    return plan.quiet_steps + steps_before_training(plan) if plan.quiet_steps else 0


class CountSteps(HeldCallback):
    """Adds the steps that others take in environments to the agent's env_steps, before anything looks at these.

    Steps before training are no training: the count since the transfer leaves them out, and the ``learning_starts`` of
    an off-policy agent are raised by them, in each call of ``learn`` whose count includes them, until they are over.
    Then they are what they were, so that no zip of a trained agent has other ones.

    Args:
        taken: Says how many steps were taken so far, by who takes them.
        elapsed: The agent's env_steps since the transfer.
        counted_before: The steps before training that were counted when the plan was held before.
    """

    needs_callbacks = "the source's steps are not counted"

    def __init__(
        self, taken: Mapping[str, Callable[[], int]], elapsed: ElapsedSteps, *, counted_before: int = 0
    ) -> None:
        super().__init__()
        self._taken = dict(taken)
        self._counted = dict.fromkeys(taken, 0)
        self._elapsed = elapsed
        self._counted_before = counted_before
        self._raised = 0
        if not taken:
            self.needs_callbacks = ""

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-check."""
        if not self._taken:
            return ()
        now = {who: taken() for who, taken in self._taken.items()}
        left = sum(now.values()) - sum(self._counted.values())
        detail = ", ".join(f"{who} {steps:,}" for who, steps in now.items()) + (f"; {left:,} are not" if left else "")
        whose = "steps beside training" if OF_STATISTICS in now else "the source's steps"
        return (Check(name=f"{whose} counted as env_steps", passed=left == 0, detail=detail),)

    def state_dict(self) -> dict[str, Any]:
        """Returns what is counted."""
        return dict(self._counted)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the counts."""
        self._counted = dict(state)

    def _on_training_start(self) -> None:
        # Left raised by a call that an exception ended.
        self._lower()
        agent: Any = self.model
        starts = getattr(agent, "learning_starts", 0)
        counted = self._counted_before + sum(self._counted.get(who, 0) for who in _BEFORE_TRAINING)
        if agent.num_timesteps < counted + self._elapsed.steps:
            # SB3's count was reset since then.
            counted = 0
        if starts and agent.num_timesteps <= starts + counted:
            left = sum(self._taken[who]() - self._counted[who] for who in _BEFORE_TRAINING if who in self._taken)
            self._raised = counted + left
            agent.learning_starts = starts + self._raised

    def _on_step(self) -> bool:
        new = {who: taken() - self._counted[who] for who, taken in self._taken.items()}
        self._elapsed.skip(sum(new.get(who, 0) for who in _BEFORE_TRAINING))
        self.model.num_timesteps += sum(new.values())
        self._counted = {who: self._counted[who] + steps for who, steps in new.items()}
        self.num_timesteps = self.model.num_timesteps
        if self._raised and self.num_timesteps > getattr(self.model, "learning_starts", 0):
            self._lower()
        return True

    def _on_rollout_end(self) -> None:
        if self._taken:
            self.logger.record("transfer/source_steps", sum(self._counted.values()))

    def _on_training_end(self) -> None:
        self._lower()

    def _lower(self) -> None:
        if self._raised:
            agent: Any = self.model
            agent.learning_starts -= self._raised
            self._raised = 0
