"""The callback that saves a run, stops it when asked, and resumes it, between rollouts.

Between rollouts no update is unfinished, on-policy buffers are empty, and every transition is stored. SB3 may have
drawn noise for the rollout before its callbacks are called, so random numbers are loaded once more at that moment.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rltransfer.errors import Stopped
from rltransfer.training.agents import refuse_broken_weights

LEAST_SECONDS = 20.0
"""By the clock, a run is saved no more often than this ..."""
LEAST_RATIO = 100.0
"""... and so seldom that no more than a hundredth of its time goes into it, however large its replay buffer is."""
_STEPS_BETWEEN_LOOKS = 1000


class Saved(Protocol):
    """All that changes in a run of one agent, or of several."""

    @property
    def env_steps(self) -> int:
        """What it has cost so far."""
        ...

    def rollout_ends(self) -> None:
        """Is told when a rollout ends."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns the state."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a state, before the first rollout."""
        ...

    def load_random_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the random numbers of a state, after SB3 has drawn the noise of the first rollout."""
        ...


@dataclasses.dataclass
class Pace:
    """Says when to save: by env_steps where a frequency is given, by the clock otherwise."""

    checkpoint_freq: int | None
    last: int = 0
    not_before: float = dataclasses.field(default_factory=lambda: time.monotonic() + LEAST_SECONDS)

    def is_due(self, env_steps: int) -> bool:
        """Returns whether it is time."""
        if self.checkpoint_freq is not None:
            return env_steps // self.checkpoint_freq > self.last // self.checkpoint_freq
        return time.monotonic() >= self.not_before

    def saved(self, env_steps: int, seconds: float) -> None:
        """Takes note of a save that took some seconds."""
        self.last = env_steps
        self.not_before = time.monotonic() + max(LEAST_SECONDS, LEAST_RATIO * seconds)


class SaveRun(BaseCallback):
    """Saves, stops and resumes a run; the first of its callbacks, so that the others begin each rollout after it.

    Args:
        run: The run's state.
        save: Writes the state of so many env_steps.
        pace: When to save.
        stop: Asked at each step whether the run is to stop.
        begin: The state to go on from.
    """

    def __init__(
        self,
        run: Saved,
        save: Callable[[int, dict[str, Any]], None],
        *,
        pace: Pace,
        stop: Callable[[], bool],
        begin: dict[str, Any] | None,
    ) -> None:
        super().__init__()
        self._run = run
        self._save = save
        self._pace = pace
        self._stop = stop
        self._begin = begin
        self._stops = False
        self._looked = 0

    def _on_training_start(self) -> None:
        if self._begin is not None:
            self._run.load_state_dict(self._begin)
            self.num_timesteps = self._looked = self.model.num_timesteps
            self._pace.last = self._run.env_steps

    def _on_rollout_start(self) -> None:
        self._stops = self._stops or self._stop()
        if self._begin is not None:
            self._run.load_random_state_dict(self._begin)
            self._begin = None
            # What was put back is saved already.
            is_due = False
        else:
            is_due = self._stops or self._pace.is_due(self._run.env_steps)
        if is_due or self._looks_now():
            refuse_broken_weights(self.model)
        self._save_or_stop(is_due)

    def _on_training_end(self) -> None:
        # What comes now, the last evaluation and the scores, begins again after an interruption.
        is_due = self._begin is None and (self._stops or self._pace.is_due(self._run.env_steps))
        if is_due:
            refuse_broken_weights(self.model)
        self._save_or_stop(is_due)

    def _save_or_stop(self, is_due: bool) -> None:
        if is_due:
            started = time.monotonic()
            self._save(self._run.env_steps, self._run.state_dict())
            self._pace.saved(self._run.env_steps, time.monotonic() - started)
        if self._stops:
            raise Stopped(f"stopped after {self._run.env_steps:,} env_steps")

    def _on_step(self) -> bool:
        self._stops = self._stops or self._stop()
        return True

    def _on_rollout_end(self) -> None:
        self._run.rollout_ends()

    def _looks_now(self) -> bool:
        """Returns whether to look at the weights: off-policy agents begin a rollout every few steps."""
        if isinstance(self.model, OnPolicyAlgorithm):
            return True
        if self.num_timesteps - self._looked < _STEPS_BETWEEN_LOOKS:
            return False
        self._looked = self.num_timesteps
        return True
