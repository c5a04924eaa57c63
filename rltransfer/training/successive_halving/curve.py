"""The evaluation curve of a race: of the leader, the agent that would be used if one had to be."""

from pathlib import Path
from typing import Any

from rltransfer.training.callbacks import CurveCallback, Subject
from rltransfer.training.successive_halving.candidates import Field
from rltransfer.transfer.counting import quiet_until


class LeaderCurve(CurveCallback):
    """Evaluates the leader, over the env_steps of all agents.

    Args:
        field: The agents and how they stand.
        folder: The run folder.
        settings: How to evaluate, as for the curve of one agent.
    """

    best_name = ""

    def __init__(self, field: Field, folder: Path, **settings: Any) -> None:
        self._field = field
        super().__init__(folder, self.subject().env, **settings)

    def subject(self) -> Subject:
        """Returns the leader."""
        leader = self._field.leader
        quiet = quiet_until(leader.transfer.plan)
        return Subject(leader.agent, leader.prepared.eval_env, self._field.env_steps, quiet, leader.label)

    def _on_training_end(self) -> None:
        """Waits for the end of the race."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the curve so far, and the best agent with its name."""
        return super().state_dict() | {"best_name": self.best_name}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads an earlier curve, and writes it."""
        super().load_state_dict(state)
        self.best_name = state["best_name"]

    def _keep_best(self, subject: Subject) -> None:
        super()._keep_best(subject)
        self.best_name = subject.name
