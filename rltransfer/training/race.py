"""Runs the strategy ``auto``: trains several agents in turn, stops the hopeless, and goes on with the best.

The agents are trained one slice after the other, each as it would be alone: with its own environments, optimizer and
random numbers. The curve shows the leader, the agent that would be used if one had to be; its env_steps are those of
all agents together, with the episodes that were played to judge them.
"""

import contextlib
import dataclasses
import math
import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.config import RunConfig
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check, Episodes, RaceFacts, SourceFacts, Trial
from rltransfer.strategies import Auto, Strategy, dump_strategy, strategy_label
from rltransfer.training.agents import learn_arguments
from rltransfer.training.callbacks import CurveCallback, Subject
from rltransfer.training.evaluation import derived_seed, evaluate_agent
from rltransfer.training.prepare import Prepared, prepare
from rltransfer.training.scoring import score_best, score_last, score_random, score_start
from rltransfer.transfer import Transfer, apply_plan

_TRIALS = "trials"
_JUDGING = 1 / 3
"""Episodes by which an agent is judged end when they have taken this share of its slice."""


class _PauseError(Exception):
    """Ends ``learn`` between two rollouts, where nothing is half done."""


@dataclasses.dataclass
class _Runner:
    """One agent in the race; ``end`` says how it left it."""

    label: str
    strategy: Strategy
    prepared: Prepared
    transfer: Transfer
    generators: "_Generators"
    scores: list[float] = dataclasses.field(default_factory=list)
    evaluation_steps: int = 0
    end: str = ""

    @property
    def steps(self) -> int:
        """Its env_steps, those of a source that acts for it included."""
        return int(self.prepared.agent.num_timesteps)

    @property
    def spent(self) -> int:
        """What it cost, with the episodes by which it was judged."""
        return self.steps + self.evaluation_steps


class Race:
    """The agents of one run of ``auto``, and how far they are.

    Args:
        config: The run.
        folder: Its folder.
        say: Receives a line whenever an agent is judged.
    """

    def __init__(self, config: RunConfig, folder: Path, say: Callable[[str], None]) -> None:
        part = config.strategy[0]
        assert isinstance(part, Auto)
        self._config = config
        self._folder = folder
        self._say = say
        self._part = part
        self._runners: list[_Runner] = []
        self._left_out: list[Trial] = []

    @contextlib.contextmanager
    def prepared(self) -> Iterator["Race"]:
        """Builds every agent that fits; closes their environments at the end.

        Raises:
            RLTransferError: The source cannot be read, or a strategy that the user named does not fit.
        """
        with contextlib.ExitStack() as stack:
            for strategy in self._part.candidates:
                self._enter(strategy, stack)
            yield self

    def _enter(self, strategy: Strategy, stack: contextlib.ExitStack) -> None:
        label = strategy_label(strategy)
        config = self._config.model_copy(update={"strategy": strategy, "arm": label})
        try:
            prepared = stack.enter_context(prepare(config, monitor_folder=self._folder / _TRIALS / label))
        except IncompatibleError as error:
            if self._part.of is not None or not self._runners:
                raise
            self._left_out.append(Trial(label=label, strategy=dump_strategy(strategy), end=f"does not fit: {error}"))
            self._say(f"{label} is not tried: {error}")
            return
        assert prepared.plan is not None
        transfer = apply_plan(prepared.plan, prepared.agent)
        prepared = dataclasses.replace(prepared, eval_env=transfer.equip(prepared.eval_env))
        prepared.agent.set_logger(Logger(folder=None, output_formats=[]))
        self._runners.append(_Runner(label, strategy, prepared, transfer, _Generators.now()))

    @property
    def source(self) -> SourceFacts | None:
        """The facts of the source."""
        return next((runner.prepared.source for runner in self._runners if runner.prepared.source is not None), None)

    @property
    def env_steps(self) -> int:
        """What all agents cost so far."""
        return sum(runner.spent for runner in self._runners)

    @property
    def leader(self) -> _Runner:
        """The agent with the best score so far; ``scratch``, which is the first, until there is one."""
        judged = [runner for runner in self._runners if runner.scores and not runner.end]
        return max(judged, key=self._rank, default=self._runners[0])

    def run(self, curve: "LeaderCurve") -> _Runner:
        """Lets the agents race, then the winner use up the budget; returns the winner."""
        budget = self._config.n_timesteps
        alive = list(self._runners)
        rounds = max(1, math.ceil(math.log2(len(alive))))
        slice_steps = self._part.share * budget / (rounds * len(alive))
        for round_number in range(rounds):
            if len(alive) == 1:
                break
            for runner in alive:
                before = runner.steps
                self._train(runner, runner.steps + max(1, round(slice_steps)), curve)
                self._judge(runner, runner.steps - before)
            is_last = round_number == rounds - 1 or self.env_steps >= self._part.share * budget
            alive = self._without_hopeless(alive, 1 if is_last else math.ceil(len(alive) / 2), is_last=is_last)
            slice_steps *= 2
        (winner,) = alive
        self._say(f"{winner.label} goes on, after {self.env_steps:,} env_steps of all agents")
        self._train(winner, winner.steps + max(0, budget - self.env_steps), curve, is_last=True)
        curve.finish()
        return winner

    def scores_at_start(self) -> dict[str, Episodes]:
        """Scores a random policy, and ``scratch``, which leads at first."""
        first = self._runners[0].prepared
        scores = score_random(self._config, first.eval_env)
        return scores | score_start(self._config, first.agent, first.eval_env)

    def scores_at_end(self, winner: _Runner, curve: "LeaderCurve") -> dict[str, Episodes]:
        """Scores the winner, and the best agent that led."""
        best = next((runner for runner in self._runners if runner.prepared.agent is curve.best_agent), winner)
        return {
            **score_last(self._config, winner.prepared.agent, winner.prepared.eval_env),
            **score_best(self._config, best.prepared.agent, best.prepared.eval_env, curve.best),
        }

    def facts(self, winner: _Runner) -> RaceFacts:
        """Returns what was tried."""
        tried = [
            Trial(
                label=runner.label,
                strategy=dump_strategy(runner.strategy),
                env_steps=runner.steps,
                evaluation_steps=runner.evaluation_steps,
                scores=tuple(runner.scores),
                end="went on" if runner is winner else runner.end,
            )
            for runner in self._runners
        ]
        return RaceFacts(trials=(*tried, *self._left_out))

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks of every agent that was tried."""
        return tuple(
            check.model_copy(update={"name": f"{runner.label}: {check.name}"})
            for runner in self._runners
            for check in runner.transfer.checks()
        )

    def _train(self, runner: _Runner, until: int, curve: "LeaderCurve", *, is_last: bool = False) -> None:
        """Trains one agent on, to the first moment between two rollouts at which it has this many env_steps."""
        agent = runner.prepared.agent
        if runner.steps >= until:
            return
        outside = _Generators.now()
        runner.generators.put_back()
        # What is stated is what schedules run by: to each agent it is the whole budget, to the winner what it gets.
        total = until if is_last else self._config.n_timesteps
        pause: list[BaseCallback] = [] if is_last else [_PauseAt(until)]
        with contextlib.suppress(_PauseError):
            agent.learn(
                total - runner.steps,
                callback=[*pause, *runner.transfer.callbacks, curve],
                reset_num_timesteps=runner.steps == 0,
                **learn_arguments(self._config.algo, _env_of(runner)),
            )
        runner.generators = _Generators.now()
        outside.put_back()

    def _judge(self, runner: _Runner, slice_steps: float) -> None:
        """Plays episodes of the agent as it is now, fewer where they are long: training episodes are of older ones."""
        returns: list[float] = []
        limit = runner.evaluation_steps + _JUDGING * slice_steps
        while len(returns) < self._part.episodes and (not returns or runner.evaluation_steps < limit):
            played = evaluate_agent(
                runner.prepared.agent,
                runner.prepared.eval_env,
                episodes=1,
                seed=derived_seed(self._config.seed, f"judge {len(runner.scores)} {len(returns)}"),
                deterministic=tasks.evaluates_deterministically(self._config.task.env),
            )
            returns.append(played.mean_return)
            runner.evaluation_steps += played.episode_lengths[0]
        runner.scores.append(float(np.mean(returns)))
        self._say(
            f"{runner.label}: {runner.scores[-1]:.2f} in {len(returns)} episodes after {runner.steps:,} env_steps of "
            "its own"
        )

    def _rank(self, runner: _Runner) -> tuple[float, bool]:
        """Returns what agents are compared by; of equal ones ``scratch`` is the last."""
        return runner.scores[-1], runner is not self._runners[0]

    def _without_hopeless(self, alive: Sequence[_Runner], keep: int, *, is_last: bool) -> list[_Runner]:
        ranked = sorted(alive, key=self._rank, reverse=True)
        kept = ranked[:keep]
        if not is_last and self._runners[0] not in kept:
            kept.append(self._runners[0])
        for place, runner in enumerate(ranked):
            if runner not in kept:
                runner.end = f"stopped as {place + 1} of {len(ranked)}"
        return [runner for runner in alive if runner in kept]


class LeaderCurve(CurveCallback):
    """The evaluation curve of a race: of the leader, over the env_steps of all agents."""

    best_agent: Any = None

    def __init__(self, race: Race, folder: Path, **settings: Any) -> None:
        self._race = race
        super().__init__(folder, self.subject().env, **settings)

    def subject(self) -> Subject:
        """Returns the leader."""
        leader = self._race.leader
        quiet = leader.transfer.plan.quiet_steps or 0
        return Subject(leader.prepared.agent, leader.prepared.eval_env, self._race.env_steps, quiet)

    def _on_training_start(self) -> None:
        if not self._points:
            super()._on_training_start()

    def _on_training_end(self) -> None:
        """Waits for the end of the race."""

    def _keep_best(self, subject: Subject) -> None:
        super()._keep_best(subject)
        self.best_agent = subject.agent


class _PauseAt(BaseCallback):
    def __init__(self, until: int) -> None:
        super().__init__()
        self._until = until

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._until:
            raise _PauseError

    def _on_step(self) -> bool:
        return True


@dataclasses.dataclass(frozen=True)
class _Generators:
    """The states of the generators that SB3 draws from, which are the process's."""

    python: Any
    numpy: Any
    torch: torch.Tensor

    @classmethod
    def now(cls) -> "_Generators":
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state())

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)


def collect_monitors(folder: Path) -> None:
    """Puts the monitor files of all agents of a race beside each other into its folder, as other runs have theirs."""
    place = folder / _TRIALS
    for path in sorted(place.glob("*/*monitor.csv")):
        path.rename(folder / f"{path.parent.name}.{path.name}")
    for empty in [*place.iterdir(), place]:
        empty.rmdir()


def _env_of(runner: _Runner) -> VecEnv:
    env = runner.prepared.agent.get_env()
    assert env is not None
    return env
