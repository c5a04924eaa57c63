"""All that changes in the run of one agent, as one state dict."""

from collections.abc import Mapping
from typing import Any, Protocol

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.anatomy import spec_of_agent
from rltransfer.training.evaluation import derived_seed
from rltransfer.training.resume.agent_state import (
    agent_state_dict,
    begin_episodes,
    load_agent_state_dict,
    load_random_state_dict,
    random_state_dict,
)
from rltransfer.training.resume.env_state import env_state_dict, load_env_state_dict
from rltransfer.training.resume.rng_state import load_rng_state_dict, rng_state_dict


class Stateful(Protocol):
    """What has a state beside the agent's: what a transfer holds, a curve, a counter."""

    def state_dict(self) -> Any:
        """Returns what has changed since the run began."""
        ...

    def load_state_dict(self, state: Any) -> None:
        """Loads what ``state_dict`` returned."""
        ...


class RunState:
    """All that changes in a run, as one object that can be saved.

    Args:
        agent: The agent, with its environments.
        parts: What has a state of its own, by name.
        eval_env: The environments that it is evaluated on, whose state may outlive their episodes too.
        seed: The run's seed: where the state of environments is not kept, their new episodes are seeded from it.
    """

    def __init__(self, agent: BaseAlgorithm, parts: Mapping[str, Stateful], *, eval_env: VecEnv, seed: int) -> None:
        self._agent = agent
        self._eval_env = eval_env
        self._parts = parts
        self._seed = seed
        self._draws_are_early = spec_of_agent(agent).draws_before_rollout
        self._early: dict[str, Any] | None = None

    @property
    def env_steps(self) -> int:
        """What the agent has cost so far."""
        return self._agent.num_timesteps

    def rollout_ends(self) -> None:
        """Notes the generators where the next rollout begins with more than noise: ARS draws what it will try."""
        if self._draws_are_early:
            self._early = rng_state_dict(self._agent)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state."""
        environments, evaluation = env_state_dict(self._env), tasks.dump_states(self._eval_env)
        return {
            "exact": environments["states"] is not None and evaluation is not None,
            "agent": agent_state_dict(self._agent),
            "environments": environments,
            "evaluation": evaluation,
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "draws": random_state_dict(self._agent),
            "early": self._early,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads a state, before the first rollout."""
        load_agent_state_dict(self._agent, state["agent"])
        load_env_state_dict(self._env, state["environments"])
        if state["evaluation"] is not None:
            tasks.load_states(self._eval_env, state["evaluation"])
        for name, part in self._parts.items():
            part.load_state_dict(state["parts"][name])
        load_random_state_dict(self._agent, state["draws"])
        if not state["exact"]:
            begin_episodes(self._agent, derived_seed(self._seed, f"resumed at {self._agent.num_timesteps}"))
        self._early = state["early"]
        if self._early is not None:
            load_rng_state_dict(self._agent, self._early)

    def load_random_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the random numbers of a state, after SB3 has drawn the noise of the first rollout."""
        load_random_state_dict(self._agent, state["draws"])

    @property
    def _env(self) -> Any:
        return self._agent.get_env()
