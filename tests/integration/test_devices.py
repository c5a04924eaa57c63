"""Agents that were trained on one device go to agents on another."""

import json
from pathlib import Path

import pytest
import torch
from agents import STEPS, encoder_of, make_agent
from runs import run_config

from rltransfer import Frozen, Full, LoRA, apply_plan, diagnose, plan_transfer
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import ConfigError
from rltransfer.training import train_run

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
PLACED = [("cpu", "cpu"), pytest.param("cpu", "cuda", marks=NEEDS_CUDA), pytest.param("cuda", "cpu", marks=NEEDS_CUDA)]


@pytest.mark.parametrize(("source_device", "device"), PLACED)
@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "crossq"])
def test_weights_go_from_device_to_device(algo: str, source_device: str, device: str, tmp_path: Path) -> None:
    source = make_agent(algo, seed=7, device=source_device).learn(STEPS[algo])
    encoder = encoder_of(source, tmp_path)
    assert {tensor.device.type for tensor in encoder.tensors.values()} == {"cpu"}
    for strategy in (Full(), Frozen(), LoRA()):
        agent = make_agent(algo, device=device)
        plan = plan_transfer(encoder, agent, strategy)
        diagnose(plan, agent, agent.get_env(), steps=8)
        transfer = apply_plan(plan, agent)
        agent.learn(STEPS[algo], callback=transfer.callbacks)
        assert all(check.passed for check in transfer.checks())
        assert {tensor.device.type for tensor in agent_tensors(agent).values()} == {device}


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_a_run_is_trained_where_it_is_told(device: str, tmp_path: Path) -> None:
    train_run(run_config(device=device, n_timesteps=32), tmp_path)
    assert json.loads((tmp_path / "rltransfer" / "config.json").read_text())["device"] == device


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no device 'cuda' here"):
        train_run(run_config(device="cuda", n_timesteps=32), tmp_path)
