"""Trains stock SB3 agents as one network: the loop of ``learn``, for several runs at once."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from jaxtyping import Float
from stable_baselines3.common.type_aliases import MaybeCallback

from rltransfer.training.batched.block_learner import BlockLearner
from rltransfer.training.batched.generators import RunGenerators, drawing_nothing
from rltransfer.training.batched.refusals import refuse_agents
from rltransfer.training.batched.run_steps import RunSteps

BLOCK_SIZE = 8
"""How many runs are computed together. A run's last bits depend on it, so that it belongs in a run's record."""


class BatchedTrainer:
    """Trains agents that differ in seeds, values, rates and freezing only, each as its own ``learn`` would.

    A run draws what stock SB3 draws, from its own generators; sums are rounded in another order. How it is rounded
    depends on ``block_size``, but neither on the other runs nor on their number.

    At any time between two calls each agent is a stock agent with its current weights, optimizer and counters. What is
    loaded into it there, or by a callback, counts from then on. Only its ``rollout_buffer`` stays empty.

    Callbacks are called as ``learn`` calls them. One that draws from a global generator, which is not the run's, or
    reads the agent's ``rollout_buffer`` raises an error; it can install the run's: see ``RunGenerators.installed``.

    Args:
        agents: PPO or A2C agents with MlpPolicy, each with its own environments; of one architecture and with the same
            settings. Learning rates, and schedules, may differ.
        generators: What each of them draws from.
        callbacks: The callback of each agent; none if left out.
        block_size: How many runs are computed together.

    Raises:
        IncompatibleError: An agent is none of these, or they differ too much.
    """

    def __init__(
        self,
        agents: Sequence[Any],
        generators: Sequence[RunGenerators],
        *,
        callbacks: Sequence[MaybeCallback] | None = None,
        block_size: int = BLOCK_SIZE,
    ) -> None:
        refuse_agents(agents)
        given = [None] * len(agents) if callbacks is None else list(callbacks)
        self.runs = [RunSteps(agent, callback) for agent, callback in zip(agents, given, strict=True)]
        self._blocks = [
            _BlockRuns(self.runs[start : start + block_size], generators[start : start + block_size], block_size)
            for start in range(0, len(agents), block_size)
        ]
        self._iteration = 0
        self._log_interval: int | None = None

    @property
    def is_going(self) -> bool:
        """Whether any run still trains."""
        return any(run.is_going for run in self.runs)

    def begin(self, total_timesteps: int, *, reset_num_timesteps: bool = True, log_interval: int | None = None) -> None:
        """Begins to train each agent for so many env_steps, which are meant as those of ``learn``."""
        self._log_interval = log_interval
        for run in self.runs:
            run.begin(total_timesteps, reset_num_timesteps=reset_num_timesteps, log_interval=log_interval)

    def collect_rollouts(self) -> None:
        """Takes the steps of one rollout in each run that still trains.

        Raises:
            IncompatibleError: A callback read an agent's ``rollout_buffer``, or something drew from a global generator.
        """
        blocks = [block for block in self._blocks if block.is_going]
        try:
            with drawing_nothing():
                for block in blocks:
                    block.begin_rollout()
                for step in range(self.runs[0].agent.n_steps):
                    for block in blocks:
                        block.step(step)
                for block in blocks:
                    block.end_rollout()
        finally:
            for run in self.runs:
                run.put_buffer_back()

    def train(self) -> None:
        """Updates the agents from their rollouts, and ends the runs whose budget is used up."""
        self._iteration += 1
        going = [run for run in self.runs if run.is_going]
        for run in going:
            agent = run.agent
            agent._update_current_progress_remaining(agent.num_timesteps, agent._total_timesteps)
            if self._log_interval is not None and self._iteration % self._log_interval == 0:
                agent.dump_logs(self._iteration)
        for block in self._blocks:
            if block.is_going:
                block.train()
        for run in going:
            run.end_iteration()


def learn_together(
    agents: Sequence[Any],
    generators: Sequence[RunGenerators],
    total_timesteps: int,
    *,
    callbacks: Sequence[MaybeCallback] | None = None,
    reset_num_timesteps: bool = True,
    log_interval: int | None = None,
    block_size: int = BLOCK_SIZE,
) -> Iterator[BatchedTrainer]:
    """Trains agents as each one's ``learn`` would; yields after each update, when agents can be evaluated and saved."""
    trainer = BatchedTrainer(agents, generators, callbacks=callbacks, block_size=block_size)
    trainer.begin(total_timesteps, reset_num_timesteps=reset_num_timesteps, log_interval=log_interval)
    while trainer.is_going:
        trainer.collect_rollouts()
        trainer.train()
        yield trainer


class _BlockRuns:
    """The runs of one block: what their environments and what their network do."""

    def __init__(self, runs: Sequence[RunSteps], generators: Sequence[RunGenerators], size: int) -> None:
        first = runs[0].agent
        self._runs = list(runs)
        self._learner = BlockLearner([run.agent for run in runs], generators, size)
        self._gamma, self._gae_lambda = first.gamma, first.gae_lambda
        self._space = first.action_space
        self._dones = np.zeros((size, first.n_envs), dtype=bool)
        self._observations = self._learner.observations

    @property
    def is_going(self) -> bool:
        """Whether any of the runs still trains."""
        return any(run.is_going for run in self._runs)

    def begin_rollout(self) -> None:
        """Tells callbacks, and takes up what they, or the caller, have loaded into the agents."""
        for run in self._runs:
            if run.is_going:
                run.begin_rollout()
        self._learner.block.restack()
        for row, run in self._going():
            self._observe(row, run)
            self._dones[row] = run.agent._last_episode_starts

    def step(self, step: int) -> None:
        """Takes one step in the environments of each run."""
        buffer = self._learner.buffer
        actions, values, log_probs = self._learner.act(step, [run.is_going for run in self._runs])
        drawn = actions.cpu().numpy()
        clipped = drawn
        if isinstance(self._space, spaces.Box):
            drawn = drawn.reshape(*drawn.shape[:2], *self._space.shape)
            clipped = np.clip(drawn, self._space.low, self._space.high)
        buffer.episode_starts[:, :, step] = self._dones
        cut_off: dict[tuple[int, int], Any] = {}
        by_run = zip(values.unsqueeze(-1).unbind(0), log_probs.unbind(0), strict=True)
        for (row, run), (run_values, run_log_probs) in zip(enumerate(self._runs), by_run, strict=False):
            if not run.is_going:
                continue
            outcome = run.step(step, drawn[row], clipped[row], run_values, run_log_probs)
            if outcome is None:
                continue
            rewards, ended = outcome
            buffer.rewards[row, :, step] = rewards
            self._dones[row] = run.agent._last_episode_starts
            self._observe(row, run)
            for index, observation in ended:
                cut_off[row, index] = run.features_of_one(observation)
        if cut_off:
            self._bootstrap(step, cut_off)

    def end_rollout(self) -> None:
        """Computes the advantages."""
        last_values = self._learner.values(self._observations)
        self._learner.buffer.compute_returns_and_advantages(
            last_values, self._dones, gamma=self._gamma, gae_lambda=self._gae_lambda
        )
        for _, run in self._going():
            run.end_rollout()

    def train(self) -> None:
        """Updates the agents, and records what SB3 logs."""
        logs = self._learner.train([run.is_going for run in self._runs])
        for run, log in zip(self._runs, logs, strict=True):
            for name, value in log.items():
                excluded = "tensorboard" if name == "n_updates" else None
                run.agent.logger.record(f"train/{name}", value, exclude=excluded)

    def _going(self) -> Iterator[tuple[int, RunSteps]]:
        return ((row, run) for row, run in enumerate(self._runs) if run.is_going)

    def _observe(self, row: int, run: RunSteps) -> None:
        self._observations[row] = run.features(run.agent._last_obs)

    def _bootstrap(self, step: int, cut_off: dict[tuple[int, int], Any]) -> None:
        """Adds the values of the states in which episodes ran out of time, which are no ends (SB3 issue 633)."""
        states = np.zeros_like(self._observations)
        for place, features in cut_off.items():
            states[place] = features
        values: Float[np.ndarray, "rows envs"] = self._learner.values(states)
        for place in cut_off:
            self._learner.buffer.rewards[*place, step] += self._gamma * values[place]
