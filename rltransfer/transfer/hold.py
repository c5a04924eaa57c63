"""Holds a plan on an agent while it trains: freezing, rates and pulls per layer, target copies, statistics.

Nothing here reaches an SB3 zip: what is saved stays stock. It is gone after a load or a deep copy, and is held again
with ``hold_plan`` (FACTS A4).
"""

import dataclasses
import hashlib
import operator
import types
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

from rltransfer.anatomy import agent_tensors, algorithm_of, anatomy_of_agent
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.transfer.plan import MOVED, Plan, PlanEntry
from rltransfer.transfer.statistics import hold_statistics, observation_statistics
from rltransfer.transfer.values import anchored

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


@dataclasses.dataclass(frozen=True)
class Transfer:
    """A plan that is held on an agent.

    Attributes:
        plan: The plan.
        agent: The agent that it is held on.
        callbacks: What ``agent.learn(callback=...)`` needs; at the end they warn of any self-check that fails.
    """

    plan: Plan
    agent: "BaseAlgorithm"
    callbacks: list[BaseCallback]
    _applied: tuple[Check, ...]
    _frozen: Mapping[str, str]
    _statistics: Mapping[str, np.ndarray]
    _watches: "list[_WatchHeld]"

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks as they stand now: call it after training."""
        return (
            *self._applied,
            self._check_frozen(),
            self._check_targets(),
            _check_optimizers(self.plan, self.agent),
            *self._check_statistics(),
            *(watch.check() for watch in self._watches),
        )

    def _check_frozen(self) -> Check:
        now = _fingerprints(self.agent, self._frozen)
        drifted = [name for name, fingerprint in self._frozen.items() if now[name] != fingerprint]
        detail = f"{len(self._frozen)} tensors" + (f"; changed: {', '.join(drifted)}" if drifted else "")
        return Check(name="frozen tensors bit-identical", passed=not drifted, detail=detail)

    def _check_targets(self) -> Check:
        tensors = agent_tensors(self.agent)
        held = [entry for entry in self.plan.entries if entry.twin is not None and entry.frozen]
        differ = [entry.tensor for entry in held if not torch.equal(tensors[entry.tensor], tensors[str(entry.twin)])]
        detail = f"{len(held)} tensors" + (f"; differ: {', '.join(differ)}" if differ else "")
        return Check(name="frozen target copies equal their twins", passed=not differ, detail=detail)

    def _check_statistics(self) -> tuple[Check, ...]:
        if not self._statistics:
            return ()
        wrapper = self.agent.get_vec_normalize_env()
        now = {} if wrapper is None else observation_statistics(wrapper)
        same = now.keys() == self._statistics.keys() and all(
            np.array_equal(now[name], then) for name, then in self._statistics.items()
        )
        return (Check(name="held observation statistics unchanged", passed=same, detail=f"{len(now)} arrays"),)


def hold_plan(plan: Plan, agent: "BaseAlgorithm", applied: tuple[Check, ...] = ()) -> Transfer:
    """Makes an agent train as planned, without writing any weights; ``apply_plan`` does this by itself.

    Call it alone after ``load`` or a resume. Calling it again replaces what was held before.

    Args:
        plan: The plan, from ``plan_transfer`` or ``read_plan``.
        agent: The agent, with its environment.
        applied: Checks made while the plan was applied.

    Raises:
        IncompatibleError: The plan holds statistics and the agent has no VecNormalize; or it pulls towards a source
            that it does not have, since it was read from a file.
    """
    _refuse_pulls_without_source(plan)
    tensors = agent_tensors(agent)
    frozen = {entry.tensor for entry in plan.entries if entry.frozen and entry.twin is None}
    for entry in plan.entries:
        if entry.twin is None and (entry.trains or entry.frozen) and tensors[entry.tensor].is_floating_point():
            tensors[entry.tensor].requires_grad_(entry.trains)
    _pin_to_eval(agent, frozen)
    _hide_frozen(agent, frozen)
    _plan_steps(plan, agent, tensors)
    _go_on_exploring(plan, agent)
    _pin_targets(plan, agent, tensors)
    statistics: Mapping[str, np.ndarray] = {}
    if plan.statistics.hold_observation:
        hold_statistics(agent)
        wrapper = agent.get_vec_normalize_env()
        statistics = observation_statistics(wrapper) if wrapper else {}
    watches = _watches(plan, agent, tensors)
    callback = _WarnOfFailedChecks()
    transfer = Transfer(plan, agent, [*watches, callback], applied, _fingerprints(agent, frozen), statistics, watches)
    callback.transfer = transfer
    return transfer


def agent_optimizers(agent: "BaseAlgorithm") -> dict[str, torch.optim.Optimizer]:
    """Returns an agent's optimizers by the names under which SB3 saves them; SAC has three."""
    names, _ = agent._get_torch_save_params()
    saved = {name: operator.attrgetter(name)(agent) for name in names}
    return {name: item for name, item in saved.items() if isinstance(item, torch.optim.Optimizer)}


class _WarnOfFailedChecks(BaseCallback):
    """Warns at the end of training if the transfer is not what was planned."""

    transfer: Transfer

    def _on_step(self) -> bool:
        return True

    def _on_training_end(self) -> None:
        for check in self.transfer.checks():
            if not check.passed:
                warnings.warn(f"Transfer check failed: {check.name}: {check.detail}", stacklevel=2)


def _stay_in_eval(module: torch.nn.Module, mode: bool = True) -> torch.nn.Module:  # noqa: ARG001
    return torch.nn.Module.train(module, mode=False)


def _pin_to_eval(agent: "BaseAlgorithm", frozen: set[str]) -> None:
    """Keeps frozen modules in eval mode: in training mode BatchNorm statistics drift and dropout acts (FACTS A3).

    The override is a bound method on the instance: no part of a state dict, and bound to the copy in a deep copy.
    """
    aliases = anatomy_of_agent(agent).aliases
    names = {name: aliases.get(name, name) for name in agent.policy.state_dict(keep_vars=True)}
    for path, module in agent.policy.named_modules(remove_duplicate=False):
        pinned = module.__dict__.get("train")
        if getattr(pinned, "__func__", None) is _stay_in_eval:
            del module.__dict__["train"]
        inside = [own for name, own in names.items() if path and name.startswith(path + ".")]
        if inside and all(own in frozen for own in inside):
            module.__dict__["train"] = types.MethodType(_stay_in_eval, module)
            module.eval()


def _named_trainable(policy: torch.nn.Module, *args: Any, **kwargs: Any) -> Iterator[tuple[str, torch.nn.Parameter]]:
    named = torch.nn.Module.named_parameters(policy, *args, **kwargs)
    return ((name, parameter) for name, parameter in named if parameter.requires_grad)


def _hide_frozen(agent: "BaseAlgorithm", frozen: set[str]) -> None:
    """Lists only what trains as TRPO's parameters: its natural gradient fails on one that needs no gradient."""
    listed = agent.policy.__dict__.get("named_parameters")
    if getattr(listed, "__func__", None) is _named_trainable:
        del agent.policy.__dict__["named_parameters"]
    if frozen and algorithm_of(agent) == "trpo":
        agent.policy.__dict__["named_parameters"] = types.MethodType(_named_trainable, agent.policy)


@dataclasses.dataclass(frozen=True)
class _Held:
    """Tensors that no update may change before the agent has done ``until`` env_steps; ``start`` holds the buffers."""

    parameters: frozenset[torch.Tensor]
    buffers: list[torch.Tensor]
    start: list[torch.Tensor]
    until: int


@dataclasses.dataclass(frozen=True)
class _Pull:
    """A gradient of ``strength * (w - anchor)``, entry by entry."""

    anchor: torch.Tensor
    strength: torch.Tensor


class _PlannedStep:
    """Splits an optimizer's groups by learning-rate scale, and leaves out what is held, for the length of one step.

    What is pulled gets the pull's gradient on top of the loss's, which SB3 has clipped by then.

    SB3 sets every group to one rate before each update, and a zip with extra groups does not load in stock SB3
    (FACTS A2, A4): outside a step the optimizer looks as SB3 made it.
    """

    def __init__(
        self,
        agent: "BaseAlgorithm",
        scales: Mapping[torch.Tensor, float],
        held: list[_Held],
        pulls: Mapping[torch.Tensor, _Pull],
    ) -> None:
        self._agent = agent
        self._scales = scales
        self._held = held
        self._pulls = pulls
        self._groups: list[dict[str, Any]] | None = None

    def before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Replaces the groups by planned ones; undoes first what a step that raised left behind."""
        self._put_back(optimizer)
        self._groups = optimizer.param_groups
        left_out = {parameter for held in self._holding() for parameter in held.parameters}
        self._pull(left_out)
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
        with torch.no_grad():
            for held in self._holding():
                if held.buffers:
                    torch._foreach_copy_(held.buffers, held.start)

    @torch.no_grad()
    def _pull(self, left_out: set[torch.Tensor]) -> None:
        pulled = [one for one in self._pulls if one.grad is not None and one not in left_out]
        if pulled:
            away = torch._foreach_sub(pulled, [self._pulls[one].anchor for one in pulled])
            gradients = [one.grad for one in pulled if one.grad is not None]
            torch._foreach_addcmul_(gradients, away, [self._pulls[one].strength for one in pulled])

    def _put_back(self, optimizer: torch.optim.Optimizer) -> None:
        if self._groups is not None:
            optimizer.param_groups = self._groups
            self._groups = None

    def _holding(self) -> list[_Held]:
        return [held for held in self._held if self._agent.num_timesteps < held.until]


def _plan_steps(plan: Plan, agent: "BaseAlgorithm", tensors: Mapping[str, torch.Tensor]) -> None:
    scales = {tensors[entry.tensor]: entry.lr_scale for entry in plan.entries if entry.trains and entry.lr_scale != 1.0}
    online = [entry for entry in plan.entries if entry.twin is None and not entry.frozen]
    held = [
        _held([entry for entry in online if entry.branch in ("actor", "shared")], tensors, plan.critic_warmup_steps),
        _held(online, tensors, plan.quiet_steps or 0),
        *(_held(entries, tensors, until) for until, entries in _released_later(plan).items()),
    ]
    held = [one for one in held if one.until > agent.num_timesteps]
    holds = {parameter for one in held for parameter in one.parameters}
    pulls = _pulls(plan, tensors)
    for optimizer in agent_optimizers(agent).values():
        _remove_hooks(optimizer._optimizer_step_pre_hooks, _PlannedStep)
        _remove_hooks(optimizer._optimizer_step_post_hooks, _PlannedStep)
        own = {parameter for group in optimizer.param_groups for parameter in group["params"]}
        if own & (scales.keys() | holds | pulls.keys()):
            step = _PlannedStep(agent, scales, held, {one: pull for one, pull in pulls.items() if one in own})
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
    return entry.pull > 0 or entry.decay > 0


def _refuse_pulls_without_source(plan: Plan) -> None:
    if plan.encoder is None and any(_is_pulled(entry) and entry.origin in MOVED for entry in plan.entries):
        raise IncompatibleError(
            "The plan pulls weights towards the source's, and was read from a file without them: hold "
            "dataclasses.replace(plan, encoder=load_encoder(SOURCE)) instead."
        )


def _pulls(plan: Plan, tensors: Mapping[str, torch.Tensor]) -> dict[torch.Tensor, _Pull]:
    """Returns the pull on each parameter, from plan and source alone: it is the same after a load."""
    pulls = {}
    for entry in plan.entries:
        if _is_pulled(entry):
            parameter = tensors[entry.tensor]
            anchor, places = anchored(plan, entry, parameter.detach())
            pulls[parameter] = _Pull(anchor, places * entry.pull + (1 - places) * entry.decay)
    return pulls


class _WatchHeld(BaseCallback):
    """Watches that what is held stays as it is until its step; puts TRPO's actor back, which no optimizer moves."""

    def __init__(self, name: str, tensors: list[torch.Tensor], until: int, *, restores: bool = False) -> None:
        super().__init__()
        self._name = name
        # The parameters, and not their memory: TRPO gives them another one.
        self._tensors = tensors
        self._start = [tensor.detach().clone() for tensor in tensors]
        self.until = until
        self._restores = restores
        self._stayed: bool | None = None

    def check(self) -> Check:
        """Returns the self-check."""
        stayed = self._is_unchanged() if self._stayed is None else self._stayed
        return Check(name=self._name, passed=stayed, detail=f"for {self.until:,} env_steps")

    def _on_rollout_start(self) -> None:
        if self._restores and self.num_timesteps < self.until:
            self._restore()

    def _on_step(self) -> bool:
        if self._stayed is None and self.num_timesteps >= self.until:
            self._stayed = self._is_unchanged()
        return True

    def _on_training_end(self) -> None:
        if self._stayed is None:
            if self._restores:
                self._restore()
            self._stayed = self._is_unchanged()

    @torch.no_grad()
    def _restore(self) -> None:
        torch._foreach_copy_(self._tensors, self._start)

    def _is_unchanged(self) -> bool:
        return all(torch.equal(now, then) for now, then in zip(self._tensors, self._start, strict=True))


def _watches(plan: Plan, agent: "BaseAlgorithm", tensors: Mapping[str, torch.Tensor]) -> list[_WatchHeld]:
    actor = [entry for entry in plan.entries if entry.branch in ("actor", "shared") and not entry.frozen]
    watches = [
        _WatchHeld(
            "actor held while the critic warmed up",
            [tensors[entry.tensor] for entry in actor],
            plan.critic_warmup_steps,
            restores=plan.algo == "trpo",
        )
    ]
    watches += [
        _WatchHeld("layers held until they were released", [tensors[entry.tensor] for entry in entries], until)
        for until, entries in _released_later(plan).items()
    ]
    return [watch for watch in watches if watch.until > agent.num_timesteps]


def _go_on_exploring(plan: Plan, agent: Any) -> None:
    """Lets an off-policy agent act by what it knows from the first step on (FACTS A9).

    All that changes are settings of SB3: stock SB3 loads them, and a DQN that it loads does not restart its epsilon.
    """
    if plan.quiet_steps is None:
        return
    agent.learning_starts = 0
    if hasattr(agent, "exploration_final_eps"):
        agent.exploration_initial_eps = agent.exploration_rate = agent.exploration_final_eps
        agent.exploration_schedule = LinearSchedule(
            agent.exploration_final_eps, agent.exploration_final_eps, agent.exploration_fraction
        )


class _TargetPin:
    """Copies frozen online tensors into their target copies whenever a target network is about to be read.

    Polyak averaging moves equal float32 tensors, since (1 - tau) x + tau x is not x (FACTS A7).
    """

    def __init__(self, targets: list[torch.Tensor], twins: list[torch.Tensor]) -> None:
        self._targets = targets
        self._twins = twins

    @torch.no_grad()
    def before_read(self, *_: Any) -> None:
        """Restores the copies."""
        torch._foreach_copy_(self._targets, self._twins)


def _pin_targets(plan: Plan, agent: "BaseAlgorithm", tensors: Mapping[str, torch.Tensor]) -> None:
    held = [entry for entry in plan.entries if entry.twin is not None and entry.frozen]
    networks = {entry.tensor.split(".")[0] for entry in plan.entries if entry.twin is not None}
    for network in networks:
        module = agent.policy.get_submodule(network)
        _remove_hooks(module._forward_pre_hooks, _TargetPin)
        _remove_hooks(module._state_dict_pre_hooks, _TargetPin)
        inside = [entry for entry in held if entry.tensor.startswith(network + ".")]
        if inside:
            pin = _TargetPin(
                [tensors[entry.tensor].data for entry in inside], [tensors[str(entry.twin)].data for entry in inside]
            )
            module.register_forward_pre_hook(pin.before_read)
            module.register_state_dict_pre_hook(pin.before_read)  # type: ignore[no-untyped-call]


def _remove_hooks(hooks: dict[int, Any], kind: type) -> None:
    for key in [key for key, hook in hooks.items() if isinstance(getattr(hook, "__self__", None), kind)]:
        del hooks[key]


def _check_optimizers(plan: Plan, agent: "BaseAlgorithm") -> Check:
    """Checks that each trained parameter is in exactly one group: a replaced one is in none and never moves (A5)."""
    counts: dict[torch.Tensor, int] = {}
    for optimizer in agent_optimizers(agent).values():
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                counts[parameter] = counts.get(parameter, 0) + 1
    tensors = agent_tensors(agent)
    trained = [entry.tensor for entry in plan.entries if entry.trains]
    wrong = [name for name in trained if counts.get(tensors[name], 0) != 1 or not tensors[name].requires_grad]
    detail = f"{len(trained)} parameters" + (f"; not so: {', '.join(wrong)}" if wrong else "")
    return Check(name="each trained parameter in one optimizer group", passed=not wrong, detail=detail)


def _fingerprints(agent: "BaseAlgorithm", names: Any) -> dict[str, str]:
    tensors = agent_tensors(agent)
    return {
        name: hashlib.sha256(tensors[name].detach().cpu().contiguous().numpy().tobytes()).hexdigest()
        for name in sorted(names)
    }
