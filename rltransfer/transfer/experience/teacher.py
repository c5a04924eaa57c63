"""A source's policy as it acts in a target: on its own observations and statistics, in the target's actions."""

import dataclasses
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space, is_image_space_channels_first
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecTransposeImage

from rltransfer.artifact import Encoder
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.normaliser import Statistics
from rltransfer.spaces import describe
from rltransfer.transfer.meeting.action_bounds import other_bounds
from rltransfer.transfer.plan import InputMap, Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Form = Literal["categorical", "normal", "squashed", "point"]
Raw = np.ndarray | Mapping[str, np.ndarray]
_SAMPLES = ("ppo", "a2c", "trpo", "maskable_ppo")
_SQUASHES = ("sac", "tqc", "crossq")


@dataclasses.dataclass(frozen=True)
class Advice:
    """What a teacher would do in a batch of states, in the target's actions.

    Attributes:
        centre: [batch, actions] probabilities of a ``categorical``; the mean of a ``normal``, and of a ``squashed`` one
            before the tanh; the action of a ``point``.
        spread: [batch, actions] standard deviations, zero where there are none.
    """

    centre: np.ndarray
    spread: np.ndarray

    def rows(self, chosen: np.ndarray) -> "Advice":
        """Returns the advice of some of the states."""
        return Advice(self.centre[chosen], self.spread[chosen])


def innermost(env: VecEnv) -> VecEnv:
    """Returns the vector environment inside all wrappers."""
    while isinstance(env, VecEnvWrapper):
        env = env.venv
    return env


def teacher_of(plan: Plan, agent: "BaseAlgorithm", *, temperature: float = 1.0) -> "Teacher":
    """Returns the plan's source as a teacher of an agent, in the agent's own environments.

    Raises:
        IncompatibleError: The plan has no source, the agent no environment, or they do not fit.
    """
    if agent.env is None:
        raise IncompatibleError("The source's policy acts in the agent's environments, and the agent has none.")
    return teacher_in(plan, agent.env, temperature=temperature, device=agent.device)


def teacher_in(plan: Plan, env: VecEnv, *, temperature: float = 1.0, device: torch.device | str = "cpu") -> "Teacher":
    """Returns the plan's source as it acts in some environments; see ``teacher_of``."""
    if plan.encoder is None:
        raise IncompatibleError(
            "The plan needs the source's policy, and was read from a file without it: hold "
            "dataclasses.replace(plan, encoder=load_encoder(SOURCE)) instead."
        )
    if plan.encoder.source.is_residual:
        raise IncompatibleError(
            "The source's policy cannot act alone: it was trained to be added to another one ('residual'). Its encoder "
            "can be moved, with 'finetune' or 'frozen'."
        )
    base = innermost(env)
    return Teacher(
        plan.encoder,
        inputs=plan.inputs,
        actions=plan.actions,
        observation_space=base.observation_space,
        action_space=base.action_space,
        n_envs=base.num_envs,
        temperature=temperature,
        device=device,
    )


class Teacher:
    """Looks at raw observations of the target's environments, and says what the source's policy would do there."""

    def __init__(
        self,
        encoder: Encoder,
        *,
        inputs: Mapping[str, InputMap],
        actions: IndexMap | None,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        n_envs: int,
        temperature: float = 1.0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.policy = build_policy(encoder).to(device)
        self.algo = encoder.algo
        self._view = _View(encoder, inputs, observation_space, n_envs)
        self._temperature = temperature
        self._space = action_space
        self._source_space = encoder.action_space
        self._taken = taken_actions(encoder.action_space, action_space, actions)
        self.has_sources_bounds = not other_bounds(encoder.action_space, action_space, self._taken)
        self.form = self._form()
        self.is_known = np.array([index is not None for index in self._taken])

    def see(self, raw: Raw, indices: np.ndarray, starts: np.ndarray) -> Advice:
        """Returns what the source would do next.

        Args:
            raw: [batch, ...] observations as the innermost environments give them, of one moment.
            indices: [batch] the environments that they are of.
            starts: [batch] where an episode begins, so that what came before is forgotten.
        """
        return self.advise(self.observe(raw, indices, starts))

    def observe(self, raw: Raw, indices: np.ndarray, starts: np.ndarray) -> Any:
        """Returns what the source's policy sees of these observations: its inputs, statistics and frames."""
        return self._view.of_source(raw, indices, starts)

    def advise(self, observations: Any) -> Advice:
        """Returns what the source would do where its policy sees these observations."""
        with torch.no_grad():
            centre, spread = self._outputs(self.policy.obs_to_tensor(observations)[0])
        return self._in_targets_actions(centre, spread)

    def state(self) -> dict[str, Any]:
        """Returns the frames that it remembers, by key."""
        return self._view.state()

    def put_back(self, state: dict[str, Any]) -> None:
        """Takes up the frames that it remembered."""
        self._view.put_back(state)

    def act(self, advice: Advice, rng: np.random.Generator) -> np.ndarray:
        """Returns an action of the target's environments for each state: sampled where the source's policy samples."""
        if self.form == "categorical":
            if self.algo not in _SAMPLES:
                best: np.ndarray = advice.centre.argmax(axis=1)
                return best
            drawn = rng.random((len(advice.centre), 1))
            passed = (advice.centre.cumsum(axis=1) < drawn).sum(axis=1)
            sampled: np.ndarray = np.minimum(passed, advice.centre.shape[1] - 1)
            return sampled
        assert isinstance(self._space, spaces.Box)
        noise = rng.standard_normal(advice.centre.shape)
        values = self.in_environment(advice.centre + advice.spread * noise)
        actions: np.ndarray = values.reshape(-1, *self._space.shape).astype(self._space.dtype)
        return actions

    def in_environment(self, values: np.ndarray) -> np.ndarray:
        """Returns actions of the environment from values of this form: [batch, actions], inside the target's bounds."""
        assert isinstance(self._space, spaces.Box)
        if self.form == "squashed":
            assert isinstance(self._source_space, spaces.Box)
            low, high = (
                self._mapped(bound.reshape(1, -1)) for bound in (self._source_space.low, self._source_space.high)
            )
            values = low + (np.tanh(values) + 1.0) * (high - low) / 2.0
        inside: np.ndarray = np.clip(values, self._space.low.reshape(-1), self._space.high.reshape(-1))
        return inside

    def _form(self) -> Form:
        if isinstance(self._space, spaces.Discrete):
            return "categorical"
        if self.algo in _SAMPLES:
            return "normal"
        # With gSDE the spread depends on the state; its mean is what counts.
        explores_by_state = getattr(getattr(self.policy, "actor", None), "use_sde", False)
        return "squashed" if self.algo in _SQUASHES and not explores_by_state else "point"

    def _outputs(self, observations: Any) -> tuple[np.ndarray, np.ndarray]:
        policy: Any = self.policy
        if self.algo in _SAMPLES:
            distribution = policy.get_distribution(observations).distribution
            if self.form == "categorical":
                return _without_spread(distribution.probs)
            return _numbers(distribution.mean), _numbers(distribution.stddev)
        if self.algo in ("dqn", "qrdqn"):
            values = policy.q_net(observations) if self.algo == "dqn" else policy.quantile_net(observations).mean(dim=1)
            return _without_spread(torch.softmax(values / self._temperature, dim=1))
        if self.form == "squashed":
            mean, log_std, _ = policy.actor.get_action_dist_params(observations)
            return _numbers(mean), _numbers(log_std.exp())
        actions = policy._predict(observations, deterministic=True)
        if self.form == "categorical":
            return _without_spread(torch.nn.functional.one_hot(actions.long().flatten(), int(self._source_space.n)))  # type: ignore[union-attr]
        values = _numbers(actions).reshape(len(actions), -1)
        return (policy.unscale_action(values) if policy.squash_output else values), np.zeros_like(values)

    def _in_targets_actions(self, centre: np.ndarray, spread: np.ndarray) -> Advice:
        centre, spread = self._mapped(centre.reshape(len(centre), -1)), self._mapped(spread.reshape(len(spread), -1))
        if self.form == "categorical":
            centre = centre / np.maximum(centre.sum(axis=1, keepdims=True), 1e-12)
        return Advice(centre, spread)

    def _mapped(self, values: np.ndarray) -> np.ndarray:
        """Returns the target's columns of the source's; what the source does not know is zero."""
        columns = [index or 0 for index in self._taken]
        known = np.array([index is not None for index in self._taken])
        return np.where(known, values[:, columns], 0.0)


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().cpu().numpy().astype(np.float64)


def _without_spread(values: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    numbers = _numbers(values)
    return numbers, np.zeros_like(numbers)


def taken_actions(
    source: spaces.Space[Any] | None, target: spaces.Space[Any], stated: IndexMap | None
) -> tuple[int | None, ...]:
    """Returns the source's action for each of the target's.

    Raises:
        IncompatibleError: They are not of one kind, or it is not said how they meet.
    """
    sizes = [_n_actions(space) for space in (source, target)]
    if type(source) is not type(target) or None in sizes:
        raise IncompatibleError(
            f"What the source does cannot be done here: its actions are {describe(source)}, the target's "
            f"{describe(target)}. Both must be Discrete, or both Box."
        )
    theirs, ours = (int(size or 0) for size in sizes)
    if stated is not None:
        return tuple(stated)
    if theirs != ours:
        raise IncompatibleError(
            f"What the source does cannot be done here: it knows {theirs} actions, and the target has {ours}. Say "
            "which action of the source each one of the target is with actions (--actions map:[0,1,None])."
        )
    return tuple(range(ours))


def _n_actions(space: spaces.Space[Any] | None) -> int | None:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    return spaces.flatdim(space) if isinstance(space, spaces.Box) else None


class _View:
    """Turns raw observations of the target into what the source saw: its entries, its statistics, its frames."""

    def __init__(self, encoder: Encoder, inputs: Mapping[str, InputMap], space: spaces.Space[Any], n_envs: int) -> None:
        source = encoder.observation_space
        assert source is not None
        self._is_dict = isinstance(source, spaces.Dict)
        stated = int(encoder.hyperparams.get("frame_stack") or 0) or None
        ours = _by_key(space)
        parts = {part.source: (key, part.entries) for key, part in inputs.items() if part.source is not None}
        self._sights: dict[str, _Sight] = {}
        for key, theirs in _by_key(source).items():
            own, entries = parts.get(key, (None, None)) if inputs else (key if key in ours else None, None)
            statistics = _statistics(encoder, key)
            self._sights[key] = _Sight(
                theirs,
                key=own,
                space=None if own is None else ours.get(own),
                entries=entries,
                statistic=statistics,
                stated_frames=stated,
                n_envs=n_envs,
            )

    def of_source(self, raw: Raw, indices: np.ndarray, starts: np.ndarray) -> Any:
        """Returns [batch, ...] observations in the source's space."""
        given = {"": raw} if isinstance(raw, np.ndarray) else raw
        seen = {key: sight.of_source(given, indices, starts) for key, sight in self._sights.items()}
        return seen if self._is_dict else seen[""]

    def state(self) -> dict[str, Any]:
        return {key: sight.stack.copy() for key, sight in self._sights.items() if sight.stack is not None}

    def put_back(self, state: dict[str, Any]) -> None:
        for key, stack in state.items():
            self._sights[key].stack = stack.copy()


@dataclasses.dataclass(frozen=True)
class _Statistic:
    mean: np.ndarray
    deviation: np.ndarray
    bound: float


class _Sight:
    """What the source saw under one key, from the target's key that stands for it (None: nothing does)."""

    def __init__(
        self,
        source: spaces.Space[Any],
        *,
        key: str | None,
        space: spaces.Space[Any] | None,
        entries: IndexMap | None,
        statistic: _Statistic | None,
        stated_frames: int | None,
        n_envs: int,
    ) -> None:
        self._key = key
        self._transposes = space is not None and is_image_space(space) and not is_image_space_channels_first(space)  # type: ignore[arg-type]
        if self._transposes:
            space = VecTransposeImage.transpose_space(space)  # type: ignore[arg-type]
        self._shape = source.shape or ()
        self._dtype = source.dtype
        self._axis = 0 if len(self._shape) == 3 else len(self._shape) - 1
        self._frame, self._columns = self._shape, None
        if entries is not None:
            assert space is not None
            whole = self._shape[self._axis] if len(self._shape) == 3 else math.prod(self._shape)
            frames, self._columns = _of_one_frame(entries, space, whole, stated_frames)
            self._frame = self._frame_of(frames)
        elif space is not None:
            self._frame = space.shape or ()
        if not _stacks(self._frame, self._shape, self._axis) or not _is_same_kind(source, space):
            raise IncompatibleError(
                f"The source's policy cannot act here: it reads {describe(source)}, and the target's environments give "
                f"{describe(space) if space is not None else 'nothing'}. Say which input of the source each one of the "
                "target is with inputs (--inputs map:[0,1,None])."
            )
        self._statistic = statistic
        if statistic is not None and statistic.mean.shape != self._frame:
            raise IncompatibleError(
                f"The source's policy cannot act here: its observation statistics are of shape "
                f"{list(statistic.mean.shape)}, and one observation is of shape {list(self._frame)}."
            )
        frames = self._shape[self._axis] // self._frame[self._axis] if self._shape else 1
        self.stack = np.zeros((n_envs, *self._shape), dtype=np.float32) if frames > 1 else None

    def of_source(self, given: Mapping[str, np.ndarray], indices: np.ndarray, starts: np.ndarray) -> np.ndarray:
        frame = self._one_frame(given, len(indices))
        if self._statistic is not None:
            known = self._statistic
            frame = np.clip((frame - known.mean) / known.deviation, -known.bound, known.bound)
        if self.stack is not None:
            stack = self.stack[indices]
            stack[starts] = 0.0
            length, axis = self._frame[self._axis], self._axis + 1
            stack = np.roll(stack, -length, axis=axis)
            newest = [slice(None)] * stack.ndim
            newest[axis] = slice(stack.shape[axis] - length, None)
            stack[tuple(newest)] = frame
            self.stack[indices] = stack
            frame = stack
        is_scaled = self._statistic is not None
        return frame.astype(np.float32 if is_scaled else self._dtype)

    def _one_frame(self, given: Mapping[str, np.ndarray], batch: int) -> np.ndarray:
        if self._key is None:
            return self._unknown(batch)
        values = np.asarray(given[self._key])
        if self._transposes:
            values = values.transpose(0, 3, 1, 2)
        if self._columns is None:
            return values
        frame = self._unknown(batch)
        ours = [place for place, column in enumerate(self._columns) if column is not None]
        theirs = [column for column in self._columns if column is not None]
        if self._axis == 0 and len(self._frame) == 3:
            frame[:, theirs] = values[:, ours]
        else:
            frame.reshape(batch, -1)[:, theirs] = values.reshape(batch, -1)[:, ours]
        return frame

    def _unknown(self, batch: int) -> np.ndarray:
        """Returns what stands for inputs that the target does not have: the source's mean, or zero."""
        usual = 0.0 if self._statistic is None else self._statistic.mean
        return np.broadcast_to(usual, (batch, *self._frame)).astype(np.float64)

    def _frame_of(self, frames: int) -> tuple[int, ...]:
        shape = list(self._shape)
        shape[self._axis] //= frames
        return tuple(shape)


def _is_same_kind(source: spaces.Space[Any], space: spaces.Space[Any] | None) -> bool:
    return space is None or (isinstance(space, spaces.Box) and isinstance(source, spaces.Box)) or source == space


def _stacks(frame: tuple[int, ...], whole: tuple[int, ...], axis: int) -> bool:
    """Says whether a whole number of frames makes an observation of the source."""
    if len(frame) != len(whole):
        return False
    others_fit = all(own == other for side, (own, other) in enumerate(zip(frame, whole, strict=True)) if side != axis)
    return others_fit and (not frame or (frame[axis] > 0 and whole[axis] % frame[axis] == 0))


def _of_one_frame(
    entries: IndexMap, space: spaces.Space[Any], whole: int, stated_frames: int | None
) -> tuple[int, IndexMap]:
    """Returns how many frames the source stacked, and the map of one, from that of an agent that may stack several.

    Args:
        entries: The source's entry (of images: channel) for each of the agent's.
        space: One frame of the target's environments.
        whole: How many entries or channels the source's observation has.
        stated_frames: How many frames the source says that it stacked.

    Raises:
        IncompatibleError: The map is not the same for each frame.
    """
    shape = space.shape or ()
    own = shape[0] if len(shape) == 3 else math.prod(shape)
    parts = [entries[start : start + own] for start in range(0, len(entries), own)]
    for frames in dict.fromkeys([stated_frames or len(parts), stated_frames or 1]):
        size = whole // frames
        maps = {tuple(None if entry is None else entry % size for entry in part) for part in parts} if size else set()
        is_in_place = len(parts) == 1 or (
            len(parts) == frames
            and all(entry is None or entry // size == place for place, part in enumerate(parts) for entry in part)
        )
        if whole % frames == 0 and len(maps) == 1 and is_in_place:
            return frames, maps.pop()
        if frames == 1 and all(entry is None for part in parts[:-1] for entry in part):
            # The source saw one frame, which is the latest here.
            return 1, parts[-1]
    raise IncompatibleError(
        "The source's policy cannot act here: the map of inputs is not the same for each of the stacked frames. Map "
        "each frame alike, to the frame of the source that is as old."
    )


def _by_key(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    return dict(space.spaces) if isinstance(space, spaces.Dict) else {"": space}


def _statistics(encoder: Encoder, key: str) -> _Statistic | None:
    normaliser = encoder.normaliser
    if normaliser is None or not normaliser.norm_obs or normaliser.observation is None:
        return None
    found = normaliser.observation
    own = found.get(key) if isinstance(found, dict) else found
    if not isinstance(own, Statistics):
        return None
    return _Statistic(own.mean, np.sqrt(own.var + normaliser.epsilon), normaliser.clip_obs)
