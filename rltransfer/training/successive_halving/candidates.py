"""The agents of a race, and how they stand."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.records import SourceFacts
from rltransfer.strategies import Strategy
from rltransfer.training.prepare import Prepared
from rltransfer.training.resume.run_state import RunState
from rltransfer.transfer import Transfer


@dataclasses.dataclass
class Runner:
    """One agent in a race.

    Attributes:
        label: Its strategy's name.
        strategy: Its strategy.
        prepared: The agent, its plan and its environments.
        transfer: What its strategy does to it.
        generators: Where the global random numbers are when its turn comes.
        run: All that changes in it, to be saved.
        scores: Its mean return in the episodes of each round.
        evaluation_steps: What those episodes took.
        end: How it left the race; empty while it is in it.
        slice: From which to which of its env_steps it trains in this round; None between two rounds.
    """

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
    def agent(self) -> BaseAlgorithm:
        """The agent itself."""
        return self.prepared.agent

    @property
    def env(self) -> VecEnv:
        """The environments that it is trained on."""
        env = self.agent.get_env()
        assert env is not None
        return env

    @property
    def steps(self) -> int:
        """Its env_steps, those of a source that acts for it included."""
        return int(self.agent.num_timesteps)

    @property
    def spent(self) -> int:
        """What it cost, with the episodes by which it was judged."""
        return self.steps + self.evaluation_steps

    @property
    def rollout_steps(self) -> int:
        """The env_steps between two moments at which it can pause; 1 where they are few."""
        agent = self.agent
        return agent.n_steps * agent.n_envs if isinstance(agent, OnPolicyAlgorithm) else 1


@dataclasses.dataclass
class Field:
    """All agents of a race, and how they stand.

    Attributes:
        runners: The agents in the order in which they train; ``scratch`` is the first.
        alive: Those that are still in the race, in the same order.
        round: How many rounds are over.
        slice_steps: What an agent may cost in this round.
    """

    runners: list[Runner] = dataclasses.field(default_factory=list)
    alive: list[Runner] = dataclasses.field(default_factory=list)
    round: int = 0
    slice_steps: float = 0.0

    @property
    def source(self) -> SourceFacts | None:
        """The facts of the source."""
        return next((runner.prepared.source for runner in self.runners if runner.prepared.source is not None), None)

    @property
    def env_steps(self) -> int:
        """What all agents cost so far."""
        return sum(runner.spent for runner in self.runners)

    @property
    def n_updates(self) -> int:
        """The updates of all agents so far, by SB3's count."""
        return sum(int(runner.agent._n_updates) for runner in self.runners)

    @property
    def agents(self) -> list[BaseAlgorithm]:
        """All agents."""
        return [runner.agent for runner in self.runners]

    @property
    def envs(self) -> list[VecEnv]:
        """The environments that they are trained and evaluated on."""
        return [env for runner in self.runners for env in (runner.env, runner.prepared.eval_env)]

    @property
    def leader(self) -> Runner:
        """The agent with the best score so far; ``scratch``, which is the first, until there is one."""
        judged = [runner for runner in self.runners if runner.scores and not runner.end]
        return max(judged, key=self.rank, default=self.runners[0])

    def rank(self, runner: Runner) -> tuple[float, bool]:
        """Returns what agents are compared by; of equal ones ``scratch`` is the last, or the first if a plan warned.

        Where rewards are far away all may earn nothing at first: then a source that cannot do its own task speaks
        against what starts from it.
        """
        is_scratch = runner is self.runners[0]
        return runner.scores[-1], is_scratch == self._source_is_weak

    def ranked(self) -> list[Runner]:
        """Returns those in the race, the best first."""
        return sorted(self.alive, key=self.rank, reverse=True)

    def better_half(self) -> list[Runner]:
        """Returns the better half of those in the race, and ``scratch``."""
        better = self.ranked()[: math.ceil(len(self.alive) / 2)]
        return better if self.runners[0] in better else [*better, self.runners[0]]

    def keep(self, kept: Sequence[Runner]) -> None:
        """Lets these stay in the race; the others leave it."""
        for place, runner in enumerate(ranked := self.ranked()):
            if runner not in kept:
                runner.end = f"stopped as {place + 1} of {len(ranked)}"
        self.alive = [runner for runner in self.alive if runner in kept]

    @property
    def _source_is_weak(self) -> bool:
        plans = [runner.prepared.plan for runner in self.runners]
        return any(finding.kind == "weak_source" for plan in plans if plan is not None for finding in plan.findings)
