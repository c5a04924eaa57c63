"""kill -9 at any moment, saving included: the run goes on and ends as if it had not been killed.

``RLTRANSFER_KILLS=20 pytest -m long tests/faults/test_kills.py`` kills each pair as often; without it, 100 times.
"""

import os
import random
from pathlib import Path
from typing import Any

import pytest
from killing import kill_and_go_on, remove, run_in_process
from resuming import RECORDED, assert_alike
from runs import run_config, tree

from rltransfer.config import RunConfig
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import read_record

NET = {"policy_kwargs": {"net_arch": [16]}}
PPO = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, **NET}
REPLAY = {"learning_starts": 50, "buffer_size": 400, "batch_size": 16, "train_freq": 2, "gradient_steps": 1, **NET}
DQN = {**REPLAY, "target_update_interval": 50}
MINIGRID = {"env_wrapper": ("minigrid.wrappers.FlatObsWrapper",)}
EMPTY = "minigrid:MiniGrid-Empty-5x5-v0"
PAIRS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any], int]] = {
    "ppo CartPole": ("ppo", "CartPole-v1", PPO, {"n_envs": 2}, 1200),
    "ppo MiniGrid": ("ppo", EMPTY, PPO, {"n_envs": 2, **MINIGRID}, 800),
    "ppo Hopper": ("ppo", "Hopper-v5", PPO, {"normalize": True}, 800),
    "sac Pendulum normalised": ("sac", "Pendulum-v1", REPLAY, {"normalize": True}, 400),
    "sac Hopper": ("sac", "Hopper-v5", REPLAY, {}, 500),
    "dqn CartPole": ("dqn", "CartPole-v1", DQN, {}, 800),
    "dqn MiniGrid": ("dqn", EMPTY, DQN, MINIGRID, 600),
}


def config_of(pair: str) -> RunConfig:
    algo, env, agent, settings, n_timesteps = PAIRS[pair]
    config = run_config(
        algo,
        env=env,
        n_timesteps=n_timesteps,
        eval_freq=n_timesteps // 4,
        episodes=2,
        save_freq=n_timesteps // 3,
        checkpoint_freq=n_timesteps // 12,
    )
    return config.model_copy(update={"hyperparams": Hyperparameters(policy="MlpPolicy", agent=agent, **settings)})


def survive(pair: str, kills: int, folder: Path) -> int:
    """Kills runs of a pair, compares each with one that was left alone; returns how many went on from a checkpoint."""
    config = config_of(pair)
    whole = folder / "whole"
    seconds = run_in_process(config, whole)
    writes = int(run_in_process(config, folder / "counted", kill_at=-1))
    expected = read_record(whole)
    assert expected.resume_level == "exact"
    rng = random.Random(pair)
    resumed = 0
    for number in range(kills):
        killed = folder / f"killed_{number}"
        done = kill_and_go_on(config, killed, seconds, writes, rng)
        record = read_record(killed)
        assert {name: getattr(record, name) for name in RECORDED} == {
            name: getattr(expected, name) for name in RECORDED
        }, done
        assert all(entry.exact for entry in record.resumed)
        assert_alike(config, whole, killed)
        resumed += bool(record.resumed)
        remove(killed)
    return resumed


def test_a_killed_run_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    survive("ppo CartPole", 1, tmp_path)


def test_a_finished_run_is_as_it_was_wherever_one_is_killed_that_finds_it_finished(tmp_path: Path) -> None:
    config, folder = config_of("ppo CartPole").model_copy(update={"n_timesteps": 64}), tmp_path / "run"
    run_in_process(config, folder)
    before = tree(folder)
    writes = int(run_in_process(config, folder, kill_at=-1))
    assert writes >= 3
    for call in range(1, writes + 1):
        run_in_process(config, folder, kill_at=call)
        run_in_process(config, folder)
        assert tree(folder) == before, f"killed at call {call} of {writes}"


@pytest.mark.long
@pytest.mark.parametrize("pair", PAIRS)
def test_many_killed_runs_end_as_if_they_had_not_been(
    pair: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kills = int(os.environ.get("RLTRANSFER_KILLS", "100"))
    resumed = survive(pair, kills, tmp_path)
    with capsys.disabled():
        print(f"\n{pair}: {kills} runs killed, {resumed} of them went on from a checkpoint, all alike")
    # The others were killed before their first checkpoint, or when they were done.
    assert resumed >= kills // 4
