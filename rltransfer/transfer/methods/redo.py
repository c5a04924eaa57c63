"""Lets dormant units start again (ReDo; Sokar et al. 2023), on the agent's own states and with no step of its own."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rltransfer.anatomy import Anatomy, Layer, Output, Reader, agent_tensors, anatomy_of_agent, layer_outputs, readers
from rltransfer.errors import IncompatibleError
from rltransfer.records import PlanEntry
from rltransfer.strategies import ReDo
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair


class ReDoMethod(Method[ReDo]):
    """Initialises dormant units again, before training and every so many env_steps."""

    works_on_features = True
    stage = Stage.WEIGHTS

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:  # noqa: ARG002
        """Returns whether units of one of these layers would start again."""
        return any(entry.role == "encoder" for entry in frozen)

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if no unit could start again."""
        refuse_unrecyclable(plan, agent)

    def install(self, installation: "Installation") -> None:
        """Looks for dormant units whenever it is time."""
        installation.add(Recycle(installation.plan, installation.agent, self.settings, installation.elapsed))

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that no unit started again, or that the agent learned as if none had."""
        recycle = run.callback(Recycle)
        if recycle is None or not recycle.recycled:
            yield "no unit started again"
        elif all(torch.equal(run.trained[name], run.control[name]) for name in run.trained):
            yield "the agent learned as if no unit had started again"


def refuse_unrecyclable(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Raises IncompatibleError if no layer that learns has units whose readers are known."""
    anatomy = anatomy_of_agent(agent)
    if not any(_can_start_again(plan, anatomy, layer) for layer in anatomy.encoders()):
        raise IncompatibleError(
            "'redo' lets units of hidden layers start again, and none that learns can: they are frozen, moved by "
            "low-rank updates, or not plain linear layers and convolutions that read each other."
        )


class Recycle(HeldCallback):
    """Looks for dormant units before the first update, and then whenever ``every`` env_steps have passed.

    Looked at is the latest rollout, or the replay buffer. Layers that are frozen, or held at the time, are left alone.
    """

    needs_callbacks = "dormant units do not start again"

    def __init__(self, plan: Plan, agent: "BaseAlgorithm", settings: ReDo, elapsed: ElapsedSteps) -> None:
        super().__init__()
        self._elapsed = elapsed
        self._plan = plan
        self._settings = settings
        self._anatomy = anatomy_of_agent(agent)
        self._layers = [layer for layer in self._anatomy.encoders() if _can_start_again(plan, self._anatomy, layer)]
        self._held_until = _held_until(plan)
        # Each look draws from a stream of its own. In an agent that has learned already, the first looks are over, and
        # there were no more of them than steps.
        self._last = elapsed.steps
        self._looks = 0 if elapsed.steps <= self._starts(agent) else elapsed.steps
        self.recycled = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns the counts."""
        return {"looks": self._looks, "last": self._last, "recycled": self.recycled}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the counts."""
        self._looks, self._last, self.recycled = state["looks"], state["last"], state["recycled"]

    def _on_rollout_end(self) -> None:
        if self._is_due():
            self._look()
        self.logger.record("transfer/recycled_units", self.recycled)

    def _is_due(self) -> bool:
        steps, every = self._elapsed.steps, self._settings.every
        if steps <= self._starts(self.model):
            return False
        if not self._looks:
            return True
        return every is not None and steps // every > self._last // every

    def _starts(self, agent: Any) -> int:
        return max(getattr(agent, "learning_starts", 0), self._plan.quiet_steps or 0)

    def _look(self) -> None:
        rng = np.random.default_rng([self._plan.seed, 17, self._looks])
        observations = _own_states(self.model, self._settings.states, rng)
        outputs = layer_outputs(self.model, observations)
        dormant = {
            layer: torch.nonzero(dormant_units(outputs[layer.name], self._settings.threshold)).flatten()
            for layer in self._layers
            if layer.name in outputs and self._held_until.get(layer.name, 0) <= self._elapsed.steps
        }
        with torch.no_grad():
            for layer, units in dormant.items():
                self._read_anew(layer, units, int(rng.integers(2**31)))
            # At last, so that no unit that starts again is heard by another one that does.
            for layer, units in dormant.items():
                self._silence(layer, units)
        self.recycled += sum(len(units) for units in dormant.values())
        self._looks += 1
        self._last = self._elapsed.steps

    def _read_anew(self, layer: Layer, units: torch.Tensor, seed: int) -> None:
        module = self.model.policy.get_submodule(_module_name(self._anatomy, layer))
        fresh = _fresh_copy(self.model.policy, module, seed)
        for name, tensor in module.named_parameters(recurse=False):
            tensor[units] = getattr(fresh, name)[units]
            self._forget(tensor, units, side=0)

    def _silence(self, layer: Layer, units: torch.Tensor) -> None:
        tensors = agent_tensors(self.model)
        for reader in readers(self._anatomy, layer):
            columns = _columns_of(units, reader)
            tensors[reader.tensor][:, columns] = 0.0
            self._forget(tensors[reader.tensor], columns, side=1)

    def _forget(self, parameter: torch.Tensor, places: torch.Tensor, side: int) -> None:
        """Sets what optimizers remember of these rows or columns to zero."""
        for optimizer in agent_optimizers(self.model).values():
            for value in optimizer.state.get(parameter, {}).values():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                    value.index_fill_(side, places, 0.0)


def dormant_units(output: Output, threshold: float) -> torch.Tensor:
    """Returns which units are dormant: [units], boolean.

    Sokar et al. 2023, definition 3.1: the mean absolute activation over states (and places of an image), divided by its
    mean over the units of the layer, is at most the threshold.
    """
    values = output.values
    activity = values.abs().transpose(0, 1).flatten(start_dim=1).mean(dim=1)
    mean = activity.mean()
    return activity <= threshold * mean if mean > 0 else torch.ones_like(activity, dtype=torch.bool)


def _can_start_again(plan: Plan, anatomy: Anatomy, layer: Layer) -> bool:
    # What a low-rank update moves is its sum with the start: a row or column alone cannot start again.
    trained = {entry.tensor for entry in plan.entries if entry.trains and not entry.rank}
    readers_of_layer = readers(anatomy, layer)
    learns = all(tensor in trained for tensor in layer.tensors) and len(layer.tensors) <= 2
    return learns and bool(readers_of_layer) and all(reader.tensor in trained for reader in readers_of_layer)


def _held_until(plan: Plan) -> dict[str, int]:
    held: dict[str, int] = {}
    for entry in plan.entries:
        waits = plan.critic_warmup_steps if entry.branch in ("actor", "shared") else 0
        held[entry.layer] = max(held.get(entry.layer, 0), entry.held_until, waits)
    return held


def _module_name(anatomy: Anatomy, layer: Layer) -> str:
    matrix = next(tensor for tensor in layer.tensors if len(anatomy.shapes[tensor]) > 1)
    return matrix.removesuffix(".weight")


def _fresh_copy(policy: Any, module: torch.nn.Module, seed: int) -> torch.nn.Module:
    """Returns a module like another, initialised as SB3 initialises it; the run's generator is left alone."""
    fresh = copy.deepcopy(module)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if getattr(policy, "ortho_init", False):
            policy.init_weights(fresh, gain=math.sqrt(2))
        else:
            fresh.reset_parameters()  # type: ignore[operator]
    return fresh


def _columns_of(units: torch.Tensor, reader: Reader) -> torch.Tensor:
    inside = torch.arange(reader.per_unit, device=units.device)
    return (units[:, None] * reader.per_unit + inside).flatten()


def _own_states(agent: Any, amount: int, rng: np.random.Generator) -> Any:
    """Returns states that the agent has met, as its policy sees them; drawn with a generator of their own."""
    is_on_policy = hasattr(agent, "rollout_buffer")
    buffer = agent.rollout_buffer if is_on_policy else agent.replay_buffer
    size = buffer.buffer_size if is_on_policy or buffer.full else buffer.pos
    moments = rng.integers(size, size=amount)
    places = rng.integers(agent.n_envs, size=amount)
    stored = buffer.observations
    if isinstance(stored, dict):
        drawn: Any = {key: part[moments, places] for key, part in stored.items()}
    else:
        drawn = stored[moments, places]
    return drawn if is_on_policy else buffer._normalize_obs(drawn, agent.get_vec_normalize_env())
