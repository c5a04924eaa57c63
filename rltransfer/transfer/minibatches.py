"""Changes the minibatches that an off-policy agent learns from; its replay buffer stays what it is."""

import functools
from typing import TYPE_CHECKING, Any, Protocol

from rltransfer.records import Check
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.overlay import lay_over, lift

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class SourceMix(Protocol):
    """Gives minibatches of which a share comes from a source."""

    transitions: Any

    def share(self, steps: int) -> float:
        """Returns the source's share, so many env_steps after the transfer."""

    def mixed(self, buffer: Any, batch_size: int, env: Any, steps: int) -> Any:
        """Returns a minibatch of which the source's share comes from its transitions, and the rest from a buffer."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the generator's state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the generator."""


class Augmenting(Protocol):
    """Changes observations at random."""

    def changed(self, observations: Any) -> Any:
        """Returns a batch of observations as it is seen this time."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the generator's state."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the generator."""


class Minibatches(HeldCallback):
    """Mixes transitions of the source into each minibatch, then augments it: the state and the next one apart (DrQ).

    The buffer's ``sample`` is laid over, and what is saved of it is SB3's alone. A buffer that is put in its place
    between two calls of ``learn`` is used from the next on.

    Attributes:
        replay: What gives the source's transitions, None for none.
        augmentation: What changes observations, None for nothing.
    """

    def __init__(self, agent: Any, elapsed: ElapsedSteps) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._agent = agent
        self.replay: SourceMix | None = None
        self.augmentation: Augmenting | None = None
        self._before = int(agent._n_updates)
        self._n_drawn = 0
        self._lay()

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-check: an update from a minibatch that did not come from here was not as planned."""
        n_updates = int(self._agent._n_updates) - self._before
        detail = f"{self._n_drawn:,} minibatches in {n_updates:,} updates"
        return (Check(name="minibatches drawn as planned", passed=self._n_drawn >= n_updates, detail=detail),)

    def state_dict(self) -> dict[str, Any]:
        """Returns the generators' states and the counts."""
        return {
            "replay": None if self.replay is None else self.replay.state_dict(),
            "augmentation": None if self.augmentation is None else self.augmentation.state_dict(),
            "before": self._before,
            "n_drawn": self._n_drawn,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._before, self._n_drawn = state["before"], state["n_drawn"]
        if self.replay is not None:
            self.replay.load_state_dict(state["replay"])
        if self.augmentation is not None:
            self.augmentation.load_state_dict(state["augmentation"])
        self._lay()

    def _lay(self) -> None:
        buffer = self._agent.replay_buffer
        lay_over(buffer, {"sample": functools.partial(self._sample, buffer)})

    def _on_training_start(self) -> None:
        self._lay()

    def _on_rollout_end(self) -> None:
        if self.replay is not None:
            self.logger.record("transfer/source_share", self.replay.share(self._elapsed.steps))

    def _sample(self, buffer: Any, batch_size: int, env: Any = None) -> Any:
        self._n_drawn += 1
        if self.replay is None:
            drawn = type(buffer).sample(buffer, batch_size, env=env)
        else:
            drawn = self.replay.mixed(buffer, batch_size, env, self._elapsed.steps)
        if self.augmentation is None:
            return drawn
        return drawn._replace(
            observations=self.augmentation.changed(drawn.observations),
            next_observations=self.augmentation.changed(drawn.next_observations),
        )


def remove_minibatches(agent: "BaseAlgorithm") -> None:
    """Gives an agent's replay buffer its own ``sample`` back."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        lift(buffer, ["sample"])
