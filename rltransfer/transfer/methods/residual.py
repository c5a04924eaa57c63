"""The agent learns what is added to the source's actions (Silver et al. 2018; Johannink et al. 2019)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, unwrap_vec_wrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rltransfer.algorithms import spec_of
from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check, Finding
from rltransfer.spaces import describe
from rltransfer.strategies import Residual
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import innermost, source_policy_in

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair

# Their actions lie between the bounds, and zero is the middle; others give numbers that are clipped.
_BOUNDED_FORMS = ("tanh_gaussian", "tanh")


class ResidualMethod(Method[Residual]):
    """Lets the source act in the agent's environments, below all wrappers, and adds the agent's actions."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns rules by which the agent starts with actions of zero."""
        return rules.with_(is_silent=True)

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if the agent's actions cannot be added to the source's."""
        _refuse_other_actions(agent.action_space)
        if agent.env is None:
            raise IncompatibleError("The source's policy acts in the agent's environments, and the agent has none.")
        self.equip(innermost(agent.env), plan, agent.device)

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields that what is saved is not a policy by itself."""
        source = "its source" if plan.encoder is None else plan.encoder.source.path
        words = (
            f"what is saved is half of a policy: it acts on top of {source}, in environments from "
            "rltransfer.equip(env, plan)"
        )
        yield Finding(kind="half_policy", severity="note", words=words)

    def equip(self, env: VecEnv, plan: Plan, device: torch.device | str) -> VecEnv:
        """Returns the environments with the source acting in them."""
        inner = innermost(env)
        return _with_instead(env, inner, ResidualVecEnv(inner, plan, self.settings, device=device))

    @classmethod
    def strip(cls, env: VecEnv) -> VecEnv:
        """Returns the environments without a source that acts in them."""
        residual = unwrap_vec_wrapper(env, ResidualVecEnv)
        return env if residual is None else _with_instead(env, residual, residual.venv)

    def prepare(self, plan: Plan, agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the source cannot act in the agent's environments."""
        assert agent.env is not None
        self.equip(innermost(agent.env), plan, agent.device)

    def install(self, installation: "Installation") -> None:
        """Lets the source act in the agent's environments."""
        agent = installation.agent
        assert agent.env is not None
        agent.env = self.equip(agent.env, installation.plan, agent.device)
        installation.add(WatchResidual(agent))

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Takes the source out of the agent's environments."""
        if agent.env is not None:
            agent.env = cls.strip(agent.env)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that environments receive something else than the source's actions and the agent's, scaled."""
        residual = None if run.agent.env is None else unwrap_vec_wrapper(run.agent.env, ResidualVecEnv)
        if residual is None:
            yield "the source does not act in the agent's environments"
            return
        yield from residual.missing_sum(self.settings.scale)
        head = run.entries(lambda entry: entry.origin == "set" and entry.value == 0.0)
        if not head or any(run.applied[entry.tensor].any() for entry in head):
            yield "the agent's last layer does not start at zero"
        yield from run.not_trained(head)


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

    def __init__(self, venv: VecEnv, plan: Plan, settings: Residual, *, device: torch.device | str = "cpu") -> None:
        space = venv.action_space
        _refuse_other_actions(space)
        assert isinstance(space, spaces.Box)
        super().__init__(venv)
        self._source_policy = source_policy_in(plan, venv, device=device)
        self._scale = settings.scale
        self._low, self._high = space.low, space.high
        is_bounded = spec_of(plan.algo).action_form in _BOUNDED_FORMS
        silent = (space.low + space.high) / 2.0 if is_bounded else np.zeros_like(space.low)
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

    def state_dict(self) -> dict[str, Any]:
        """Returns what the source remembers and does next; see ``HeldCallback``."""
        return {"teacher": self._source_policy.state_dict(), "sources": self._sources.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._source_policy.load_state_dict(state["teacher"])
        self._sources = state["sources"].copy()

    def missing_sum(self, scale: float) -> Iterator[str]:
        """Yields how what environments receive differs from the sum of both actions, in two steps."""
        received: list[np.ndarray] = []
        inside = self.venv

        class Listener(VecEnvWrapper):
            def reset(self) -> VecEnvObs:
                return self.venv.reset()

            def step_async(self, actions: np.ndarray) -> None:
                received.append(actions)
                self.venv.step_async(actions)

            def step_wait(self) -> VecEnvStepReturn:
                return self.venv.step_wait()

        self.venv = Listener(inside)
        try:
            self.reset()
            for share in (0.0, 0.1):
                source = self._sources.copy()
                added = np.broadcast_to(self._silent + share * (self._high - self._low), source.shape)
                self.step(added.astype(self.action_space.dtype))
                expected = np.clip(source + scale * (added - self._silent), self._low, self._high)
                if not np.allclose(received[-1], expected, atol=1e-5):
                    yield f"the environments receive {received[-1]}, expected {expected}"
        finally:
            self.venv = inside

    def _look(self, observations: Any, starts: np.ndarray) -> None:
        advice = self._source_policy.see(observations, np.arange(self.num_envs), starts)
        self._sources = self._source_policy.in_environment(advice.centre).reshape(self._sources.shape)


class WatchResidual(HeldCallback):
    """Watches that the source acts in an agent's environments; its state is what the source remembers there."""

    def __init__(self, agent: "BaseAlgorithm") -> None:
        super().__init__()
        assert agent.env is not None
        self._agent = agent
        self._env = unwrap_vec_wrapper(agent.env, ResidualVecEnv)

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-check: whoever gives the agent other environments leaves it with half of its policy."""
        is_there = self._agent.env is not None and unwrap_vec_wrapper(self._agent.env, ResidualVecEnv) is self._env
        detail = "" if is_there else "other environments were set: hold the plan again"
        return (Check(name="the source acts in the agent's environments", passed=is_there, detail=detail),)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the environments."""
        assert self._env is not None
        return self._env.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the environments."""
        assert self._env is not None
        self._env.load_state_dict(state)


def _refuse_other_actions(space: spaces.Space[Any]) -> None:
    if not isinstance(space, spaces.Box):
        raise IncompatibleError(
            f"'residual' adds actions to the source's, which must be numbers: the target has {describe(space)}. Use "
            "'jump_start' or 'kickstart', or a target whose actions are a Box."
        )
