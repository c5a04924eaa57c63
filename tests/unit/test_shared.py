"""Source runs by their content."""

import re
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from runs import run_config
from synthetic import make_run

from rltransfer.config import RunConfig
from rltransfer.errors import ConfigError
from rltransfer.study import shared
from rltransfer.study.shared import copy_run, shared_name


def config(**changes: Any) -> RunConfig:
    return run_config(**{"role": "source", "arm": "pretrain", "task_name": "source", **changes})


def test_equal_runs_have_one_name_that_people_can_read() -> None:
    name = shared_name(config())
    assert re.fullmatch(r"ppo-CartPole-v1-seed_0-[0-9a-f]{16}", name)
    assert shared_name(config()) == name
    assert shared_name(config(verbose=2, log_interval=5, num_threads=2, save_freq=100, command="typed")) == name


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1},
        {"n_timesteps": 97},
        {"env": "Acrobot-v1"},
        {"kwargs": {"sutton_barto_reward": True}},
        {"eval_freq": 16},
        {"episodes": 5},
        {"algo": "a2c"},
        {"hyperparams": {"normalize": True}},
        {"device": "cuda"},
    ],
    ids=str,
)
def test_what_decides_the_numbers_is_in_the_name(changes: dict[str, Any]) -> None:
    assert shared_name(config(**changes)) != shared_name(config())


@pytest.mark.parametrize("package", ["rltransfer", "stable-baselines3", "gymnasium", "torch", "numpy", "mujoco"])
def test_so_are_the_versions_that_compute_them(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = shared_name(config())
    real = metadata.version
    monkeypatch.setattr(shared.metadata, "version", lambda asked: "0.0.1" if asked == package else real(asked))
    assert shared_name(config()) != name


def test_so_is_the_version_of_the_package_that_an_environment_is_from(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = metadata.version
    monkeypatch.setattr(shared.metadata, "version", lambda package: (asked.append(package), real(package))[1])
    shared_name(config(env="PIL:Picture-v0"))
    assert "pillow" in asked
    shared_name(config(env="rltransfer_envs:rltransfer/CartPole-v0"))


@pytest.mark.parametrize(
    "changes",
    [
        {"env": "runs:FirstObservation-v0"},
        {"hyperparams": {"env_wrapper": ["runs.BreaksAtStep"]}},
        {"hyperparams": {"agent": {"policy_kwargs": {"features_extractor_class": "runs.Extractor"}}}},
    ],
    ids=str,
)
def test_a_module_without_a_version_cannot_be_told_from_an_older_one(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"cannot be shared: module 'runs' is not of an installed package"):
        shared_name(config(**changes))


def test_a_copy_is_a_whole_run_whose_record_comes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, arm="pretrain", seed=0, folder="cache/a", training=[(1.0, 2)])
    (run.folder / "tb" / "x").mkdir(parents=True)
    (run.folder / "tb" / "x" / "events").write_bytes(b"1")
    (run.folder / "rltransfer" / "claim.json").write_text("{}")
    order: list[Path] = []
    real = shared.files.write_bytes
    monkeypatch.setattr(shared.files, "write_bytes", lambda path, content: (order.append(path), real(path, content)))
    copy_run(run.folder, tmp_path / "study")
    there = {path.relative_to(run.folder) for path in run.folder.rglob("*") if path.is_file()}
    copied = {path.relative_to(tmp_path / "study") for path in (tmp_path / "study").rglob("*") if path.is_file()}
    assert copied == there - {Path("rltransfer/claim.json")}
    assert order[-1] == tmp_path / "study" / "rltransfer" / "record.json"
