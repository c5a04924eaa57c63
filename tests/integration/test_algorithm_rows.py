"""A row is all that the library knows of an algorithm: a row for a subclass trains, and no other module names one."""

import ast
import dataclasses
import importlib
import json
import pkgutil
from pathlib import Path

import agents
import numpy as np
import pytest
import runs
import torch
from method_table import TABLE, outcome
from stable_baselines3 import PPO

import rltransfer
from rltransfer import algorithms
from rltransfer.errors import ConfigError, UnknownNameError
from rltransfer.strategies import KINDS

OUTCOMES = json.loads(TABLE.read_text())
LIBRARY = Path(rltransfer.__file__).parent


class PlainSubclass(PPO):
    """PPO by another name."""


@pytest.fixture
def subclass(monkeypatch: pytest.MonkeyPatch) -> str:
    """Registers PPO's subclass for one test, and returns its name."""
    monkeypatch.setattr(algorithms, "_SPECS", dict(algorithms._SPECS))
    row = algorithms.spec_of("ppo")
    algorithms.register(dataclasses.replace(row, name="plain", class_path=f"{__name__}.PlainSubclass"))
    monkeypatch.setitem(agents._SMALL, "plain", (PlainSubclass, agents._SMALL["ppo"][1]))
    for table in (agents.ENVS, agents.STEPS, runs.ENVS, runs.SMALL, runs.POLICIES):
        monkeypatch.setitem(table, "plain", table["ppo"])
    return "plain"


@pytest.mark.parametrize("kind", KINDS)
def test_a_subclass_of_ppo_trains_with_every_method_that_ppo_trains_with(kind: str, subclass: str) -> None:
    expected = OUTCOMES[kind]["ppo"] if kind in OUTCOMES else outcome(kind, "ppo")
    assert outcome(kind, subclass).partition(":")[0] == expected.partition(":")[0]


def test_the_row_of_a_subclass_comes_before_that_of_its_base(subclass: str) -> None:
    assert algorithms.spec_of_class(PlainSubclass).name == subclass  # type: ignore[union-attr]
    assert algorithms.spec_of_class(type("Further", (PlainSubclass,), {})).name == subclass  # type: ignore[union-attr]
    assert algorithms.spec_of_class(PPO).name == "ppo"  # type: ignore[union-attr]
    assert algorithms.spec_of_class(Path) is None


@pytest.mark.parametrize("algo", [spec.name for spec in algorithms.all_specs() if spec.q_values is not None])
def test_the_greatest_q_value_is_the_action_that_an_agent_takes(algo: str) -> None:
    agent = agents.make_agent(algo)
    observations = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    q_values = algorithms.spec_of(algo).q_values
    assert q_values is not None
    with torch.no_grad():
        values = q_values(agent.policy, torch.as_tensor(observations))
    assert values.shape == (200, 2)
    assert (values.argmax(dim=1).numpy() == agent.predict(observations, deterministic=True)[0]).all()


def test_each_row_and_each_file_of_hyperparameters_is_of_a_listed_algorithm() -> None:
    modules = [module.name for module in pkgutil.iter_modules(algorithms.__path__)]
    rows = [
        value.name
        for module in modules
        for value in vars(importlib.import_module(f"rltransfer.algorithms.{module}")).values()
        if isinstance(value, algorithms.AlgorithmSpec)
    ]
    assert sorted(rows) == sorted(algorithms.algorithm_names())
    files = {path.name for path in (LIBRARY / "hyperparams").glob("*.yml")}
    assert files == {spec.hyperparams for spec in algorithms.all_specs()}


def test_a_name_is_registered_once(subclass: str) -> None:
    with pytest.raises(ConfigError, match="There is an algorithm 'plain' already"):
        algorithms.register(algorithms.spec_of(subclass))


def test_an_unknown_name_is_refused_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ppo'"):
        algorithms.spec_of("pp0")


def test_no_other_module_names_an_algorithm_or_a_head_of_its_policy() -> None:
    names = set(algorithms.algorithm_names())
    classes = {spec.class_name for spec in algorithms.all_specs()}
    rules = {rule for spec in algorithms.all_specs() for rule in spec.rules}
    heads = {
        rule.module.replace("\\.", ".").removesuffix(r"\d+")
        for rule in rules
        if rule.gives not in ("other", rule.module) or rule.reads_actions
    }
    named = [
        f"{path.relative_to(LIBRARY)}:{node.lineno}"
        for path in sorted(LIBRARY.rglob("*.py"))
        if (LIBRARY / "algorithms") not in path.parents
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Constant) and node.value in names | heads)
        or (isinstance(node, ast.Name) and node.id in classes)
        or (isinstance(node, ast.alias) and node.name in classes)
    ]
    assert not named
