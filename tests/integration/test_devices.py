"""Agents that were trained on one device go to agents on another."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from agents import STEPS, Images, NormedCnn, encoder_of, make_agent
from runs import run_config

from rltransfer import (
    L2SP,
    Finetune,
    Frozen,
    Full,
    GradualUnfreeze,
    LoRA,
    RandomFrozen,
    ReDo,
    Rescaled,
    ShrinkPerturb,
    Shuffled,
    apply_plan,
    diagnose,
    plan_transfer,
)
from rltransfer.anatomy import agent_tensors
from rltransfer.errors import ConfigError
from rltransfer.strategies import parse_strategy, strategy_label
from rltransfer.training import train_run

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
# SB3 advises against small networks on a GPU (its issue 1245).
pytestmark = pytest.mark.filterwarnings("ignore:You are trying to run PPO on the GPU")
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
@pytest.mark.parametrize(
    "strategy",
    [
        RandomFrozen(),
        Shuffled(of=Frozen()),
        Rescaled(),
        (Finetune(), GradualUnfreeze(at=[48])),
        (Full(critic_warmup_steps=48), L2SP(), ReDo(every=32)),
        ShrinkPerturb(),
    ],
    ids=lambda strategy: strategy_label(parse_strategy(strategy)),
)
def test_every_way_of_moving_works_on_a_device(strategy: Any, device: str, tmp_path: Path) -> None:
    settings = {"policy": "CnnPolicy", "policy_kwargs": {"features_extractor_class": NormedCnn, "net_arch": [8]}}
    encoder = encoder_of(make_agent("ppo", Images(), seed=7, device=device, **settings).learn(64), tmp_path)
    agent = make_agent("ppo", Images(), device=device, **settings)
    transfer = apply_plan(plan_transfer(encoder, agent, strategy), agent)
    agent.learn(64, callback=transfer.callbacks)
    assert all(check.passed for check in transfer.checks())


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)])
def test_a_run_is_trained_where_it_is_told(device: str, tmp_path: Path) -> None:
    train_run(run_config(device=device, n_timesteps=32), tmp_path)
    assert json.loads((tmp_path / "rltransfer" / "config.json").read_text())["device"] == device


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There is no device 'cuda' here"):
        train_run(run_config(device="cuda", n_timesteps=32), tmp_path)
