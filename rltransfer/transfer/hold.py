"""Holds a plan on an agent while it trains: freezing, rates and pulls per layer, target copies, statistics.

Nothing here reaches an SB3 zip: what is saved stays stock. It is gone after a load or a deep copy, and is held again
with ``hold_plan`` (sb3_facts.md#freezing).
"""

import dataclasses
import hashlib
import types
import warnings
from collections.abc import Iterator, Mapping
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Any

import torch
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.anatomy import agent_tensors, anatomy_of_agent, spec_of_agent
from rltransfer.errors import ConfigError
from rltransfer.records import Check
from rltransfer.transfer.counting import OF_STATISTICS, CountSteps, steps_before_training
from rltransfer.transfer.elapsed import ElapsedSteps, counts_steps
from rltransfer.transfer.freezing import note_frozen
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.installation import Installation, equip, release_plan
from rltransfer.transfer.methods import Stage
from rltransfer.transfer.optimizer_hooks import (
    agent_optimizers,
    plan_steps,
    refuse_lost_anchors,
    remove_hooks,
    watches_of,
)
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.statistics import HeldStatistics, refuse_other_statistics
from rltransfer.transfer.training_warnings import WarnOfTrouble

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
    _statistics: HeldStatistics | None
    _callbacks: tuple[HeldCallback, ...]
    _elapsed: ElapsedSteps

    @property
    def done_steps(self) -> int:
        """The agent's env_steps since ``apply_plan``, in all calls of ``learn``; ``hold_plan`` wants them after a load.

        Those that ``apply_plan`` took itself, to recompute running statistics or for ``ewc``, are not among them.
        """
        return self._elapsed.steps

    def checks(self) -> tuple[Check, ...]:
        """Returns the self-checks as they stand now: call it after training."""
        return (
            *self._applied,
            self._check_frozen(),
            self._check_targets(),
            _check_optimizers(self.plan, self.agent),
            *self.environment_checks(),
            *(check for callback in self._callbacks for check in callback.checks()),
        )

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-checks of what stands in the agent's environments; ``set_env`` leaves it behind."""
        statistics = () if self._statistics is None else (self._statistics.check(self.done_steps),)
        return (*statistics, *(check for callback in self._callbacks for check in callback.environment_checks()))

    def equip(self, env: VecEnv) -> VecEnv:
        """Returns other environments in which the agent acts as in its own; see ``rltransfer.equip``."""
        return equip(env, self.plan, device=self.agent.device)

    def state_dict(self) -> list[dict[str, Any]]:
        """Returns what training has changed in what is held, for a run that is to be resumed."""
        return [*(callback.state_dict() for callback in self._callbacks), self._elapsed.state_dict()]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Loads what ``state_dict`` returned, after the run was built again and this plan applied again."""
        n_callbacks = len(self._callbacks)
        for callback, part in zip(self._callbacks, state[:n_callbacks], strict=True):
            callback.load_state_dict(part)
        # Version 0.1 saved no count. It is the growth of SB3's own then, which is put back and never reset in a run.
        for count in state[n_callbacks:]:
            self._elapsed.load_state_dict(count)

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


def hold_plan(
    plan: Plan,
    agent: "BaseAlgorithm",
    applied: tuple[Check, ...] = (),
    *,
    env_steps: int = 0,
    done_steps: int | None = None,
) -> Transfer:
    """Makes an agent train as planned, without writing any weights; ``apply_plan`` does this by itself.

    Call it alone after ``load``, ``set_env`` or a deep copy. Calling it again replaces what was held before.

    Args:
        plan: The plan, from ``plan_transfer`` or ``read_plan``.
        agent: The agent, with its environment.
        applied: Checks made while the plan was applied.
        env_steps: What applying it took, to be counted as the agent's.
        done_steps: The env_steps that the agent has done since ``apply_plan``, as ``transfer.done_steps`` says: what is
            released or decays by env_steps goes on from there. Not given, they are counted from 0, and a warning says
            so where it matters.

    Raises:
        ConfigError: ``done_steps`` is no whole number, or negative.
        IncompatibleError: The plan holds statistics and the agent has no VecNormalize, or one with others; or it pulls
            towards a source that it does not have, since it was read from a file; or the user froze what it trains.
            The agent is then as it was.
        SourceError: What the plan needs of the source beside its weights cannot be read. Likewise.
    """
    refuse_lost_anchors(plan)
    elapsed = ElapsedSteps(agent, _steps_done(plan, done_steps))
    tensors = agent_tensors(agent)
    installation = Installation(plan, agent, tensors, elapsed)
    installation.prepare()
    if plan.statistics.hold_observation:
        refuse_other_statistics(plan, agent)
    note_frozen(plan, agent)
    frozen = {entry.tensor for entry in plan.entries if entry.frozen and entry.twin is None}
    for entry in plan.entries:
        if entry.twin is None and (entry.trains or entry.frozen) and tensors[entry.tensor].is_floating_point():
            tensors[entry.tensor].requires_grad_(entry.trains)
    _pin_to_eval(agent, frozen)
    _hide_frozen(agent, frozen)
    _go_on_exploring(plan, agent)
    _pin_targets(plan, agent, tensors)
    statistics = HeldStatistics(agent) if plan.statistics.hold_observation else None
    counted_before = 0 if applied else steps_before_training(plan)
    held = tuple(_install(installation, env_steps=env_steps, counted_before=counted_before))
    warn = WarnOfTrouble(agent, held)
    callbacks = [*held, elapsed, warn]
    transfer = Transfer(plan, agent, callbacks, applied, _fingerprints(agent, frozen), statistics, held, elapsed)
    warn.transfer = transfer
    return transfer


def _steps_done(plan: Plan, done_steps: int | None) -> int:
    is_count = isinstance(done_steps, Integral) and not isinstance(done_steps, bool) and done_steps >= 0
    if done_steps is not None and not is_count:
        raise ConfigError(
            f"done_steps: expected the env_steps since apply_plan, 0 or more, found {done_steps!r}. Give it "
            "transfer.done_steps, which is a whole number."
        )
    if done_steps is None and counts_steps(plan):
        warnings.warn(
            "The plan releases or changes something by env_steps since apply_plan, and they are counted from 0 again: "
            "where the agent has done some, call hold_plan(plan, agent, done_steps=N). N is transfer.done_steps of the "
            "transfer before; save it beside the agent.",
            stacklevel=3,
        )
    return int(done_steps or 0)


def _install(installation: Installation, *, env_steps: int, counted_before: int) -> list[HeldCallback]:
    """Puts the plan's methods on an agent; what an earlier plan put there goes."""
    plan, agent, tensors, elapsed = installation.plan, installation.agent, installation.tensors, installation.elapsed
    release_plan(agent)
    if env_steps:
        installation.steps_taken[OF_STATISTICS] = partial(int, env_steps)
    installation.install(Stage.MEASURING, Stage.GRADIENTS)
    gradients, installation.callbacks = installation.callbacks, []
    # Weights move in a planned step: what watches them looks before.
    watches = watches_of(plan, agent, tensors, elapsed)
    installation.install(Stage.STEPPING)
    plan_steps(plan, agent, tensors, elapsed, importance=installation.importance, updates=installation.updates)
    installation.install(Stage.WEIGHTS, Stage.EXPERIENCE)
    taken = installation.steps_taken
    counting = [CountSteps(taken, elapsed, counted_before=counted_before)] if taken or counted_before else []
    return [*counting, *gradients, *watches, *installation.callbacks]


def _stay_in_eval(module: torch.nn.Module, mode: bool = True) -> torch.nn.Module:  # noqa: ARG001
    return torch.nn.Module.train(module, mode=False)


def _pin_to_eval(agent: "BaseAlgorithm", frozen: set[str]) -> None:
    """Keeps frozen modules in eval mode, without BatchNorm statistics that drift and dropout that acts.

    SB3 switches all modules to training mode (sb3_facts.md#training-mode). The override is a bound method on
    the instance: no part of a state dict, and bound to the copy in a deep copy.
    """
    aliases = anatomy_of_agent(agent).aliases
    names = {name: aliases.get(name, name) for name in agent.policy.state_dict(keep_vars=True)}
    parents = {name: {name[:end] for end, letter in enumerate(name) if letter == "."} for name in names}
    learning = set().union(*(parents[name] for name, inner_name in names.items() if inner_name not in frozen))
    wholly_frozen = set().union(*parents.values()) - learning
    for path, module in agent.policy.named_modules(remove_duplicate=False):
        pinned = module.__dict__.get("train")
        if getattr(pinned, "__func__", None) is _stay_in_eval:
            del module.__dict__["train"]
        if path in wholly_frozen:
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
    if frozen and spec_of_agent(agent).uses_natural_gradient:
        agent.policy.__dict__["named_parameters"] = types.MethodType(_named_trainable, agent.policy)


def _go_on_exploring(plan: Plan, agent: Any) -> None:
    """Lets an off-policy agent act by what it knows from the first step on (sb3_facts.md#exploration).

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

    Polyak averaging moves equal float32 tensors, since (1 - tau) x + tau x is not x (sb3_facts.md#target-networks).
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
        remove_hooks(module._forward_pre_hooks, _TargetPin)
        remove_hooks(module._state_dict_pre_hooks, _TargetPin)
        inside = [entry for entry in held if entry.tensor.startswith(network + ".")]
        if inside:
            pin = _TargetPin(
                [tensors[entry.tensor].data for entry in inside], [tensors[str(entry.twin)].data for entry in inside]
            )
            module.register_forward_pre_hook(pin.before_read)
            module.register_state_dict_pre_hook(pin.before_read)  # type: ignore[no-untyped-call]


def _check_optimizers(plan: Plan, agent: "BaseAlgorithm") -> Check:
    """Checks that each trained parameter is in exactly one group: one in none never moves.

    A replaced parameter is in none (sb3_facts.md#replaced-parameters).
    """
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
