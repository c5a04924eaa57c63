"""Lets the source's policy act in the training environments of an agent: inside ``reset``, and never in a buffer."""

import copy
import dataclasses
import types
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.records import Check
from rltransfer.strategies import JumpStart
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.matching.pair import Pair
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import Advice, SourcePolicy, innermost, source_policy_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


_CHANGING = (
    "_episodes",
    "_stage",
    "_longest",
    "_earned",
    "_in_stage",
    "_advice",
    "_was_shown",
    "done",
    "previous",
    "steps",
    "own_returns",
    "returns",
    "n_episodes",
)


@dataclasses.dataclass(frozen=True)
class SourceActorSettings:
    """What a method asks of the source policy.

    Attributes:
        episodes: How many episodes it plays alone at first, to know what it earns.
        window: Over how many of the agent's episodes its return is averaged.
        temperature: What the source's Q-values are divided by before the softmax; None if it does not matter.
        starts: How it plays the beginnings of episodes, None if it does not.
        demonstrates: How many env_steps it takes for the agent at first.
    """

    episodes: int
    window: int
    temperature: float | None = None
    starts: JumpStart | None = None
    demonstrates: int = 0


def combined_settings(settings: Sequence[SourceActorSettings]) -> SourceActorSettings:
    """Returns what the one source policy has to do for several methods."""
    return SourceActorSettings(
        episodes=max(wish.episodes for wish in settings),
        window=max(wish.window for wish in settings),
        temperature=next((wish.temperature for wish in settings if wish.temperature is not None), None),
        starts=next((wish.starts for wish in settings if wish.starts is not None), None),
        demonstrates=max(wish.demonstrates for wish in settings),
    )


def refuse_source_policy(plan: Plan, match: Pair, agent: "BaseAlgorithm") -> None:
    """Raises IncompatibleError if a plan's source cannot act in an agent's environments."""
    match.refuse_wrong_actions()
    source_policy_of(plan, agent)


class SourceActor:
    """Sees every observation of the innermost vector environment, and acts in it.

    It plays some episodes alone, the beginnings of others, and may take the agent's steps for it at first. Its methods
    take the place of ``reset``, ``step_async`` and ``step_wait`` on the instance: evaluation environments have none,
    and what SB3 and its wrappers see is an environment whose episodes begin later.

    Attributes:
        source_policy: The source's policy.
        previous: What the source would have done in the states before the last step.
        steps: The steps that it has played.
        own_returns: Of the episodes that it played alone.
        done: The actions that it took for the agent in the last step; None where the agent's own were taken.
        returns: Of the latest episodes, what it played included; rewards as the environment gives them.
    """

    def __init__(
        self,
        source_policy: SourcePolicy,
        env: VecEnv,
        elapsed: ElapsedSteps,
        settings: SourceActorSettings,
        *,
        seed: int,
    ) -> None:
        starts = settings.starts
        self.source_policy = source_policy
        self._env = env
        self._elapsed = elapsed
        self._starts = starts
        self._episodes = settings.episodes
        self._rng = np.random.default_rng([seed, 7])
        self._stage = 0
        self._longest = (starts.horizon or 0) if starts else 0
        self._earned = np.zeros(env.num_envs)
        self._in_stage: deque[float] = deque(maxlen=starts.window if starts else 1)
        self._advice: Advice | None = None
        self._demonstrates = settings.demonstrates
        self._was_shown = np.zeros(env.num_envs, dtype=bool)
        self.done: np.ndarray | None = None
        self.previous: Advice | None = None
        self.steps = 0
        self.own_returns: list[float] = []
        self.returns: deque[float] = deque(maxlen=settings.window)
        self.n_episodes = 0
        env.__dict__["reset"] = types.MethodType(_reset, env)
        env.__dict__["step_async"] = types.MethodType(_step_async, env)
        env.__dict__["step_wait"] = types.MethodType(_step_wait, env)
        env.__dict__["rltransfer_source_actor"] = self

    @property
    def begins_episodes(self) -> bool:
        """Whether it plays the beginnings of episodes."""
        return self._starts is not None

    @property
    def horizon(self) -> int:
        """How many steps it plays at the beginning of an episode that starts now."""
        if self._starts is None:
            return 0
        horizon = self._longest * (self._starts.stages - self._stage) / self._starts.stages
        if self._starts.until is not None:
            horizon = min(horizon, self._longest * max(0.0, 1.0 - self._elapsed.steps / self._starts.until))
        return round(horizon)

    @property
    def own_return(self) -> float | None:
        """The mean return of the episodes that it played alone."""
        return float(np.mean(self.own_returns)) if self.own_returns else None

    def reset(self) -> Any:
        """Resets the environments; the first time, it plays some episodes alone, to know what it earns."""
        observations = type(self._env).reset(self._env)
        if self._episodes:
            lengths = [self._play_alone(observations) for _ in range(self._episodes)]
            self._episodes = 0
            if self._starts is not None and self._starts.horizon is None:
                self._longest = max(1, round(float(np.mean(lengths))))
            _put(observations, 0, self._restart(0))
        self._earned[:] = 0.0
        everywhere = np.arange(self._env.num_envs)
        self._advice = self._see(observations, everywhere, np.ones(len(everywhere), dtype=bool))
        for index in everywhere:
            self._begin(observations, int(index))
        return observations

    @property
    def is_demonstrating(self) -> bool:
        """Whether it takes the agent's steps now."""
        return self._elapsed.steps < self._demonstrates

    def step_async(self, actions: np.ndarray) -> None:
        """Takes the agent's actions, or its own while it shows what it does; ``done`` says which were taken."""
        self.done = None
        if self.is_demonstrating:
            assert self._advice is not None
            self.done = actions = self.source_policy.act(self._advice, self._rng)
            self._was_shown[:] = True
        type(self._env).step_async(self._env, actions)

    def step_wait(self) -> Any:
        """Steps the environments; where an episode ended, it plays the beginning of the next."""
        observations, rewards, dones, infos = type(self._env).step_wait(self._env)
        self._earned += rewards
        self.previous = self._advice
        self._advice = self._see(observations, np.arange(len(dones)), np.asarray(dones, dtype=bool))
        for index in np.flatnonzero(dones):
            if self.done is not None:
                self.own_returns.append(float(self._earned[index]))
            elif not self._was_shown[index]:
                self._note_end(float(self._earned[index]))
            # What one of them began and the other ended is the return of neither.
            self._was_shown[index] = False
            self._earned[index] = 0.0
            self._begin(observations, int(index))
        return observations, rewards, dones, infos

    def state_dict(self) -> dict[str, Any]:
        """Returns what changes in training; see ``HeldCallback``."""
        # The names are those of version 0.1, whose runs are resumed.
        return {name: copy.deepcopy(getattr(self, name)) for name in _CHANGING} | {
            "rng": self._rng.bit_generator.state,
            "teacher": self.source_policy.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        for name in _CHANGING:
            setattr(self, name, copy.deepcopy(state[name]))
        self._rng.bit_generator.state = state["rng"]
        self.source_policy.load_state_dict(state["teacher"])

    def _note_end(self, earned: float) -> None:
        self.returns.append(earned)
        self.n_episodes += 1
        if self._starts is None or self._stage == self._starts.stages:
            return
        self._in_stage.append(earned)
        own_return = self.own_return or 0.0
        if len(self._in_stage) == self._starts.window and np.mean(
            self._in_stage
        ) >= own_return - self._starts.tolerance * abs(own_return):
            self._stage += 1
            self._in_stage.clear()

    def _begin(self, observations: Any, index: int) -> None:
        """Plays the beginning of an episode; one that ends meanwhile is begun again, for half as long."""
        horizon = self.horizon
        while horizon > 0:
            if not self._play(observations, index, horizon):
                return
            _put(observations, index, self._restart(index))
            self._look(observations, index, starts=True)
            self._earned[index] = 0.0
            horizon //= 2

    def _play(self, observations: Any, index: int, horizon: int) -> bool:
        """Plays ``horizon`` steps, or to the end of the episode; says whether it ended."""
        for _ in range(horizon):
            assert self._advice is not None
            action = self.source_policy.act(self._advice.rows(np.array([index])), self._rng)[0]
            seen, reward, terminated, truncated, _ = self._env.env_method("step", action, indices=[index])[0]
            self.steps += 1
            self._earned[index] += float(reward)
            if terminated or truncated:
                return True
            _put(observations, index, seen)
            self._look(observations, index, starts=False)
        return False

    def _play_alone(self, observations: Any) -> int:
        """Plays one whole episode in the first environment; returns its length."""
        _put(observations, 0, self._restart(0))
        everywhere = np.arange(self._env.num_envs)
        self._advice = self._see(observations, everywhere, np.ones(len(everywhere), dtype=bool))
        self._earned[0] = 0.0
        before = self.steps
        while not self._play(observations, 0, 1):
            pass
        self.own_returns.append(float(self._earned[0]))
        return self.steps - before

    def _restart(self, index: int) -> Any:
        return self._env.env_method("reset", indices=[index])[0][0]

    def _look(self, observations: Any, index: int, *, starts: bool) -> None:
        chosen = np.array([index])
        seen = self._see(_rows(observations, chosen), chosen, np.array([starts]))
        assert self._advice is not None
        self._advice.centre[index], self._advice.spread[index] = seen.centre[0], seen.spread[0]

    def _see(self, observations: Any, indices: np.ndarray, starts: np.ndarray) -> Advice:
        return self.source_policy.see(observations, indices, starts)


def remove_source_actor(agent: "BaseAlgorithm") -> None:
    """Gives an agent's environments their own ``reset`` and ``step_wait`` back."""
    if agent.env is not None:
        for name in ("reset", "step_async", "step_wait", "rltransfer_source_actor"):
            innermost(agent.env).__dict__.pop(name, None)


class SourceActorCallback(HeldCallback):
    """Tells the logger the source policy's horizon; its state is the source policy's."""

    def __init__(self, source_actor: SourceActor, agent: "BaseAlgorithm") -> None:
        super().__init__()
        self.source_actor = source_actor
        self._agent = agent

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-check: whoever gives the agent other environments leaves the source behind."""
        env = self._agent.env
        is_there = env is not None and innermost(env).__dict__.get("rltransfer_source_actor") is self.source_actor
        detail = "" if is_there else "other environments were set: call hold_plan again"
        return (Check(name="the source plays in the agent's environments", passed=is_there, detail=detail),)

    def state_dict(self) -> dict[str, Any]:
        """Returns the source policy's state."""
        return self.source_actor.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the source policy's state."""
        self.source_actor.load_state_dict(state)

    def _on_rollout_end(self) -> None:
        if self.source_actor.begins_episodes:
            self.logger.record("transfer/guide_horizon", self.source_actor.horizon)


def _reset(env: Any) -> Any:
    return env.rltransfer_source_actor.reset()


def _step_async(env: Any, actions: np.ndarray) -> None:
    env.rltransfer_source_actor.step_async(actions)


def _step_wait(env: Any) -> Any:
    return env.rltransfer_source_actor.step_wait()


def _put(observations: Any, index: int, value: Any) -> None:
    if isinstance(observations, dict):
        for key, part in value.items():
            observations[key][index] = part
    else:
        observations[index] = value


def _rows(observations: Any, chosen: np.ndarray) -> Any:
    if isinstance(observations, dict):
        return {key: part[chosen] for key, part in observations.items()}
    return observations[chosen]
