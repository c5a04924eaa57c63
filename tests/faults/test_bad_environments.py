"""An environment that raises, hangs, dies or returns what is no number ends its run, by name, and nothing else."""

import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from resuming import assert_alike, same, tensors_in
from runs import SMALL, Breaking, pretrained, run_config

from rltransfer.config import Evaluation, RunConfig
from rltransfer.errors import BrokenEnvironmentError, RunError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import CHECKPOINT, read_record
from rltransfer.training import train_run
from rltransfer.training.record_writer import deciding_settings
from rltransfer.training.resume import Checkpoints

STEP = 200
REASONS = {
    "raise": r"RuntimeError: the simulator broke",
    "nan observation": r"an observation is not finite: \[nan nan nan nan\]",
    "inf observation": r"an observation is not finite: \[inf inf inf inf\]",
    "nan last observation": r"the last observation of an episode is not finite: \[nan nan nan nan\]",
    "nan reward": r"a reward is not finite: nan",
    "-inf reward": r"a reward is not finite: -inf",
    "leave": "SystemExit: 0",
    "wrong shape": r"ValueError: an observation of shape \(3,\), where its space says \(4,\)",
    "no info": "ValueError: info is no dictionary: None",
    "sleep": r"a step took longer than 3 seconds, and was ended \(--step-timeout\)",
    "spin": r"a step took longer than 3 seconds, and was ended \(--step-timeout\)",
}
DEATHS = {"kill": "its process was killed by signal 9", "exit": "its process ended with exit code 7"}


def broken(how: str, algo: str = "ppo", **settings: Any) -> RunConfig:
    """Returns a run whose first training environment breaks, and whose evaluations do not."""
    settings = {"hyperparams": {"n_envs": 2, "normalize": True}, "n_timesteps": 640, "checkpoint_freq": 64, **settings}
    config = run_config(
        algo, env="Breaking-v0", kwargs={"how": how, "step": STEP}, step_timeout_seconds=3.0, **settings
    )
    return config.model_copy(update={"evaluation": Evaluation(eval_freq=160, episodes=2, env_kwargs={})})


def assert_whole(config: RunConfig, folder: Path) -> None:
    """Asserts that what is left of a run is finite, and that no process is."""
    checkpoint = Checkpoints(folder / "rltransfer" / CHECKPOINT, deciding_settings(config)).newest()
    assert checkpoint is not None
    for state in (
        checkpoint.state["agent"]["parameters"]["policy"],
        tensors_in(folder / "best_model.zip")["parameters"],
    ):
        for tensor in tensors_of(state):
            assert torch.isfinite(tensor).all()
    for wrapper in checkpoint.state["environments"]["wrappers"]:
        assert np.isfinite(wrapper["obs_rms"].mean).all()
        assert np.isfinite(wrapper["returns"]).all()
    assert not multiprocessing.active_children()


def tensors_of(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return [tensor for item in inside for tensor in tensors_of(item)]


@pytest.mark.parametrize("how", REASONS)
def test_the_run_ends_by_name_and_keeps_what_is_good(how: str, tmp_path: Path) -> None:
    config = broken(how)
    words = rf"^Breaking-v0, environment 1 of 2: {REASONS[how]} \(after 398 env_steps, seed 0\)$"
    with pytest.raises(BrokenEnvironmentError, match=words) as raised:
        train_run(config, tmp_path)
    record = read_record(tmp_path)
    assert (record.status, record.error) == ("failed", str(raised.value))
    assert_whole(config, tmp_path)


@pytest.mark.parametrize("how", ["raise", "nan reward", "leave", "wrong shape", "sleep", *DEATHS])
def test_a_worker_process_is_no_different(how: str, tmp_path: Path) -> None:
    config = broken(how, vec_env="subproc")
    reason = {**REASONS, **DEATHS}[how]
    with pytest.raises(BrokenEnvironmentError, match=rf"^Breaking-v0, environment 1 of 2: {reason} \(after 398 env"):
        train_run(config, tmp_path)
    assert_whole(config, tmp_path)


@pytest.mark.parametrize("algo", ["dqn", "td3", "sac", "a2c"])
def test_no_algorithm_learns_from_what_is_no_number(algo: str, tmp_path: Path) -> None:
    hyperparams = {"normalize": False, "env_wrapper": ("runs.BreaksWithNaN",)}
    config = run_config(algo, hyperparams=hyperparams, n_timesteps=400)
    with pytest.raises(BrokenEnvironmentError, match=r"a reward is not finite: nan \(after 0 env_steps, seed 0\)"):
        train_run(config, tmp_path)


def test_a_mended_environment_lets_the_run_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = broken("raise")
    with pytest.raises(BrokenEnvironmentError):
        train_run(config, tmp_path / "run")
    monkeypatch.setattr(Breaking, "is_mended", True)
    record = train_run(config, tmp_path / "run")
    assert record.status == "done"
    assert [(entry.env_steps, entry.exact) for entry in record.resumed] == [(384, True)]
    train_run(config, tmp_path / "whole")
    assert_alike(config, tmp_path / "run", tmp_path / "whole")


def test_one_that_breaks_in_an_evaluation_says_so(tmp_path: Path) -> None:
    config = broken("never").model_copy(
        update={"evaluation": Evaluation(eval_freq=160, episodes=2, env_kwargs={"how": "nan reward", "step": 100})}
    )
    with pytest.raises(BrokenEnvironmentError, match=r"^Breaking-v0 in an evaluation, environment \d of 2: a reward"):
        train_run(config, tmp_path)


@pytest.mark.parametrize("hangs", [False, True])
def test_one_that_cannot_be_closed_has_done_its_work(hangs: bool, tmp_path: Path) -> None:
    config = run_config(n_timesteps=64, hyperparams={"env_wrapper": ({"runs.ClosesBadly": {"hangs": hangs}},)})
    with pytest.warns(UserWarning, match="CartPole-v1.*: closing it failed: "):
        train_run(config.model_copy(update={"step_timeout_seconds": 1.0}), tmp_path)
    assert read_record(tmp_path).status == "done"


def test_the_process_goes_on_with_other_runs(tmp_path: Path) -> None:
    with pytest.raises(BrokenEnvironmentError):
        train_run(broken("spin"), tmp_path / "broken")
    first = pretrained(tmp_path / "first")
    second = pretrained(tmp_path / "second")
    assert first.final == second.final
    assert same(*(tensors_in(tmp_path / name / "CartPole-v1.zip") for name in ("first", "second")))


@pytest.mark.parametrize("algo", ["ppo", "dqn", "sac", "td3"])
def test_weights_that_are_no_numbers_end_the_run(algo: str, tmp_path: Path) -> None:
    config = run_config(algo, n_timesteps=3000, eval_freq=-1)
    agent = {**SMALL[algo], "learning_rate": 1e30}
    config = config.model_copy(update={"hyperparams": Hyperparameters(policy="MlpPolicy", agent=agent)})
    with pytest.raises(RunError, match=r"weights are not finite any more \(.*, after [\d,]+ env_steps and [\d,]+ upd"):
        train_run(config, tmp_path)
    assert read_record(tmp_path).status == "failed"
    assert not (tmp_path / f"{config.task.file_name}.zip").exists()
