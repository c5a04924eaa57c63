"""Adds what an agent does to what a source does (Silver et al. 2018; Johannink et al. 2019)."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_wrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.spaces import describe
from rltransfer.strategies import Residual, held_parts
from rltransfer.transfer.holding import Holding
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import innermost, teacher_in

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

# Their actions lie between the bounds, and zero is the middle; others give numbers that are clipped.
_SQUASHES = ("sac", "tqc", "crossq", "td3", "ddpg")


def residual_of(plan: Plan) -> Residual | None:
    """Returns the part of a plan that adds the agent's actions to the source's, if it has one."""
    return next((part for part in held_parts(plan.strategy) if isinstance(part, Residual)), None)


def equip(env: VecEnv, plan: Plan, *, device: torch.device | str = "cpu") -> VecEnv:
    """Returns environments in which a planned agent acts as in those that it learned in.

    With ``residual`` the source acts in them too; other plans leave them as they are. Evaluate a saved agent of such a
    plan in environments that were equipped, with a plan from ``read_plan`` that was given its ``encoder`` back.

    Args:
        env: The environments with their wrappers, which are kept; call it once for each.
        plan: The plan, with its encoder.
        device: Where the source's policy computes.

    Raises:
        IncompatibleError: The plan has no source, or the source cannot act here.
    """
    inner, residual = innermost(env), unwrap_vec_wrapper(env, ResidualVecEnv)
    if residual is not None:
        env = _with_instead(env, residual, inner)
    return env if residual_of(plan) is None else _with_instead(env, inner, ResidualVecEnv(inner, plan, device=device))


def _with_instead(env: VecEnv, old: VecEnv, new: VecEnv) -> VecEnv:
    """Returns environments in whose wrappers one is replaced by another."""
    if env is old:
        return new
    outer: Any = env
    while outer.venv is not old:
        outer = outer.venv
    outer.venv = new
    return env


class ResidualVecEnv(VecEnvWrapper):
    """Environments that receive the clipped sum of the source's actions and what an agent sends, times ``scale``.

    It stands below all other wrappers, where observations are raw, and what SB3 stores are the agent's own actions.
    The source acts by its mode, through its own statistics and frames. An agent whose outputs are zero adds nothing.
    """

    def __init__(self, venv: VecEnv, plan: Plan, *, device: torch.device | str = "cpu") -> None:
        part, space = residual_of(plan), venv.action_space
        assert part is not None
        _refuse_other_actions(space)
        assert isinstance(space, spaces.Box)
        super().__init__(venv)
        self._teacher = teacher_in(plan, venv, device=device)
        self._scale = part.scale
        self._low, self._high = space.low, space.high
        silent = (space.low + space.high) / 2.0 if plan.algo in _SQUASHES else np.zeros_like(space.low)
        self._silent = np.clip(silent, space.low, space.high)
        self._sources = np.zeros((venv.num_envs, *space.shape))

    def reset(self) -> VecEnvObs:
        """Resets the environments, and looks at where they begin."""
        observations = self.venv.reset()
        self._look(observations, np.ones(self.num_envs, dtype=bool))
        return observations

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the source's actions and these."""
        added = self._sources + self._scale * (actions - self._silent)
        self.venv.step_async(np.clip(added, self._low, self._high).astype(self.action_space.dtype))

    def step_wait(self) -> VecEnvStepReturn:
        """Returns what came of the sum."""
        observations, rewards, dones, infos = self.venv.step_wait()
        self._look(observations, np.asarray(dones, dtype=bool))
        return observations, rewards, dones, infos

    def state(self) -> dict[str, Any]:
        """Returns what the source remembers and does next; see ``Holding``."""
        return {"teacher": self._teacher.state(), "sources": self._sources.copy()}

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up what ``state`` returned."""
        self._teacher.put_back(state["teacher"])
        self._sources = state["sources"].copy()

    def _look(self, observations: Any, starts: np.ndarray) -> None:
        advice = self._teacher.see(observations, np.arange(self.num_envs), starts)
        self._sources = self._teacher.in_environment(advice.centre).reshape(self._sources.shape)


class WatchResidual(Holding):
    """Lets the source act in an agent's environments; its state is what the source remembers there."""

    def __init__(self, plan: Plan, agent: "BaseAlgorithm") -> None:
        super().__init__()
        assert agent.env is not None
        agent.env = equip(agent.env, plan, device=agent.device)
        self._agent = agent
        self._env = unwrap_vec_wrapper(agent.env, ResidualVecEnv)

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-check: whoever gives the agent other environments leaves it with half of its policy."""
        is_there = self._agent.env is not None and unwrap_vec_wrapper(self._agent.env, ResidualVecEnv) is self._env
        detail = "" if is_there else "other environments were set: hold the plan again"
        return (Check(name="the source acts in the agent's environments", passed=is_there, detail=detail),)

    def state(self) -> dict[str, Any]:
        """Returns the state of the environments."""
        assert self._env is not None
        return self._env.state()

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up the state of the environments."""
        assert self._env is not None
        self._env.put_back(state)


def remove_residual(agent: "BaseAlgorithm") -> None:
    """Takes the source out of an agent's environments."""
    if agent.env is not None:
        found = unwrap_vec_wrapper(agent.env, ResidualVecEnv)
        if found is not None:
            agent.env = _with_instead(agent.env, found, found.venv)


def refuse_residual(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Raises IncompatibleError if an agent's actions cannot be added to the source's."""
    _refuse_other_actions(agent.action_space)
    if agent.env is None:
        raise IncompatibleError("The source's policy acts in the agent's environments, and the agent has none.")
    ResidualVecEnv(innermost(agent.env), plan, device=agent.device)


def _refuse_other_actions(space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box):
        raise IncompatibleError(
            f"'residual' adds actions to the source's, which must be numbers: the target has {describe(space)}. Use "
            "'jump_start' or 'kickstart', or a target whose actions are a Box."
        )
