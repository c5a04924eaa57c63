"""A source's policy as it acts in a target: on its own observations and statistics, in the target's actions."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.artifact import Encoder
from rltransfer.artifact.policy import build_policy
from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.records import InputMap
from rltransfer.spaces import describe
from rltransfer.transfer.matching.action_bounds import other_bounds
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_view import Raw, SourceView

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

Form = Literal["categorical", "normal", "squashed", "point"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """What a source policy would do in a batch of states, in the target's actions.

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
    return env.unwrapped


def source_policy_of(plan: Plan, agent: "BaseAlgorithm", *, temperature: float = 1.0) -> "SourcePolicy":
    """Returns the plan's source as a source policy of an agent, in the agent's own environments.

    Raises:
        IncompatibleError: The plan has no source, the agent no environment, or they do not fit.
    """
    if agent.env is None:
        raise IncompatibleError("The source's policy acts in the agent's environments, and the agent has none.")
    return source_policy_in(plan, agent.env, temperature=temperature, device=agent.device)


def source_policy_in(
    plan: Plan, env: VecEnv, *, temperature: float = 1.0, device: torch.device | str = "cpu"
) -> "SourcePolicy":
    """Returns the plan's source as it acts in some environments; see ``source_policy_of``."""
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
    return SourcePolicy(
        plan.encoder,
        inputs=plan.inputs,
        actions=plan.actions,
        observation_space=base.observation_space,
        action_space=base.action_space,
        n_envs=base.num_envs,
        temperature=temperature,
        device=device,
    )


class SourcePolicy:
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
        self.algo = encoder.anatomy.spec.name
        self._spec = encoder.anatomy.spec
        self._view = SourceView(encoder, inputs, observation_space, n_envs)
        self._temperature = temperature
        self._space = action_space
        self._source_space = encoder.action_space
        self._taken = taken_actions(encoder.action_space, action_space, actions)
        self.has_sources_bounds = not other_bounds(encoder.action_space, action_space, self._taken)
        self.form = self._form()
        self.is_known = np.array([index is not None for index in self._taken])

    @property
    def samples(self) -> bool:
        """Whether it samples its actions; otherwise it takes the best."""
        return self._spec.action_form == "distribution"

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

    def state_dict(self) -> dict[str, Any]:
        """Returns the frames that it remembers, by key."""
        return self._view.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the frames that it remembered."""
        self._view.load_state_dict(state)

    def act(self, advice: Advice, rng: np.random.Generator) -> np.ndarray:
        """Returns an action of the target's environments for each state: sampled where the source's policy samples."""
        if self.form == "categorical":
            if self._spec.action_form != "distribution":
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
        if self._spec.action_form == "distribution":
            return "normal"
        # With gSDE the spread depends on the state; its mean is what counts.
        explores_by_state = getattr(getattr(self.policy, "actor", None), "use_sde", False)
        return "squashed" if self._spec.action_form == "tanh_gaussian" and not explores_by_state else "point"

    def _outputs(self, observations: Any) -> tuple[np.ndarray, np.ndarray]:
        policy: Any = self.policy
        if self._spec.action_form == "distribution":
            distribution = policy.get_distribution(observations).distribution
            if self.form == "categorical":
                return _without_spread(distribution.probs)
            return _numbers(distribution.mean), _numbers(distribution.stddev)
        if self._spec.q_values is not None:
            values = self._spec.q_values(policy, observations)
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
        is_known = np.array([index is not None for index in self._taken])
        return np.where(is_known, values[:, columns], 0.0)


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
        IncompatibleError: They are not of one kind, or it is not said how they match.
    """
    sizes = [_n_actions(space) for space in (source, target)]
    if type(source) is not type(target) or None in sizes:
        raise IncompatibleError(
            f"What the source does cannot be done here: its actions are {describe(source)}, the target's "
            f"{describe(target)}. Both must be Discrete, or both Box."
        )
    source_size, target_size = (int(size or 0) for size in sizes)
    if stated is not None:
        return tuple(stated)
    if source_size != target_size:
        raise IncompatibleError(
            f"What the source does cannot be done here: it knows {source_size} actions, "
            f"and the target has {target_size}. Say which action "
            "of the source each one of the target is with actions (--actions map:[0,1,None])."
        )
    return tuple(range(target_size))


def _n_actions(space: spaces.Space[Any] | None) -> int | None:
    if isinstance(space, spaces.Discrete):
        return int(space.n)
    return spaces.flatdim(space) if isinstance(space, spaces.Box) else None
