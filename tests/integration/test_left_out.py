"""Tensors of the source that find no place in the agent are named and counted, and what was trained behind them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents import OwnVector, make_agent, source_encoder

from rltransfer import (
    Actions,
    Finetune,
    Frozen,
    Full,
    Inputs,
    Kickstart,
    Rescaled,
    Scratch,
    apply_plan,
    load_encoder,
    plan_transfer,
    read_plan,
)
from rltransfer.records import read_plan_facts
from rltransfer.transfer import Plan

OWN = {"net_arch": [8], "features_extractor_class": OwnVector}
LSTM = {"net_arch": [8], "lstm_hidden_size": 8}
# Of each: the algorithm, the policies of source and target, and the layers that have no place.
WITHOUT_PLACE: dict[str, tuple[str, dict[str, Any], dict[str, Any], set[str]]] = {
    "extractors into a shared one, PPO": (
        "ppo",
        {**OWN, "share_features_extractor": False},
        OWN,
        {"vf_features_extractor"},
    ),
    "extractors into a shared one, SAC": (
        "sac",
        {**OWN, "share_features_extractor": False},
        {**OWN, "share_features_extractor": True},
        {"critic.features_extractor"},
    ),
    "extractors into a shared one, TD3": (
        "td3",
        {**OWN, "share_features_extractor": False},
        {**OWN, "share_features_extractor": True},
        {"critic.features_extractor"},
    ),
    "the critic's LSTM into a shared one": (
        "ppo_lstm",
        LSTM,
        {**LSTM, "shared_lstm": True, "enable_critic_lstm": False},
        {"lstm_critic"},
    ),
    "the critic's layer into a shared LSTM": (
        "ppo_lstm",
        {**LSTM, "enable_critic_lstm": False},
        {**LSTM, "shared_lstm": True, "enable_critic_lstm": False},
        {"critic"},
    ),
    **{
        f"three critics into two, {algo}": (
            algo,
            {"net_arch": [8], "n_critics": 3},
            {"net_arch": [8], "n_critics": 2},
            {"critic.qf2.0", "critic.qf2.2"},
        )
        for algo in ("sac", "td3", "tqc")
    },
    "three critics into one, DDPG's way": (
        "td3",
        {"net_arch": [8], "n_critics": 2},
        {"net_arch": [8], "n_critics": 1},
        {"critic.qf1.0", "critic.qf1.2"},
    ),
}


def planned(algo: str, source: dict[str, Any], target: dict[str, Any], folder: Path, strategy: Any) -> Plan:
    encoder = source_encoder(algo, folder, policy_kwargs=dict(source))
    return plan_transfer(encoder, make_agent(algo, policy_kwargs=dict(target)), strategy)


@pytest.mark.parametrize("strategy", [Full(), Finetune(), Frozen()], ids=["full", "finetune", "frozen"])
@pytest.mark.parametrize("name", WITHOUT_PLACE)
def test_what_has_no_place_is_named_and_counted(name: str, strategy: Any, tmp_path: Path) -> None:
    algo, source, target, expected = WITHOUT_PLACE[name]
    plan = planned(algo, source, target, tmp_path, strategy)
    lost = [tensor for tensor in plan.left_out if tensor.reason == "no_place"]
    heads = {layer for layer in expected if not isinstance(strategy, Full) and layer.endswith(".2")}
    assert {tensor.layer for tensor in lost} == expected - heads
    assert all(tensor.values == tensor.size for tensor in lost)
    said = next(finding for finding in plan.findings if finding.kind == "no_place")
    assert said.severity == "warning"
    assert said.numbers["values"] == sum(tensor.size for tensor in lost)
    assert all(tensor.tensor in str(plan) for tensor in plan.left_out)


@pytest.mark.parametrize("name", [name for name in WITHOUT_PLACE if "critics" not in name])
def test_a_critic_is_not_moved_behind_other_features_without_a_warning(name: str, tmp_path: Path) -> None:
    algo, source, target, expected = WITHOUT_PLACE[name]
    plan = planned(algo, source, target, tmp_path, Full())
    said = next(finding for finding in plan.findings if finding.kind == "trained_behind")
    assert said.severity == "warning"
    assert all(layer in said.words for layer in expected)
    assert "critic 'reset'" in said.words
    fresh = planned(algo, source, target, tmp_path, Full(critic="reset"))
    assert not [finding for finding in fresh.findings if finding.kind == "trained_behind"]
    nothing = planned(algo, source, target, tmp_path, Finetune(critic="none"))
    assert not [finding for finding in nothing.findings if finding.kind == "trained_behind"]


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3", "tqc", "crossq", "ppo_lstm"])
def test_an_agent_that_is_alike_leaves_nothing_out(algo: str, tmp_path: Path) -> None:
    plan = planned(algo, {"net_arch": [8]}, {"net_arch": [8]}, tmp_path, Full())
    assert plan.left_out == ()
    totals = plan.totals()
    assert totals["moved"] == totals["source_moved"] == totals["source_values"] == totals["values"]
    assert f"moved {totals['moved']:,} of the source's {totals['source_values']:,}," in str(plan)


def test_a_shared_extractor_serves_two_without_a_warning(tmp_path: Path) -> None:
    plan = planned("ppo", OWN, {**OWN, "share_features_extractor": False}, tmp_path, Full())
    assert plan.left_out == ()
    assert not [finding for finding in plan.findings if finding.kind == "trained_behind"]
    totals = plan.totals()
    # The extractor's values go to two places.
    assert totals["moved"] == totals["values"] > totals["source_moved"] == totals["source_values"]
    assert f"(from {totals['source_moved']:,} of the source's {totals['source_values']:,})" in str(plan)


def test_new_heads_are_left_out_by_the_strategy(tmp_path: Path) -> None:
    plan = planned("ppo", {"net_arch": [8]}, {"net_arch": [8]}, tmp_path, Finetune())
    assert {tensor.reason for tensor in plan.left_out} == {"strategy"}
    assert {tensor.layer for tensor in plan.left_out} == {"action_net", "value_net"}
    assert "left out of the source, by the strategy: action_net.weight, action_net.bias" in str(plan)
    assert not [finding for finding in plan.findings if finding.kind == "no_place"]


def test_between_algorithms_the_critic_is_named_in_a_note(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path, policy_kwargs={"net_arch": [8]})
    agent = make_agent("dqn", policy_kwargs={"net_arch": [8], "activation_fn": torch.nn.Tanh})
    plan = plan_transfer(encoder, agent, Finetune())
    lost = {tensor.layer for tensor in plan.left_out if tensor.reason == "no_place"}
    assert lost == {"mlp_extractor.policy_net.0"}
    assert next(finding for finding in plan.findings if finding.kind == "no_place").severity == "note"


def test_zeros_for_new_inputs_are_not_counted_as_moved(tmp_path: Path) -> None:
    encoder = source_encoder("ppo", tmp_path, "CartPole-v1", policy_kwargs={"net_arch": [8]})
    agent = make_agent("ppo", "Acrobot-v1", policy_kwargs={"net_arch": [8]})
    plan = plan_transfer(encoder, agent, Finetune(), inputs=Inputs(map=[0, 1, 2, None, None, None]))
    # Two matrices of 8 units with three of six columns, and two biases.
    assert plan.totals()["moved"] == 2 * (8 * 3 + 8)
    partly = {tensor.tensor: (tensor.values, tensor.size) for tensor in plan.left_out if tensor.reason == "inputs"}
    assert partly == {f"mlp_extractor.{net}.0.weight": (8, 32) for net in ("policy_net", "value_net")}
    assert "mlp_extractor.policy_net.0.weight (8 of 32 values)" in str(plan)


def test_rows_of_dropped_actions_are_counted(tmp_path: Path) -> None:
    encoder = source_encoder("dqn", tmp_path, "Acrobot-v1", policy_kwargs={"net_arch": [8]})
    agent = make_agent("dqn", "CartPole-v1", policy_kwargs={"net_arch": [8]})
    plan = plan_transfer(encoder, agent, Full(), inputs=Inputs(map=[0, 1, 2, 3]), actions=Actions(map=[2, None]))
    head = {tensor.tensor: tensor.values for tensor in plan.left_out if tensor.layer == "q_net.q_net.2"}
    assert head == {"q_net.q_net.2.weight": 16, "q_net.q_net.2.bias": 2}


def test_what_only_lends_its_norm_is_said_to(tmp_path: Path) -> None:
    plan = planned("ppo", {"net_arch": [8]}, {"net_arch": [8]}, tmp_path, Rescaled())
    assert plan.totals()["moved"] == plan.totals()["source_moved"] == 0
    assert {tensor.reason for tensor in plan.left_out if tensor.layer.startswith("mlp")} == {"norm"}


def test_a_source_that_only_acts_moves_nothing(tmp_path: Path) -> None:
    plan = planned("ppo", {"net_arch": [8]}, {"net_arch": [8]}, tmp_path, (Scratch(), Kickstart()))
    assert plan.left_out == ()
    assert plan.totals()["source_values"] == plan.totals()["moved"] == 0
    assert "; moved 0, frozen" in str(plan)


def test_it_is_written_down_and_read_again(tmp_path: Path) -> None:
    algo, source, target, _ = WITHOUT_PLACE["three critics into two, sac"]
    plan = planned(algo, source, target, tmp_path, Full())
    (tmp_path / "rltransfer").mkdir()
    path = tmp_path / "rltransfer" / "plan.json"
    path.write_text(json.dumps(plan.to_json()))
    again = read_plan(path)
    assert again.left_out == plan.left_out
    assert again.totals() == plan.totals()
    facts = read_plan_facts(tmp_path)
    assert facts is not None
    assert facts.totals["source_moved"] == plan.totals()["source_moved"]


def test_the_critics_values_differ_as_the_warning_says(tmp_path: Path) -> None:
    algo, source, target, _ = WITHOUT_PLACE["extractors into a shared one, PPO"]
    source_agent = make_agent(algo, seed=7, policy_kwargs=dict(source)).learn(64)
    source_agent.save(tmp_path / "agent.zip")
    agent = make_agent(algo, policy_kwargs=dict(target))
    apply_plan(plan_transfer(load_encoder(tmp_path / "agent.zip"), agent, Full()), agent)
    seen = torch.as_tensor(np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32))
    with torch.no_grad():
        values = [item.policy.predict_values(seen) for item in (source_agent, agent)]
        actions = [item.policy.get_distribution(seen).distribution.probs for item in (source_agent, agent)]
    torch.testing.assert_close(*actions)
    assert not torch.allclose(*values, atol=1e-2)


LEFT_BEHIND: dict[str, tuple[str, dict[str, Any], Any, str]] = {
    "a critic behind fresh features": (
        "sac",
        {**OWN, "share_features_extractor": True},
        Finetune(layers="none", critic="all"),
        "critic.qf0.0, critic.qf1.0: trained behind actor.features_extractor, which does not move",
    ),
    "a frozen critic behind random features": (
        "ppo",
        {**OWN, "share_features_extractor": True},
        Frozen(layers="none", critic="all"),
        "mlp_extractor.value_net.0: trained behind features_extractor, which does not move",
    ),
    "a later layer behind a fresh one": (
        "ppo",
        {"net_arch": [8, 8]},
        Finetune(layers=["mlp_extractor.value_net.2"]),
        "mlp_extractor.value_net.2: trained behind mlp_extractor.value_net.0, which does not move",
    ),
}


@pytest.mark.parametrize("name", LEFT_BEHIND)
def test_what_moves_behind_layers_that_the_strategy_leaves_out_is_said(name: str, tmp_path: Path) -> None:
    algo, settings, strategy, words = LEFT_BEHIND[name]
    plan = planned(algo, settings, settings, tmp_path, strategy)
    said = next(finding for finding in plan.findings if finding.kind == "trained_behind")
    assert said.severity == "warning"
    assert words in said.words
    for usual in (Full(), Finetune(), Frozen(), Finetune(layers=1), Finetune(critic="none")):
        plain = planned(algo, settings, settings, tmp_path, usual)
        assert not [finding for finding in plain.findings if finding.kind == "trained_behind"]
