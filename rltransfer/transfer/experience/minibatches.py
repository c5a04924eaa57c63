"""Changes the minibatches that an off-policy agent learns from; its replay buffer stays what it is."""

import functools
from typing import TYPE_CHECKING, Any

from rltransfer.records import Check
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.experience.augment import Augmentation
from rltransfer.transfer.experience.overlay import lay_over, lift
from rltransfer.transfer.experience.replay import SourceReplay
from rltransfer.transfer.holding import Holding

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class Minibatches(Holding):
    """Mixes transitions of the source into each minibatch, then augments it: the state and the next one apart (DrQ).

    The buffer's ``sample`` is laid over, and what is saved of it is SB3's alone. A buffer that is put in its place
    between two calls of ``learn`` is taken up at the next.
    """

    def __init__(
        self, agent: Any, replay: SourceReplay | None, augmentation: Augmentation | None, elapsed: ElapsedSteps
    ) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._agent = agent
        self._replay = replay
        self._augmentation = augmentation
        self._before = int(agent._n_updates)
        self._n_drawn = 0
        self._lay()

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-check: an update from a minibatch that did not come from here was not as planned."""
        n_updates = int(self._agent._n_updates) - self._before
        detail = f"{self._n_drawn:,} minibatches in {n_updates:,} updates"
        return (Check(name="minibatches drawn as planned", passed=self._n_drawn >= n_updates, detail=detail),)

    def state(self) -> dict[str, Any]:
        """Returns the generators' states and the counts."""
        return {
            "replay": None if self._replay is None else self._replay.state(),
            "augmentation": None if self._augmentation is None else self._augmentation.state(),
            "before": self._before,
            "n_drawn": self._n_drawn,
        }

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up what ``state`` returned."""
        self._before, self._n_drawn = state["before"], state["n_drawn"]
        if self._replay is not None:
            self._replay.put_back(state["replay"])
        if self._augmentation is not None:
            self._augmentation.put_back(state["augmentation"])
        self._lay()

    def _lay(self) -> None:
        buffer = self._agent.replay_buffer
        lay_over(buffer, {"sample": functools.partial(self._sample, buffer)})

    def _on_training_start(self) -> None:
        self._lay()

    def _on_rollout_end(self) -> None:
        if self._replay is not None:
            self.logger.record("transfer/source_share", self._replay.share(self._elapsed.steps))

    def _sample(self, buffer: Any, batch_size: int, env: Any = None) -> Any:
        self._n_drawn += 1
        if self._replay is None:
            drawn = type(buffer).sample(buffer, batch_size, env=env)
        else:
            drawn = self._replay.mixed(buffer, batch_size, env, self._elapsed.steps)
        if self._augmentation is None:
            return drawn
        return drawn._replace(
            observations=self._augmentation.changed(drawn.observations),
            next_observations=self._augmentation.changed(drawn.next_observations),
        )


def remove_minibatches(agent: "BaseAlgorithm") -> None:
    """Gives an agent's replay buffer its own ``sample`` back."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None:
        lift(buffer, ["sample"])
