"""Moves layers by low-rank updates (LoRA), whose factors and optimizers stand beside the agent and SB3's own."""

import copy
import dataclasses
import inspect
import zlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rltransfer.anatomy import Anatomy, choose_layers, refuse_unknown_layers
from rltransfer.errors import IncompatibleError
from rltransfer.records import MOVED, Check, Finding, PlanEntry
from rltransfer.strategies import LoRA
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.layer_counts import LayerCount
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.optimizer_hooks import agent_optimizers
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair

_FACTORS_STREAM = 4


class LoRAMethod(Method[LoRA]):
    """Moves chosen layers by low-rank updates, whose factors have an optimizer of their own."""

    stage = Stage.STEPPING

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:
        """Returns the rules with the layers that updates move.

        Raises:
            IncompatibleError: It names layers that do not move.
        """
        settings = self.settings
        named = choose_layers(anatomy, settings.layers, ["shared", "actor", "critic"])
        if isinstance(settings.layers, tuple):
            refuse_unknown_layers(anatomy, settings.layers)
            for name in sorted(named - rules.chosen):
                raise IncompatibleError(
                    f"'lora' changes what moves, and {name} starts afresh: it has to be learned at full rank. Leave it "
                    "out of the setting layers of 'lora', or move it too."
                )
        return rules.with_(
            low_rank=frozenset(named & rules.chosen),
            rank=settings.rank,
            rank_gain=settings.gain,
            holds_vectors=not settings.bias,
        )

    def layer_counts(self) -> Iterator[LayerCount]:
        """Yields the number of layers that updates are to move."""
        if isinstance(self.settings.layers, int):
            yield LayerCount(self.settings.kind, "layers", self.settings.layers, ("shared", "actor", "critic"))

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:
        """Returns its kind where it moves one of the layers."""
        return self.settings.kind if any(name in rules.low_rank for name in layers) else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:
        """Returns whether an update would move one of these layers."""
        return any(entry.layer in rules.low_rank for entry in frozen)

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if an update has nothing to change, or should learn what new inputs bring."""
        _refuse_low_rank(plan.entries)

    def warnings(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> Iterator[Finding]:  # noqa: ARG002
        """Yields the layers of which the rank is no limit."""
        free = sorted({entry.layer for entry in plan.entries if entry.rank and entry.rank == entry.full_rank})
        if free:
            words = f"the rank of the updates is no limit where a layer has no more inputs or units: {', '.join(free)}"
            yield Finding(kind="full_rank", severity="note", words=words)

    def install(self, installation: "Installation") -> None:
        """Takes the layers out of SB3's steps, and moves their factors instead."""
        optimizers = agent_optimizers(installation.agent)
        installation.updates = LowRankUpdates(installation.plan, installation.tensors, optimizers)
        installation.add(installation.updates)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields changes of a higher rank, vectors that changed, and that nothing did."""
        updated = run.entries(lambda entry: entry.rank > 0)
        yield from run.not_trained(updated) if updated else ("no layer is moved by an update",)
        for entry in updated:
            change = (run.trained[entry.tensor] - run.applied[entry.tensor]).double().reshape(entry.shape[0], -1)
            values = torch.linalg.svdvals(change)
            if len(values) > entry.rank and values[entry.rank] > 1e-4 * max(float(values[0]), 1e-4):
                yield f"{entry.tensor} changed by more than rank {entry.rank}"
        layers = {entry.layer for entry in updated}
        vectors = run.entries(lambda entry: entry.layer in layers and len(entry.shape) == 1 and not entry.rank)
        if not self.settings.bias:
            yield from run.not_frozen(entry for entry in vectors if entry.frozen or entry.trains)


def _refuse_low_rank(entries: Sequence[PlanEntry]) -> None:
    changed = [entry for entry in entries if entry.rank]
    if not changed and any(entry.frozen_by_user and entry.origin in MOVED for entry in entries):
        raise IncompatibleError(
            "'lora' changes layers that move, and you froze all of these (requires_grad False): unfreeze some, or "
            "leave 'lora' out."
        )
    if not changed:
        raise IncompatibleError(
            "'lora' changes layers that move, and no layer moves: choose some (setting layers), or leave 'lora' out."
        )
    for entry in changed:
        if {"zero", "random", "fresh"} & {*(entry.columns or ())}:
            raise IncompatibleError(
                f"'lora' cannot change {entry.layer}: it has columns that the source does not have, and what they "
                "bring has to be learned at full rank. Name the other layers (setting layers of 'lora')."
            )


@dataclasses.dataclass(frozen=True, eq=False)
class _Layer:
    """A weight with the factors of its update: ``weight = start + gain * up @ down``, as a matrix [out, in]."""

    name: str
    weight: torch.nn.Parameter
    start: torch.Tensor
    down: torch.nn.Parameter
    up: torch.nn.Parameter
    gain: float

    def receive(self, held: Collection[torch.Tensor]) -> bool:
        """Turns the weight's gradient into the factors' (the chain rule); says whether there is one."""
        if self.weight.grad is None or self.weight in held:
            self.down.grad = self.up.grad = None
            return False
        gradient = self.weight.grad.reshape(self.start.shape)
        self.up.grad = torch.addmm(self.up, gradient, self.down.T, beta=0, alpha=self.gain)
        self.down.grad = torch.addmm(self.down, self.up.T, gradient, beta=0, alpha=self.gain)
        return True

    def merge(self) -> None:
        """Writes the sum into the weight, in place."""
        torch.addmm(self.start, self.up, self.down, alpha=self.gain, out=self.weight.view(self.start.shape))

    def excess(self) -> float:
        """Returns how far the weight's change is from the factors' rank, in units of what rounding can explain."""
        now = self.weight.detach().reshape(self.start.shape).double().cpu()
        start = self.start.double().cpu()
        beyond = torch.linalg.svdvals(now - start)[len(self.down) :]
        rounding = torch.finfo(self.weight.dtype).eps * float(max(now.abs().max(), start.abs().max()))
        return float(beyond.max()) / (rounding * start.numel() ** 0.5) if len(beyond) else 0.0


@dataclasses.dataclass(frozen=True, eq=False)
class _Step:
    """What moves in a step of one optimizer of SB3: its layers, and the optimizer of their factors."""

    layers: list[_Layer]
    weights: frozenset[torch.Tensor]
    factors_optimizer: torch.optim.Optimizer


class LowRankUpdates(HeldCallback):
    """The low-rank updates of an agent's layers, and the optimizers that move their factors.

    The gradient of the merged weight is all that the factors' gradients need, so that nothing is added to forward
    passes, and the weights that are saved, evaluated and copied to target networks are plain ones.
    """

    def __init__(
        self,
        plan: Plan,
        tensors: Mapping[str, torch.Tensor],
        optimizers: Mapping[str, torch.optim.Optimizer],
    ) -> None:
        super().__init__()
        self._stock = dict(optimizers)
        self._groups = _groups_of(optimizers)
        entries = {tensors[entry.tensor]: entry for entry in plan.entries if entry.rank}
        self._steps: dict[str, _Step] = {}
        for name, stock in optimizers.items():
            own_entries = [
                entries[parameter]
                for group in stock.param_groups
                for parameter in group["params"]
                if parameter in entries
            ]
            if own_entries:
                layers = [_layer(entry, plan, tensors[entry.tensor]) for entry in own_entries]
                factors = _like(stock, layers, [entry.lr_scale for entry in own_entries])
                self._steps[name] = _Step(layers, frozenset(layer.weight for layer in layers), factors)

    @property
    def weights(self) -> frozenset[torch.Tensor]:
        """The weights that these updates move."""
        return frozenset().union(*(step.weights for step in self._steps.values()))

    @torch.no_grad()
    def step(self, stock: torch.optim.Optimizer, held: Collection[torch.Tensor]) -> frozenset[torch.Tensor]:
        """Moves the layers of an optimizer of SB3 that are not held, and returns all: it is to leave them alone."""
        step = next(self._steps[name] for name, other in self._stock.items() if other is stock)
        moving = [layer for layer in step.layers if layer.receive(held)]
        if moving:
            for group in step.factors_optimizer.param_groups:
                group["lr"] = stock.param_groups[0]["lr"] * group["lr_scale"]
            step.factors_optimizer.step()
            for layer in moving:
                layer.merge()
        return step.weights

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks: the rank of each change, and that SB3's optimizers are as they were."""
        layers = self._layers()
        wrong = [layer.name for layer in layers if layer.excess() > 1.0]
        detail = f"{len(layers)} tensors" + (f"; not so: {', '.join(wrong)}" if wrong else "")
        same = _groups_of(self._stock) == self._groups
        return (
            Check(name="low-rank updates have their rank", passed=not wrong, detail=detail),
            Check(name="optimizer groups are SB3's", passed=same, detail=f"{len(self._stock)} optimizers"),
        )

    def state_dict(self) -> dict[str, Any]:
        """Returns the factors and the states of their optimizers."""
        return {
            "factors": {
                layer.name: (layer.up.detach().clone(), layer.down.detach().clone()) for layer in self._layers()
            },
            "optimizers": {
                name: copy.deepcopy(step.factors_optimizer.state_dict()) for name, step in self._steps.items()
            },
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads what ``state_dict`` returned; the weights follow from it."""
        for layer in self._layers():
            up, down = state["factors"][layer.name]
            layer.up.copy_(up)
            layer.down.copy_(down)
            layer.merge()
        for name, step in self._steps.items():
            step.factors_optimizer.load_state_dict(copy.deepcopy(state["optimizers"][name]))

    def _layers(self) -> list[_Layer]:
        return [layer for step in self._steps.values() for layer in step.layers]


def _layer(entry: PlanEntry, plan: Plan, weight: torch.Tensor) -> _Layer:
    assert isinstance(weight, torch.nn.Parameter)
    start = weight.detach().reshape(len(weight), -1).clone()
    width = start.shape[1]
    rng = np.random.default_rng([plan.seed, zlib.crc32(entry.tensor.encode()), _FACTORS_STREAM])
    down = torch.as_tensor(rng.standard_normal((entry.rank, width)) / width**0.5).to(weight)
    return _Layer(
        name=entry.tensor,
        weight=weight,
        start=start,
        down=torch.nn.Parameter(down),
        up=torch.nn.Parameter(start.new_zeros(len(weight), entry.rank)),
        gain=entry.rank_gain,
    )


def _like(stock: torch.optim.Optimizer, layers: list[_Layer], scales: list[float]) -> torch.optim.Optimizer:
    """Returns an optimizer for the factors, of the class and with the settings of SB3's."""
    kind = type(stock)
    arguments = inspect.signature(kind).parameters
    settings = {name: value for name, value in stock.param_groups[0].items() if name in arguments and name != "params"}
    if "fused" in arguments and layers[0].weight.device.type in ("cpu", "cuda"):
        # The same steps for many small factors in one kernel.
        settings |= {"fused": True, "foreach": False}
    by_scale: dict[float, list[torch.nn.Parameter]] = {}
    for layer, scale in zip(layers, scales, strict=True):
        by_scale.setdefault(scale, []).extend((layer.up, layer.down))
    return kind([{"params": factors, "lr_scale": scale} for scale, factors in by_scale.items()], **settings)


def _groups_of(optimizers: Mapping[str, torch.optim.Optimizer]) -> dict[str, list[list[int]]]:
    return {
        name: [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
        for name, optimizer in optimizers.items()
    }
