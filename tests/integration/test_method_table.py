"""Every method on every algorithm: it trains and its effect is seen, or it is refused in the words of the table of 0.1.

The quick tests are of an algorithm of each family, and of what is refused; ``-m long`` has all.
"""

import contextlib
import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import pytest
import torch
from families import FAMILIES
from method_table import ALGORITHMS, TABLE, measured, outcome, source, strategy_of, target
from stable_baselines3.common.base_class import BaseAlgorithm

from rltransfer import apply_plan, hold_plan, plan_transfer, strategies
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import RLTransferError
from rltransfer.strategies import KINDS, MethodSettings, parse_strategy
from rltransfer.transfer import methods, read_plan
from rltransfer.transfer.effects import TrainedRun
from rltransfer.transfer.methods import Method, method_class, method_of

ROWS: dict[str, dict[str, str]] = json.loads(TABLE.read_text())


def test_no_method_and_no_algorithm_of_the_table_is_gone() -> None:
    assert set(ROWS) <= set(KINDS)
    assert all(set(row) <= set(ALGORITHMS) for row in ROWS.values())


def check(kind: str, algo: str) -> None:
    """Checks a combination: an agent that trains and shows the method's effect, or a refusal.

    What the table holds stays: the refusals in their words, and what trains. What is newer than the table does either.
    """
    expected = ROWS.get(kind, {}).get(algo)
    if expected is not None and expected != "trains":
        assert outcome(kind, algo) == expected
        return
    try:
        method, run = measured(kind, algo)
    except RLTransferError as error:
        assert expected is None, error
        return
    assert list(method.missing_effects(run)) == []


@pytest.mark.parametrize("algo", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_shows_its_effect_or_is_refused_by_name(kind: str, algo: str) -> None:
    check(kind, algo)


@pytest.mark.long
@pytest.mark.parametrize("algo", [algo for algo in ALGORITHMS if algo not in FAMILIES])
@pytest.mark.parametrize("kind", KINDS)
def test_a_method_on_any_algorithm_shows_its_effect_or_is_refused_by_name(kind: str, algo: str) -> None:
    check(kind, algo)


@pytest.mark.parametrize("package", [strategies, methods])
def test_each_module_of_a_method_is_of_a_listed_kind(package: Any) -> None:
    names = {module.name for module in pkgutil.iter_modules(package.__path__)}
    classes = [
        value
        for name in names
        for value in vars(importlib.import_module(f"{package.__name__}.{name}")).values()
        if isinstance(value, type) and value.__module__ == f"{package.__name__}.{name}"
    ]
    listed = {
        value.__module__.rpartition(".")[2]
        for value in classes
        if (issubclass(value, MethodSettings) and "kind" in value.__annotations__ and value is not MethodSettings)
        or (issubclass(value, Method) and value is not Method)
    }
    assert listed == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_has_its_room(kind: str) -> None:
    assert method_class(kind).__module__ == f"rltransfer.transfer.methods.{kind}"
    assert KINDS[kind].__module__ == f"rltransfer.strategies.{kind}"


def measured_somewhere(kind: str) -> tuple[Method[Any], TrainedRun, str]:
    """Returns a method and a run with it, of the first family whose agents train with it."""
    for algo in FAMILIES:
        with contextlib.suppress(RLTransferError):
            return (*measured(kind, algo), algo)
    raise AssertionError(f"no agent trains with {kind}")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("auto", "scratch")])
def test_an_effect_is_missed_where_a_method_does_nothing(kind: str) -> None:
    method, run, algo = measured_somewhere(kind)
    _, other = measured("scratch", algo)
    assert list(method.missing_effects(other)), f"the effect of {kind} is seen on an agent of scratch"
    assert run.plan != other.plan


def test_the_effect_of_scratch_is_missed_where_weights_moved() -> None:
    method = method_of(parse_strategy("scratch")[0])
    assert list(method.missing_effects(measured("full", "ppo")[1]))


def test_numbers_of_the_source_in_their_own_places_and_other_numbers_are_no_control() -> None:
    method, run = measured("shuffled", "ppo")
    entry = next(entry for entry in run.plan.entries if entry.permuted and entry.tensor.endswith("weight"))
    assert run.plan.encoder is not None
    source = run.plan.encoder.tensors[entry.source_tensor]
    for values, words in (
        (source, "holds the source's numbers in their own places"),
        (torch.zeros_like(source), "does not hold the source's numbers"),
    ):
        other = dataclasses.replace(run, applied={**run.applied, entry.tensor: values})
        assert list(method.missing_effects(other)) == [f"{entry.tensor} {words}"]


def test_an_agent_that_does_not_start_as_it_was_built_is_no_baseline() -> None:
    method, run = measured("scratch", "ppo")
    entry = next(entry for entry in run.plan.entries if entry.tensor.endswith("weight"))
    other = dataclasses.replace(run, applied={**run.applied, entry.tensor: run.initial[entry.tensor] + 1.0})
    assert list(method.missing_effects(other)) == [f"{entry.tensor} does not start as the agent was built"]


def marks(agent: BaseAlgorithm) -> dict[str, Any]:
    """Returns all of an agent that holding a plan may change."""
    policy: Any = agent.policy
    optimizers = [getattr(module, "optimizer", None) for module in (policy, *policy.children())]
    env, layers = agent.env, []
    while env is not None:
        layers.append((type(env), sorted(vars(env))))
        env = getattr(env, "venv", None)
    buffer = getattr(agent, "replay_buffer", None)
    return {
        "trains": {name: tensor.requires_grad for name, tensor in agent_tensors(agent).items()},
        "modules": [(len(module._forward_pre_hooks), sorted(module.__dict__)) for module in policy.modules()],
        "hooks": [sorted(vars(optimizer)) for optimizer in optimizers if optimizer is not None],
        "environments": layers,
        "buffer": [] if buffer is None else sorted(vars(buffer)),
        "settings": {name: value for name, value in vars(agent).items() if isinstance(value, int | float | str)},
    }


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "auto"])
def test_a_plan_from_a_file_is_held_or_refused_with_the_agent_as_it_was(kind: str, tmp_path: Path) -> None:
    _, _, algo = measured_somewhere(kind)
    agent, other = target(kind, algo), target(kind, algo)
    plan = plan_transfer(source(kind, algo), agent, strategy_of(kind))
    transfer = apply_plan(plan, agent)
    (tmp_path / "plan.json").write_text(json.dumps(plan.to_json()))
    before = marks(other)
    try:
        held = hold_plan(read_plan(tmp_path / "plan.json"), other, done_steps=0)
    except RLTransferError as error:
        assert "was read from a file without" in str(error)
        assert marks(other) == before
    else:
        assert [type(callback) for callback in held.callbacks] == [type(callback) for callback in transfer.callbacks]


def test_a_plan_whose_source_is_gone_leaves_what_is_held(tmp_path: Path) -> None:
    agent = target("replay", "sac")
    plan = plan_transfer(source("replay", "sac"), agent, ["frozen", strategy_of("replay")])
    transfer = apply_plan(plan, agent)
    before = marks(agent)
    assert plan.encoder is not None
    other = dataclasses.replace(plan, encoder=dataclasses.replace(plan.encoder, replay_buffer=tmp_path / "gone.pkl"))
    with pytest.raises(RLTransferError, match="gone.pkl"):
        hold_plan(other, agent, done_steps=0)
    assert marks(agent) == before
    assert all(check.passed for check in transfer.checks())
