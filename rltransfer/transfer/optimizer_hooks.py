"""Makes an agent's optimizers step as planned: rates and pulls by layer, and what is held until its step.

Hooks around each step, so that SB3's groups and schedules are its own outside of it; and callbacks that watch what is
held.
"""

import dataclasses
import operator
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import torch

from rltransfer.algorithms import spec_of
from rltransfer.errors import IncompatibleError
from rltransfer.records import MOVED, Check, PlanEntry
from rltransfer.transfer.elapsed import ElapsedSteps
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.values import anchored, importance_in_places, planned_tensors

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def agent_optimizers(agent: "BaseAlgorithm") -> dict[str, torch.optim.Optimizer]:
    """Returns an agent's optimizers by the names under which SB3 saves them; SAC has three."""
    names, _ = agent._get_torch_save_params()
    saved = {name: operator.attrgetter(name)(agent) for name in names}
    return {name: item for name, item in saved.items() if isinstance(item, torch.optim.Optimizer)}


class Updates(Protocol):
    """What moves some weights in the place of SB3's optimizers."""

    @property
    def weights(self) -> frozenset[torch.Tensor]:
        """The weights that it moves."""

    def step(self, optimizer: torch.optim.Optimizer, held: Collection[torch.Tensor], /) -> frozenset[torch.Tensor]:
        """Moves those of an optimizer that are not held, and returns all of them: the optimizer leaves them alone."""


def remove_hooks(hooks: dict[int, Any], kind: type) -> None:
    """Removes the hooks that are methods of a ``kind``."""
    for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), kind)]:
        del hooks[key]


@dataclasses.dataclass(frozen=True)
class _Held:
    """Tensors that no update may change in the first ``until`` env_steps; ``start`` holds the buffers."""

    parameters: frozenset[torch.Tensor]
    buffers: list[torch.Tensor]
    start: list[torch.Tensor]
    until: int


@dataclasses.dataclass(frozen=True)
class Pull:
    """A gradient of ``strength * (w - anchor)``, entry by entry."""

    anchor: torch.Tensor
    strength: torch.Tensor


@dataclasses.dataclass(frozen=True)
class StepRules:
    """What a held plan asks of an optimizer's next step, for trainers that do not call ``optimizer.step``.

    Attributes:
        scales: By which factor the learning rate of a parameter differs from the optimizer's.
        held: The parameters that the step leaves out; SB3's clipping counts their gradients all the same.
        pulls: Gradients that are added after SB3's clipping, to those of parameters that are not held.
        is_moved_otherwise: Whether something else than the optimizer moves some parameters.
    """

    scales: Mapping[torch.Tensor, float] = dataclasses.field(default_factory=dict)
    held: frozenset[torch.Tensor] = frozenset()
    pulls: Mapping[torch.Tensor, Pull] = dataclasses.field(default_factory=dict)
    is_moved_otherwise: bool = False


def step_rules(optimizer: torch.optim.Optimizer) -> StepRules:
    """Returns what a held plan asks of an optimizer's next step; nothing where none is held."""
    for hook in optimizer._optimizer_step_pre_hooks.values():
        if (step := _planned_step(hook)) is not None:
            return step.rules()
    return StepRules()


def is_plan_hook(hook: Any) -> bool:
    """Returns whether a hook of an optimizer carries out what ``step_rules`` returns."""
    return _planned_step(hook) is not None


def _planned_step(hook: Any) -> "_PlannedStep | None":
    owner = getattr(hook, "__self__", None)
    return owner if isinstance(owner, _PlannedStep) else None


class _PlannedStep:
    """Splits an optimizer's groups by learning-rate scale, and leaves out what is held, for the length of one step.

    What is pulled gets the pull's gradient on top of the loss's, which SB3 has clipped by then. Layers with low-rank
    updates are moved by these, and SB3's optimizer leaves them out.

    SB3 sets every group to one rate before each update, and a zip with extra groups does not load in stock SB3
    (sb3_facts.md#learning-rates, #freezing): outside a step the optimizer looks as SB3 made it.
    """

    def __init__(
        self,
        elapsed: ElapsedSteps,
        scales: Mapping[torch.Tensor, float],
        held: list[_Held],
        pulls: Mapping[torch.Tensor, Pull],
        updates: Updates | None,
    ) -> None:
        self._elapsed = elapsed
        self._scales = scales
        self._held = held
        self._pulls = pulls
        self._updates = updates
        self._pulled = list(pulls)
        self._anchors = [pull.anchor for pull in pulls.values()]
        self._strengths = [pull.strength for pull in pulls.values()]
        self._groups: list[dict[str, Any]] | None = None

    def rules(self) -> StepRules:
        """Returns what the next step is to be."""
        return StepRules(
            scales=self._scales,
            held=frozenset(self._left_out()),
            pulls=self._pulls,
            is_moved_otherwise=self._updates is not None,
        )

    def before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Replaces the groups by planned ones; undoes first what a step that raised left behind."""
        self._put_back(optimizer)
        left_out = self._left_out()
        if self._pulled:
            self._pull(left_out)
        if self._updates is not None:
            left_out |= self._updates.step(optimizer, left_out)
        if not left_out and not self._scales:
            return
        self._groups = optimizer.param_groups
        split: list[dict[str, Any]] = []
        for group in self._groups:
            by_scale: dict[float, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter not in left_out:
                    by_scale.setdefault(self._scales.get(parameter, 1.0), []).append(parameter)
            split += [{**group, "params": params, "lr": group["lr"] * scale} for scale, params in by_scale.items()]
        optimizer.param_groups = split

    def after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Puts SB3's own groups back, and the buffers of what is held: running statistics move in a forward pass."""
        self._put_back(optimizer)
        if not self._held:
            return
        with torch.no_grad():
            for held in self._holding():
                if held.buffers:
                    torch._foreach_copy_(held.buffers, held.start)

    @torch.no_grad()
    def _pull(self, left_out: set[torch.Tensor]) -> None:
        pulled, anchors, strengths = self._pulled, self._anchors, self._strengths
        gradients = [parameter.grad for parameter in pulled if parameter.grad is not None]
        if left_out or len(gradients) < len(pulled):
            pulled = [
                parameter for parameter in self._pulled if parameter.grad is not None and parameter not in left_out
            ]
            anchors = [self._pulls[parameter].anchor for parameter in pulled]
            strengths = [self._pulls[parameter].strength for parameter in pulled]
            gradients = [parameter.grad for parameter in pulled if parameter.grad is not None]
        if pulled:
            torch._foreach_addcmul_(gradients, torch._foreach_sub(pulled, anchors), strengths)

    def _left_out(self) -> set[torch.Tensor]:
        return {parameter for held in self._holding() for parameter in held.parameters} if self._held else set()

    def _put_back(self, optimizer: torch.optim.Optimizer) -> None:
        if self._groups is not None:
            optimizer.param_groups = self._groups
            self._groups = None

    def _holding(self) -> list[_Held]:
        steps = self._elapsed.steps
        return [held for held in self._held if steps < held.until]


def plan_steps(
    plan: Plan,
    agent: "BaseAlgorithm",
    tensors: Mapping[str, torch.Tensor],
    elapsed: ElapsedSteps,
    *,
    importance: Mapping[str, torch.Tensor] | None = None,
    updates: Updates | None = None,
) -> None:
    """Puts the hooks around the steps of every optimizer that the plan changes; those of an earlier plan go.

    ``importance`` is the Fisher information of the source's weights, where the plan has a pull by it; ``updates`` move
    some layers in the place of SB3's optimizers.
    """
    scales = {tensors[entry.tensor]: entry.lr_scale for entry in plan.entries if entry.trains and entry.lr_scale != 1.0}
    online = [entry for entry in plan.entries if entry.twin is None and not entry.frozen]
    held = [
        _held([entry for entry in online if entry.branch in ("actor", "shared")], tensors, plan.critic_warmup_steps),
        _held(online, tensors, plan.quiet_steps or 0),
        *(_held(entries, tensors, until) for until, entries in _released_later(plan).items()),
    ]
    held = [hold for hold in held if hold.until > elapsed.steps]
    holds = {parameter for hold in held for parameter in hold.parameters}
    pulls = _pulls(plan, tensors, importance or {})
    updated = updates.weights if updates is not None else frozenset()
    for optimizer in agent_optimizers(agent).values():
        remove_hooks(optimizer._optimizer_step_pre_hooks, _PlannedStep)
        remove_hooks(optimizer._optimizer_step_post_hooks, _PlannedStep)
        stepped = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        if stepped & (scales.keys() | holds | pulls.keys() | updated):
            step = _PlannedStep(
                elapsed,
                {parameter: scale for parameter, scale in scales.items() if parameter in stepped},
                [hold for hold in held if hold.buffers or hold.parameters & stepped],
                {parameter: pull for parameter, pull in pulls.items() if parameter in stepped},
                updates if stepped & updated else None,
            )
            optimizer.register_step_pre_hook(step.before)
            optimizer.register_step_post_hook(step.after)


def _held(entries: list[PlanEntry], tensors: Mapping[str, torch.Tensor], until: int) -> _Held:
    buffers = [tensors[entry.tensor].data for entry in entries if not entry.trains]
    return _Held(
        parameters=frozenset(tensors[entry.tensor] for entry in entries if entry.trains),
        buffers=buffers,
        start=[buffer.clone() for buffer in buffers],
        until=until,
    )


def _released_later(plan: Plan) -> dict[int, list[PlanEntry]]:
    """Returns the entries that learn from a step on, by that step."""
    steps = sorted({entry.held_until for entry in plan.entries if entry.held_until})
    return {step: [entry for entry in plan.entries if entry.held_until == step] for step in steps}


def _is_pulled(entry: PlanEntry) -> bool:
    return max(entry.pull, entry.decay, entry.importance, entry.return_pull) > 0


def refuse_lost_anchors(plan: Plan) -> None:
    """Raises IncompatibleError if a plan pulls towards numbers that it does not have."""
    if plan.fresh is None and any(entry.return_pull for entry in plan.entries):
        raise IncompatibleError(
            "The plan pulls weights to what they started from, and was read from a file without them: it can only be "
            "held by the process that made it, or by resuming its run."
        )
    if plan.encoder is None and any(_is_pulled(entry) and entry.origin in MOVED for entry in plan.entries):
        raise IncompatibleError(
            "The plan pulls weights towards the source's, and was read from a file without them: hold "
            "dataclasses.replace(plan, encoder=load_encoder(SOURCE)) instead."
        )


def _pulls(
    plan: Plan, tensors: Mapping[str, torch.Tensor], importance: Mapping[str, torch.Tensor]
) -> dict[torch.Tensor, Pull]:
    """Returns the pull on each parameter, from plan and source alone: it is the same after a load.

    Pulls of one weight to two places are one pull, to the place between them.
    """
    starts = planned_tensors(plan, plan.fresh) if plan.fresh is not None else {}
    pulls = {}
    for entry in (entry for entry in plan.entries if _is_pulled(entry)):
        parameter = tensors[entry.tensor]
        anchor, places = anchored(plan, entry, parameter.detach())
        strength = places * entry.pull + (1 - places) * entry.decay
        if entry.importance:
            strength = strength + entry.importance * importance_in_places(plan, entry, importance, parameter.detach())
        if entry.return_pull:
            both = strength + entry.return_pull
            anchor = (strength * anchor + entry.return_pull * starts[entry.tensor]) / both
            strength = both
        pulls[parameter] = Pull(anchor, strength)
    return pulls


class WatchHeld(HeldCallback):
    """Watches that what is held stays as it is until its step; puts TRPO's actor back, which no optimizer moves."""

    def __init__(
        self, name: str, tensors: list[torch.Tensor], until: int, elapsed: ElapsedSteps, *, restores: bool = False
    ) -> None:
        super().__init__()
        if restores:
            self.needs_callbacks = "the actor of TRPO is not held"
        self._name = name
        self._elapsed = elapsed
        # The parameters, and not their memory: TRPO gives them another one.
        self._tensors = tensors
        self._start = [tensor.detach().clone() for tensor in tensors]
        self.until = until
        self._restores = restores
        self._stayed: bool | None = None

    def hold_on(self, agent: "BaseAlgorithm") -> None:
        """Looks before each update too: a call of ``learn`` without callbacks may be the one that releases."""
        for optimizer in agent_optimizers(agent).values():
            optimizer.register_step_pre_hook(self.before_step)

    def before_step(self, *_: Any) -> None:
        """Notes at the first update that may change what was held whether it is as it was."""
        if self._stayed is None and self._elapsed.steps >= self.until:
            self._stayed = self._is_unchanged()

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-check."""
        stayed = self._is_unchanged() if self._stayed is None else self._stayed
        return (Check(name=self._name, passed=stayed, detail=f"for {self.until:,} env_steps"),)

    def state_dict(self) -> dict[str, Any]:
        """Returns what was found when the tensors were released."""
        return {"stayed": self._stayed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads an earlier finding."""
        self._stayed = state["stayed"]

    def _on_rollout_start(self) -> None:
        self._restore_held()

    def _on_step(self) -> bool:
        self.before_step()
        return True

    def _on_training_end(self) -> None:
        self._restore_held()

    @torch.no_grad()
    def _restore_held(self) -> None:
        if self._restores and self._elapsed.steps < self.until:
            torch._foreach_copy_(self._tensors, self._start)

    def _is_unchanged(self) -> bool:
        return all(torch.equal(now, then) for now, then in zip(self._tensors, self._start, strict=True))


def watches_of(
    plan: Plan, agent: "BaseAlgorithm", tensors: Mapping[str, torch.Tensor], elapsed: ElapsedSteps
) -> list[WatchHeld]:
    """Returns the callbacks that watch what is still held, on an agent; those of an earlier plan go."""
    actor = [entry for entry in plan.entries if entry.branch in ("actor", "shared") and not entry.frozen]
    watches = [
        WatchHeld(
            "actor held while the critic warmed up",
            [tensors[entry.tensor] for entry in actor],
            plan.critic_warmup_steps,
            elapsed,
            restores=spec_of(plan.algo).uses_natural_gradient,
        )
    ]
    watches += [
        WatchHeld("layers held until they were released", [tensors[entry.tensor] for entry in entries], until, elapsed)
        for until, entries in _released_later(plan).items()
    ]
    watches = [watch for watch in watches if watch.until > elapsed.steps]
    for optimizer in agent_optimizers(agent).values():
        remove_hooks(optimizer._optimizer_step_pre_hooks, WatchHeld)
    for watch in watches:
        watch.hold_on(agent)
    return watches
