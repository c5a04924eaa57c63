"""Trains one agent of a race at a time, each as it would be alone, and saves the whole race meanwhile."""

import contextlib
from pathlib import Path
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from rltransfer.training.agents import learn_arguments
from rltransfer.training.resume.rewind import MonitorFiles
from rltransfer.training.resume.rng_state import load_rng_state_dict, rng_state_dict
from rltransfer.training.resume.run_state import Stateful
from rltransfer.training.session import Session
from rltransfer.training.successive_halving.candidates import Field, Runner
from rltransfer.training.successive_halving.curve import LeaderCurve

_RUNNING = ("scores", "evaluation_steps", "end", "slice", "generators")


class RaceState:
    """All that changes in a race, to be saved with a run; ``current`` is the agent that is being trained.

    Args:
        field: The agents and how they stand.
        curve: The curve of the leader.
        folder: The run folder.
    """

    def __init__(self, field: Field, curve: LeaderCurve, folder: Path) -> None:
        self._field = field
        self._parts: dict[str, Stateful] = {"monitor": MonitorFiles(folder), "curve": curve}
        self.current = field.runners[0]

    @property
    def env_steps(self) -> int:
        """What all agents have cost so far."""
        return self._field.env_steps

    def rollout_ends(self) -> None:
        """Does nothing: agents that change without a gradient do not race."""

    def state_dict(self) -> dict[str, Any]:
        """Returns the state."""
        field = self._field
        runs = {runner.label: runner.run.state_dict() for runner in field.runners}
        return {
            "exact": all(run["exact"] for run in runs.values()),
            "runs": runs,
            "runners": {runner.label: {name: getattr(runner, name) for name in _RUNNING} for runner in field.runners},
            "alive": [runner.label for runner in field.alive],
            "round": field.round,
            "slice_steps": field.slice_steps,
            "current": self.current.label,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
        }

    def load_all(self, state: dict[str, Any]) -> None:
        """Loads the whole race, before any agent is trained."""
        field = self._field
        for runner in field.runners:
            runner.run.load_state_dict(state["runs"][runner.label])
            for name, value in state["runners"][runner.label].items():
                setattr(runner, name, value)
        field.alive = [runner for runner in field.runners if runner.label in state["alive"]]
        field.round, field.slice_steps = state["round"], state["slice_steps"]
        self._parts["curve"].load_state_dict(state["parts"]["curve"])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the agent that was being trained."""
        self.current.run.load_state_dict(state["runs"][self.current.label])
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])

    def load_random_state_dict(self, state: dict[str, Any]) -> None:
        """Loads its random numbers."""
        self.current.run.load_random_state_dict(state["runs"][self.current.label])


class Trainer:
    """Trains one agent of a race at a time; the first one of a session goes on where an earlier session was.

    Args:
        session: The work on the run that the race is.
        state: What is saved with it.
        curve: The curve of the leader.
    """

    def __init__(self, session: Session, state: RaceState, curve: LeaderCurve) -> None:
        self._session = session
        self._state = state
        self._curve = curve
        self._begin = session.begin

    def train(self, runner: Runner, until: int, *, is_last: bool = False) -> None:
        """Trains an agent on, to the first moment between two rollouts at which it has this many env_steps."""
        config = self._session.config
        if runner.steps >= until and self._begin is None:
            return
        outside = rng_state_dict()
        load_rng_state_dict(None, runner.generators)
        # What is stated is what schedules run by: to each agent it is the whole budget, to the winner what it gets.
        total = until if is_last else config.n_timesteps
        pause: list[BaseCallback] = [] if is_last else [_PauseAt(until)]
        self._state.current = runner
        saver = self._session.saver(self._state, self._begin)
        self._begin = None
        with contextlib.suppress(_PauseError), self._session.stopping_at_rollouts():
            runner.agent.learn(
                total - runner.steps,
                callback=[*pause, saver, *runner.transfer.callbacks, self._curve],
                reset_num_timesteps=runner.steps == 0,
                **learn_arguments(config.algo, runner.env),
            )
        runner.generators = rng_state_dict()
        load_rng_state_dict(None, outside)


class _PauseError(Exception):
    """Ends ``learn`` between two rollouts, where nothing is half done."""


class _PauseAt(BaseCallback):
    def __init__(self, until: int) -> None:
        super().__init__()
        self._until = until

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._until:
            raise _PauseError

    def _on_step(self) -> bool:
        return True
