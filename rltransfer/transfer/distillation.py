"""Draws an agent to the source's policy, by a gradient that is added to each step of its actor's optimizer."""

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.utils import obs_as_tensor

from rltransfer.algorithms import ActionForm, all_specs, spec_of
from rltransfer.anatomy import spec_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import DistillationSettings
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.optimizer_hooks import agent_optimizers, remove_hooks
from rltransfer.transfer.source_actor import SourceActor
from rltransfer.transfer.source_policy import Advice, Form, SourcePolicy

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun

_FORMS: tuple[ActionForm, ...] = ("distribution", "q_values", "tanh_gaussian", "tanh")
_LEAST_SPREAD = 1e-3
_FEW_EPISODES = 3


def refuse_student(algo: str) -> None:
    """Raises IncompatibleError if an agent of an algorithm cannot be drawn to another policy."""
    reason = spec_of(algo).no_distillation
    if reason is not None:
        students = [
            spec.name
            for form in _FORMS
            for spec in all_specs()
            if spec.action_form == form and spec.no_distillation is None
        ]
        raise IncompatibleError(f"An agent of {algo} {reason}: 'kickstart' is for {', '.join(students)}.")


def undistilled(run: "TrainedRun") -> Iterator[str]:
    """Yields what shows that an agent was not drawn to the source's policy."""
    distillation = run.callback(Distillation)
    if distillation is None or not distillation.losses:
        yield "no distance from the source's policy was added to the loss"
    elif all(torch.equal(run.trained[name], run.control[name]) for name in run.trained):
        yield "the agent learned as without the source's policy"


class Distillation(HeldCallback):
    """Remembers the agent's states with what the source's policy would do there, and draws the agent to it.

    The minibatch of each step is its own, drawn by its own generator: SB3's minibatches stay what they were. The
    gradient comes after SB3's clipping, as that of other pulls.
    """

    needs_callbacks = "the agent is not drawn to the source"

    def __init__(
        self, source_actor: SourceActor, settings: DistillationSettings, elapsed: ElapsedSteps, agent: "BaseAlgorithm"
    ) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._source_actor = source_actor
        self._settings = settings
        self._rng = np.random.default_rng([int(agent.seed or 0), 11])
        self._first_return: float | None = None
        self._states: _States | None = None
        self.losses: list[float] = []
        self._student = _Student(agent, source_actor.source_policy)
        # Statistics move on while a state is remembered, so that it is remembered raw, as SB3's replay buffer does.
        self._is_off_policy = spec_of_agent(agent).keeps_replay_buffer
        self._normaliser = agent.get_vec_normalize_env() if self._is_off_policy else None
        optimizers = agent_optimizers(agent)
        optimizer = optimizers.get("actor.optimizer") or optimizers["policy.optimizer"]
        optimizer.register_step_pre_hook(self.before_step)

    def state_dict(self) -> dict[str, Any]:
        """Returns the remembered states with what was found so far."""
        return {
            "rng": self._rng.bit_generator.state,
            "first_return": self._first_return,
            "losses": list(self.losses),
            "states": copy.deepcopy(self._states),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned."""
        self._rng.bit_generator.state = state["rng"]
        self._first_return = state["first_return"]
        self.losses = list(state["losses"])
        self._states = copy.deepcopy(state["states"])

    @property
    def weight(self) -> float:
        """The weight of the loss now: it falls with time, and with the agent's lag behind the source's own return."""
        weight = self._settings.weight * self._lag()
        if self._settings.until is not None:
            weight *= max(0.0, 1.0 - self._elapsed.steps / self._settings.until)
        return weight

    def before_step(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Adds the gradient of the weighted distance between the source's policy and the agent's."""
        weight = self.weight
        if self._states is None or self._states.size == 0 or weight <= 0.0:
            return
        parameters = [tensor for group in optimizer.param_groups for tensor in group["params"] if tensor.requires_grad]
        observations, advice = self._states.draw(self._settings.batch_size, self._rng)
        if self._normaliser is not None:
            observations = self._normaliser.normalize_obs(observations)
        with torch.enable_grad():
            loss = self._student.distance(observations, advice, self._settings.temperature)
            gradients = torch.autograd.grad(weight * loss, parameters, allow_unused=True)
        self.losses = [*self.losses[-99:], float(loss.detach())]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient

    def _lag(self) -> float:
        """Returns how far the agent is behind, as a share of how far it was: 1 at first, 0 when it has caught up."""
        own_return, returns = self._source_actor.own_return, self._source_actor.returns
        if own_return is None or self._source_actor.n_episodes < min(_FEW_EPISODES, self._settings.window):
            return 1.0
        now = float(np.mean(returns))
        if self._first_return is None:
            self._first_return = now
        if own_return <= self._first_return:
            return 0.0
        return float(np.clip((own_return - now) / (own_return - self._first_return), 0.0, 1.0))

    def _on_rollout_start(self) -> None:
        if self._states is not None and not self._is_off_policy:
            self._states.forget()

    def _on_step(self) -> bool:
        advice, observations = self._source_actor.previous, self._remembered()
        if advice is not None and observations is not None:
            if self._states is None:
                self._states = _States(self._capacity(), observations, advice)
            self._states.add(observations, advice)
        return True

    def _remembered(self) -> Any:
        if self._normaliser is None:
            return self.model._last_obs
        original: Any = self.model._last_original_obs
        return original

    def _on_rollout_end(self) -> None:
        self.logger.record("transfer/teacher_weight", self.weight)
        if self.losses:
            self.logger.record("transfer/teacher_distance", float(np.mean(self.losses)))

    def _capacity(self) -> int:
        if not self._is_off_policy:
            return int(getattr(self.model, "n_steps", 1))
        return max(1, self._settings.memory // self.model.n_envs)


def remove_distillation(agent: "BaseAlgorithm") -> None:
    """Removes the hooks of an earlier distillation."""
    for optimizer in agent_optimizers(agent).values():
        remove_hooks(optimizer._optimizer_step_pre_hooks, Distillation)


class _States:
    """The latest states of an agent as it saw them, with the advice for each."""

    def __init__(self, capacity: int, observations: Any, advice: Advice) -> None:
        self._observations = {
            key: np.zeros((capacity, *part.shape), dtype=part.dtype) for key, part in _by_key(observations).items()
        }
        self._centre = np.zeros((capacity, *advice.centre.shape))
        self._spread = np.zeros((capacity, *advice.spread.shape))
        self._capacity, self._next, self.size = capacity, 0, 0

    def forget(self) -> None:
        self._next = self.size = 0

    def add(self, observations: Any, advice: Advice) -> None:
        for key, part in _by_key(observations).items():
            self._observations[key][self._next] = part
        self._centre[self._next], self._spread[self._next] = advice.centre, advice.spread
        self._next = (self._next + 1) % self._capacity
        self.size = min(self.size + 1, self._capacity)

    def draw(self, batch: int, rng: np.random.Generator) -> tuple[Any, Advice]:
        moments = rng.integers(self.size, size=batch)
        places = rng.integers(self._centre.shape[1], size=batch)
        drawn = {key: part[moments, places] for key, part in self._observations.items()}
        return drawn.get("", drawn), Advice(self._centre[moments, places], self._spread[moments, places])


def _by_key(observations: Any) -> dict[str, np.ndarray]:
    return observations if isinstance(observations, dict) else {"": observations}


class _Student:
    """An agent's policy as far as its distance from the source's policy needs it."""

    def __init__(self, agent: Any, source_policy: SourcePolicy) -> None:
        self._agent = agent
        self._policy = agent.policy
        self._spec = spec_of_agent(agent)
        self._source_policy = source_policy
        space = agent.action_space
        self._bounds: tuple[torch.Tensor, torch.Tensor] | None = None
        if isinstance(space, spaces.Box):
            bounded = np.isfinite(space.low).all() and np.isfinite(space.high).all()
            low, high = (space.low, space.high) if bounded else (-np.ones(space.shape), np.ones(space.shape))
            self._bounds = tuple(
                torch.as_tensor(b.reshape(-1), dtype=torch.float32, device=agent.device) for b in (low, high)
            )  # type: ignore[assignment]
        self._known = torch.as_tensor(source_policy.is_known, device=agent.device)
        self._form = self._common_form()

    def distance(self, observations: Any, advice: Advice, temperature: float) -> torch.Tensor:
        """Returns the mean distance from the source policy: KL(source policy || agent), or a squared one of actions."""
        tensors = obs_as_tensor(observations, self._agent.device)
        was_training = self._policy.training
        # Another forward pass must not move running statistics.
        self._policy.set_training_mode(False)
        try:
            measure: Callable[..., torch.Tensor] = self._of_actions if self._form == "point" else self._of_distributions
            return measure(tensors, advice, temperature)
        finally:
            self._policy.set_training_mode(was_training)

    def _common_form(self) -> Form:
        form: Form = "point"
        if self._bounds is None:
            form = "categorical"
        elif self._spec.action_form == "distribution":
            form = "normal"
        elif (
            self._spec.action_form == "tanh_gaussian"
            and not self._agent.use_sde
            # Between other bounds the same output before the tanh is another action.
            and self._source_policy.has_sources_bounds
        ):
            form = "squashed"
        return form if form == self._source_policy.form else "point"

    def _of_distributions(self, observations: Any, advice: Advice, temperature: float) -> torch.Tensor:
        centre, spread = (self._tensor(values) for values in (advice.centre, advice.spread))
        if self._form == "categorical":
            log_probabilities = self._log_probabilities(observations, temperature)
            return (torch.xlogy(centre, centre) - centre * log_probabilities).sum(dim=1).mean()
        mean, deviation = self._gaussian(observations)
        spread = spread.clamp(min=_LEAST_SPREAD)
        away = torch.log(deviation / spread) + (spread**2 + (centre - mean) ** 2) / (2 * deviation**2) - 0.5
        return (away * self._known).sum(dim=1).mean()

    def _of_actions(self, observations: Any, advice: Advice, _: float) -> torch.Tensor:
        assert self._bounds is not None
        wanted = self._scaled(self._tensor(self._source_policy.in_environment(advice.centre)))
        if self._spec.action_form == "distribution":
            actions = self._scaled(self._gaussian(observations)[0])
        elif self._spec.action_form == "tanh_gaussian":
            actions = torch.tanh(self._agent.actor.get_action_dist_params(observations)[0])
        else:
            actions = self._agent.actor(observations)
        return (0.5 * (actions - wanted) ** 2 * self._known).sum(dim=1).mean()

    def _log_probabilities(self, observations: Any, temperature: float) -> torch.Tensor:
        if self._spec.action_form == "distribution":
            logits: torch.Tensor = self._policy.get_distribution(observations).distribution.logits
            return torch.log_softmax(logits, dim=1)
        assert self._spec.q_values is not None
        return torch.log_softmax(self._spec.q_values(self._policy, observations) / temperature, dim=1)

    def _gaussian(self, observations: Any) -> tuple[torch.Tensor, torch.Tensor]:
        if self._spec.action_form == "distribution":
            distribution = self._policy.get_distribution(observations).distribution
            return distribution.mean, distribution.stddev
        mean, log_std, _ = self._agent.actor.get_action_dist_params(observations)
        return mean, log_std.exp()

    def _scaled(self, actions: torch.Tensor) -> torch.Tensor:
        assert self._bounds is not None
        low, high = self._bounds
        return 2.0 * (actions - low) / (high - low) - 1.0

    def _tensor(self, values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=self._agent.device)
