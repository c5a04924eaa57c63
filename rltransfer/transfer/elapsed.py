"""Counts an agent's env_steps since its transfer, into however many calls of ``learn`` they are cut."""

from typing import TYPE_CHECKING, Any

from rltransfer.strategies import acting
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


class ElapsedSteps(HeldCallback):
    """The env_steps since a plan was applied: what waits, decays or recurs reads here how many there were.

    SB3's own count, ``num_timesteps``, starts at 0 again in each call of ``learn``, unless it is called with
    ``reset_num_timesteps=False``. So its growth within each call is added up. A new call shows in ``start_time``. As a
    callback this misses no step. Without callbacks it is right in every update; what is missed are steps behind the
    last update of a call, where the next call resets SB3's count.

    Args:
        agent: The agent.
        steps: How many it has done.
    """

    def __init__(self, agent: "BaseAlgorithm", steps: int = 0) -> None:
        super().__init__()
        self._agent = agent
        self._steps = steps
        self._seen = agent.num_timesteps
        self._call = agent.start_time

    @property
    def steps(self) -> int:
        """The env_steps so far, those that a source took for the agent included, but not those before training."""
        self._count()
        return self._steps

    def skip(self, steps: int) -> None:
        """Leaves out steps that SB3's count is about to gain: they were taken before training."""
        self._count()
        self._seen += steps

    def state_dict(self) -> dict[str, Any]:
        """Returns the count."""
        return {"steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a count, in an agent whose own count was put back before."""
        self._steps, self._seen = state["steps"], self._agent.num_timesteps

    def _count(self) -> None:
        if self._agent.start_time != self._call:
            self._begin_call()
        now = self._agent.num_timesteps
        self._steps += max(0, now - self._seen)
        self._seen = now

    def _begin_call(self) -> None:
        # Where SB3's count was not reset, it begins where it ended, or later by a call that nobody looked at.
        self._seen = min(self._seen, self._agent._num_timesteps_at_start)
        self._call = self._agent.start_time

    def _init_callback(self) -> None:
        # At each call, just after SB3 has reset its count: even where the clock has not moved on since the last one.
        self._begin_call()

    def _on_step(self) -> bool:
        self._count()
        return True


def counts_steps(plan: Plan) -> bool:
    """Returns whether anything in a plan depends on the env_steps since it was applied."""
    waits = plan.critic_warmup_steps or plan.quiet_steps or any(entry.held_until for entry in plan.entries)
    return bool(waits) or any(settings.counts_env_steps for settings in acting(plan.strategy))
