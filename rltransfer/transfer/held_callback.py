"""The base class of callbacks that hold a plan on an agent, with a state dict so that runs can be resumed."""

from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from rltransfer.records import Check


class HeldCallback(BaseCallback):
    """A part of a held plan: a callback of SB3 that can also be checked, saved and loaded.

    What a holding does follows from the plan and the agent's beginning; ``state`` is only what changes in training.

    Attributes:
        needs_callbacks: What goes wrong where ``learn`` does not get the transfer's callbacks; empty if nothing does.
    """

    needs_callbacks = ""

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks as they stand now."""
        return ()

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-checks of what stands in the agent's environments, which ``set_env`` leaves behind."""
        return ()

    def state_dict(self) -> dict[str, Any]:
        """Returns what has changed since the beginning: numbers, arrays, tensors and containers of them."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned, in a run that was built again as it began."""

    def _on_step(self) -> bool:
        return True
