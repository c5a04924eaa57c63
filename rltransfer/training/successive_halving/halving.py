"""Lets several agents of one run train in turn, stops the hopeless, and goes on with the best.

The agents are trained one slice after the other, each as it would be alone: with its own environments, optimizer and
random numbers. The curve shows the leader; its env_steps are those of all agents together, with the episodes that were
played to judge them.
"""

import contextlib
import dataclasses
import math
from collections.abc import Iterator

import numpy as np
from stable_baselines3.common.logger import Logger

from rltransfer import tasks
from rltransfer.config import RunConfig
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check, Episodes, RaceFacts, Trial
from rltransfer.strategies import Auto, Strategy, dump_strategy, strategy_label
from rltransfer.training.evaluation import derived_seed, evaluate_agent
from rltransfer.training.prepare import prepare, refuse_short_budget
from rltransfer.training.resume.rng_state import rng_state_dict, undisturbed
from rltransfer.training.resume.run_state import RunState
from rltransfer.training.scoring import score_best, score_last, score_random, score_start
from rltransfer.training.session import Session
from rltransfer.training.successive_halving.candidates import Field, Runner
from rltransfer.training.successive_halving.curve import LeaderCurve
from rltransfer.training.successive_halving.trainer import RaceState, Trainer
from rltransfer.transfer import apply_plan

_JUDGING = 1 / 3
"""Episodes by which an agent is judged end when they have taken this share of its slice."""


class Race:
    """One run of ``auto``.

    Args:
        session: The work on the run that it is.

    Attributes:
        field: Its agents, and how they stand.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._config: RunConfig = session.config
        self._say = session.say
        part = self._config.strategy[0]
        assert isinstance(part, Auto)
        self._part = part
        self._left_out: list[Trial] = []
        self.field = Field()

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
                prepare(
                    config,
                    monitor_folder=self._session.folder,
                    monitor_prefix=f"{label}.",
                    why_recompute="agents of 'auto' train in turn",
                )
            )
            assert prepared.plan is not None
            refuse_short_budget(config, prepared.plan)
        except IncompatibleError as error:
            if self._part.of is not None or not self.field.runners:
                raise
            self._left_out.append(Trial(label=label, strategy=dump_strategy(strategy), end=f"does not fit: {error}"))
            self._say(f"{label} is not tried: {error}")
            return
        transfer = apply_plan(prepared.plan, prepared.agent)
        prepared = dataclasses.replace(prepared, eval_env=transfer.equip(prepared.eval_env))
        prepared.agent.set_logger(Logger(folder=None, output_formats=[]))
        run = RunState(prepared.agent, {"transfer": transfer}, eval_env=prepared.eval_env, seed=self._config.seed)
        self.field.runners.append(Runner(label, strategy, prepared, transfer, rng_state_dict(), run))

    def keep_states(self) -> tasks.Keeping:
        """Lets all training environments keep their states, which are of one task; returns how."""
        runners = self.field.runners
        with undisturbed():
            return tasks.find_joint_keeping(
                [runner.env for runner in runners], [runner.prepared.eval_env for runner in runners]
            )

    def run(self, curve: LeaderCurve) -> Runner:
        """Lets the agents race, then the winner use up the budget; returns the winner."""
        field, budget = self.field, self._config.n_timesteps
        rounds = max(1, math.ceil(math.log2(len(field.runners))))
        field.alive = list(field.runners)
        field.slice_steps = self._part.share * budget / (rounds * len(field.alive))
        state = RaceState(field, curve, self._session.folder)
        if self._session.begin is not None:
            state.load_all(self._session.begin)
        trainer = Trainer(self._session, state, curve)
        while len(field.alive) > 1 and field.round < rounds:
            for runner in field.alive:
                # Those before it were judged in this round before an interruption.
                if len(runner.scores) == field.round:
                    self._train_slice(runner, trainer)
            better = field.better_half()
            next_slice_steps = min(2 * field.slice_steps, (self._part.share * budget - field.env_steps) / len(better))
            is_last = field.round == rounds - 1 or next_slice_steps < field.slice_steps
            field.keep(field.ranked()[:1] if is_last else better)
            field.slice_steps = next_slice_steps
            field.round += 1
        (winner,) = field.alive
        self._say(f"{winner.label} goes on, after {field.env_steps:,} env_steps of all agents")
        trainer.train(winner, winner.steps + max(0, budget - field.env_steps), is_last=True)
        curve.finish()
        return winner

    def _train_slice(self, runner: Runner, trainer: Trainer) -> None:
        if runner.slice is None:
            # Of a slice, a part is for judging; a whole number of rollouts comes next to the rest, one at least.
            steps = round(self.field.slice_steps / (1 + _JUDGING)) - runner.rollout_steps // 2
            runner.slice = runner.steps, runner.steps + max(1, steps)
        before, until = runner.slice
        trainer.train(runner, until)
        self._judge(runner, runner.steps - before)
        runner.slice = None

    def _judge(self, runner: Runner, slice_steps: float) -> None:
        """Plays episodes of the agent as it is now, fewer where they are long: training episodes are of older ones."""
        returns: list[float] = []
        limit = runner.evaluation_steps + _JUDGING * slice_steps
        while len(returns) < self._part.episodes and (not returns or runner.evaluation_steps < limit):
            played = evaluate_agent(
                runner.agent,
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

    def scores_at_start(self) -> dict[str, Episodes]:
        """Scores a random policy, and ``scratch``, which leads at first."""
        first = self.field.runners[0].prepared
        scores = score_random(self._config, first.eval_env)
        return scores | score_start(self._config, first.agent, first.eval_env)

    def scores_at_end(self, winner: Runner, curve: LeaderCurve) -> dict[str, Episodes]:
        """Scores the winner, and the best agent that led."""
        best = next((runner for runner in self.field.runners if runner.label == curve.best_name), winner)
        return {
            **score_last(self._config, winner.agent, winner.prepared.eval_env),
            **score_best(self._config, best.agent, best.prepared.eval_env, curve.best),
        }

    def facts(self, winner: Runner) -> RaceFacts:
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
            for runner in self.field.runners
        ]
        return RaceFacts(trials=(*tried, *self._left_out))

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks of every agent that was tried."""
        return tuple(
            check.model_copy(update={"name": f"{runner.label}: {check.name}"})
            for runner in self.field.runners
            for check in runner.transfer.checks()
        )
