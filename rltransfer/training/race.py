"""Runs the strategy ``auto``: trains several agents in turn, stops the hopeless, and goes on with the best.

The agents are trained one slice after the other, each as it would be alone: with its own environments, optimizer and
random numbers. The curve shows the leader, the agent that would be used if one had to be; its env_steps are those of
all agents together, with the episodes that were played to judge them.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
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
from rltransfer.training.rewind import MonitorFiles
from rltransfer.training.saving import Part, RunState
from rltransfer.training.scoring import score_best, score_last, score_random, score_start
from rltransfer.training.session import Session
from rltransfer.training.state import put_generators, take_generators, undisturbed
from rltransfer.transfer import Transfer, apply_plan

_RUNNING = ("scores", "evaluation_steps", "end", "slice", "generators")
_JUDGING = 1 / 3
"""Episodes by which an agent is judged end when they have taken this share of its slice."""


class _PauseError(Exception):
    """Ends ``learn`` between two rollouts, where nothing is half done."""


@dataclasses.dataclass
class _Runner:
    """One agent in the race; ``end`` says how it left it, ``slice`` from where to where it trains in a round."""

    label: str
    strategy: Strategy
    prepared: Prepared
    transfer: Transfer
    generators: dict[str, Any]
    run: RunState
    scores: list[float] = dataclasses.field(default_factory=list)
    evaluation_steps: int = 0
    end: str = ""
    slice: tuple[int, int] | None = None

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
        session: The work on the run that it is.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._config: RunConfig = session.config
        self._say = session.say
        part = self._config.strategy[0]
        assert isinstance(part, Auto)
        self._part = part
        self._runners: list[_Runner] = []
        self._left_out: list[Trial] = []
        self._alive: list[_Runner] = []
        self._round = 0
        self._slice_steps = 0.0

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
            prepared = stack.enter_context(
                prepare(config, monitor_folder=self._session.folder, monitor_prefix=f"{label}.")
            )
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
        run = RunState(prepared.agent, {"transfer": transfer}, seed=self._config.seed)
        self._runners.append(_Runner(label, strategy, prepared, transfer, take_generators(), run))

    @property
    def source(self) -> SourceFacts | None:
        """The facts of the source."""
        return next((runner.prepared.source for runner in self._runners if runner.prepared.source is not None), None)

    @property
    def env_steps(self) -> int:
        """What all agents cost so far."""
        return sum(runner.spent for runner in self._runners)

    @property
    def n_updates(self) -> int:
        """The updates of all agents so far, by SB3's count."""
        return sum(int(runner.prepared.agent._n_updates) for runner in self._runners)

    @property
    def leader(self) -> _Runner:
        """The agent with the best score so far; ``scratch``, which is the first, until there is one."""
        judged = [runner for runner in self._runners if runner.scores and not runner.end]
        return max(judged, key=self._rank, default=self._runners[0])

    @property
    def agents(self) -> list[BaseAlgorithm]:
        """All agents."""
        return [runner.prepared.agent for runner in self._runners]

    @property
    def envs(self) -> list[VecEnv]:
        """The environments that they are trained and evaluated on."""
        return [env for runner in self._runners for env in (_env_of(runner), runner.prepared.eval_env)]

    def keep_states(self) -> tasks.Keeping:
        """Lets all training environments keep their states, which are of one task; returns how."""
        with undisturbed():
            keeping = tasks.find_keeping(_env_of(self._runners[0]))
        for runner in self._runners[1:]:
            tasks.keep(_env_of(runner), keeping)
        return keeping

    def run(self, curve: "LeaderCurve") -> _Runner:
        """Lets the agents race, then the winner use up the budget; returns the winner."""
        budget = self._config.n_timesteps
        rounds = max(1, math.ceil(math.log2(len(self._runners))))
        self._alive = list(self._runners)
        self._slice_steps = self._part.share * budget / (rounds * len(self._alive))
        state = _RaceState(self, curve, self._session.folder)
        if self._session.begin is not None:
            state.put_back_all(self._session.begin)
        trainer = _Trainer(self._session, state, curve)
        while len(self._alive) > 1 and self._round < rounds:
            for runner in self._alive:
                # Those before it were judged in this round before an interruption.
                if len(runner.scores) == self._round:
                    self._train_slice(runner, trainer)
            better = self._better_half()
            next_slice_steps = min(2 * self._slice_steps, (self._part.share * budget - self.env_steps) / len(better))
            is_last = self._round == rounds - 1 or next_slice_steps < self._slice_steps
            self._alive = self._without_others(self._ranked()[:1] if is_last else better)
            self._slice_steps = next_slice_steps
            self._round += 1
        (winner,) = self._alive
        self._say(f"{winner.label} goes on, after {self.env_steps:,} env_steps of all agents")
        trainer.train(winner, winner.steps + max(0, budget - self.env_steps), is_last=True)
        curve.finish()
        return winner

    def _train_slice(self, runner: _Runner, trainer: "_Trainer") -> None:
        if runner.slice is None:
            # Of a slice, a part is for judging; a whole number of rollouts comes next to the rest, one at least.
            steps = round(self._slice_steps / (1 + _JUDGING)) - _rollout_steps(runner.prepared.agent) // 2
            runner.slice = runner.steps, runner.steps + max(1, steps)
        before, until = runner.slice
        trainer.train(runner, until)
        self._judge(runner, runner.steps - before)
        runner.slice = None

    def scores_at_start(self) -> dict[str, Episodes]:
        """Scores a random policy, and ``scratch``, which leads at first."""
        first = self._runners[0].prepared
        scores = score_random(self._config, first.eval_env)
        return scores | score_start(self._config, first.agent, first.eval_env)

    def scores_at_end(self, winner: _Runner, curve: "LeaderCurve") -> dict[str, Episodes]:
        """Scores the winner, and the best agent that led."""
        best = next((runner for runner in self._runners if runner.label == curve.best_name), winner)
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
        """Returns what agents are compared by; of equal ones ``scratch`` is the last, or the first if a plan warned.

        Where rewards are far away all may earn nothing at first: then a source that cannot do its own task speaks
        against what starts from it.
        """
        is_scratch = runner is self._runners[0]
        return runner.scores[-1], is_scratch == self._source_is_weak

    @property
    def _source_is_weak(self) -> bool:
        plans = [runner.prepared.plan for runner in self._runners]
        return any(finding.kind == "weak_source" for plan in plans if plan is not None for finding in plan.findings)

    def _ranked(self) -> list[_Runner]:
        return sorted(self._alive, key=self._rank, reverse=True)

    def _better_half(self) -> list[_Runner]:
        """Returns the better half of those in the race, and ``scratch``."""
        better = self._ranked()[: math.ceil(len(self._alive) / 2)]
        return better if self._runners[0] in better else [*better, self._runners[0]]

    def _without_others(self, kept: Sequence[_Runner]) -> list[_Runner]:
        """Returns those that stay, in the order of the race; the others leave it."""
        for place, runner in enumerate(ranked := self._ranked()):
            if runner not in kept:
                runner.end = f"stopped as {place + 1} of {len(ranked)}"
        return [runner for runner in self._alive if runner in kept]


class _Trainer:
    """Trains one agent of a race at a time; the first one of a session goes on where an earlier session was."""

    def __init__(self, session: Session, state: "_RaceState", curve: "LeaderCurve") -> None:
        self._session = session
        self._state = state
        self._curve = curve
        self._begin = session.begin

    def train(self, runner: _Runner, until: int, *, is_last: bool = False) -> None:
        """Trains an agent on, to the first moment between two rollouts at which it has this many env_steps."""
        agent, config = runner.prepared.agent, self._session.config
        if runner.steps >= until:
            return
        outside = take_generators()
        put_generators(None, runner.generators)
        # What is stated is what schedules run by: to each agent it is the whole budget, to the winner what it gets.
        total = until if is_last else config.n_timesteps
        pause: list[BaseCallback] = [] if is_last else [_PauseAt(until)]
        self._state.current = runner
        saver = self._session.saver(self._state, self._begin)
        self._begin = None
        with contextlib.suppress(_PauseError):
            agent.learn(
                total - runner.steps,
                callback=[*pause, saver, *runner.transfer.callbacks, self._curve],
                reset_num_timesteps=runner.steps == 0,
                **learn_arguments(config.algo, _env_of(runner)),
            )
        runner.generators = take_generators()
        put_generators(None, outside)


class _RaceState:
    """All that changes in a race; ``current`` is the agent that is being trained."""

    def __init__(self, race: Race, curve: "LeaderCurve", folder: Path) -> None:
        self._race = race
        self._parts: dict[str, Part] = {"monitor": MonitorFiles(folder), "curve": curve}
        self.current = race._runners[0]

    @property
    def env_steps(self) -> int:
        """What all agents have cost so far."""
        return self._race.env_steps

    def rollout_ends(self) -> None:
        """Does nothing: agents that change without a gradient do not race."""

    def take(self) -> dict[str, Any]:
        """Returns the state."""
        race = self._race
        runs = {runner.label: runner.run.take() for runner in race._runners}
        return {
            "exact": all(run["exact"] for run in runs.values()),
            "runs": runs,
            "runners": {runner.label: {name: getattr(runner, name) for name in _RUNNING} for runner in race._runners},
            "alive": [runner.label for runner in race._alive],
            "round": race._round,
            "slice_steps": race._slice_steps,
            "current": self.current.label,
            "parts": {name: part.state() for name, part in self._parts.items()},
        }

    def put_back_all(self, state: dict[str, Any]) -> None:
        """Takes up the whole race, before any agent is trained."""
        race = self._race
        for runner in race._runners:
            runner.run.put_back(state["runs"][runner.label])
            for name, value in state["runners"][runner.label].items():
                setattr(runner, name, value)
        race._alive = [runner for runner in race._runners if runner.label in state["alive"]]
        race._round, race._slice_steps = state["round"], state["slice_steps"]
        self._parts["curve"].put_back(state["parts"]["curve"])

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up the agent that was being trained."""
        self.current.run.put_back(state["runs"][self.current.label])
        for name, part in self._parts.items():
            part.put_back(state["parts"][name])

    def put_draws(self, state: dict[str, Any]) -> None:
        """Takes up its random numbers."""
        self.current.run.put_draws(state["runs"][self.current.label])


class LeaderCurve(CurveCallback):
    """The evaluation curve of a race: of the leader, over the env_steps of all agents."""

    best_name = ""

    def __init__(self, race: Race, folder: Path, **settings: Any) -> None:
        self._race = race
        super().__init__(folder, self.subject().env, **settings)

    def subject(self) -> Subject:
        """Returns the leader."""
        leader = self._race.leader
        quiet = leader.transfer.plan.quiet_steps or 0
        return Subject(leader.prepared.agent, leader.prepared.eval_env, self._race.env_steps, quiet, leader.label)

    def _on_training_end(self) -> None:
        """Waits for the end of the race."""

    def state(self) -> dict[str, Any]:
        """Returns the curve so far, and the best agent with its name."""
        return super().state() | {"best_name": self.best_name}

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up an earlier curve, and writes it."""
        super().put_back(state)
        self.best_name = state["best_name"]

    def _keep_best(self, subject: Subject) -> None:
        super()._keep_best(subject)
        self.best_name = subject.name


class _PauseAt(BaseCallback):
    def __init__(self, until: int) -> None:
        super().__init__()
        self._until = until

    def _on_rollout_start(self) -> None:
        if self.num_timesteps >= self._until:
            raise _PauseError

    def _on_step(self) -> bool:
        return True


def _rollout_steps(agent: BaseAlgorithm) -> int:
    """Returns the env_steps between two moments at which an agent can pause; 1 where they are few."""
    return agent.n_steps * agent.n_envs if isinstance(agent, OnPolicyAlgorithm) else 1


def _env_of(runner: _Runner) -> VecEnv:
    env = runner.prepared.agent.get_env()
    assert env is not None
    return env
