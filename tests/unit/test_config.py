from pathlib import Path
from typing import Any

import pytest

from rltransfer import yaml_file
from rltransfer.config import Evaluation, StudyConfig, Task, read_study
from rltransfer.errors import RLTransferError

STUDY = """
algo: ppo
seeds: 3
source: {env: CartPole-v1, n_timesteps: 100}
tasks:
  long: {env: "rltransfer_envs:rltransfer/CartPole-v0", kwargs: {length: 1.5}, n_timesteps: 1e2}
arms:
  scratch: scratch
  frozen: frozen
  control: {kind: shuffled, of: frozen}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(text)
    return path


def test_a_study_is_read_and_survives_being_written(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, STUDY))
    assert study.seeds == (0, 1, 2)
    assert study.tasks["long"].n_timesteps == 100
    assert study.arms["control"][0].kind == "shuffled"
    again = write(tmp_path, yaml_file.dump(study.model_dump(mode="json")))
    assert read_study(again) == study


@pytest.mark.parametrize("path", sorted(Path(__file__).parents[2].glob("configs/*.yaml")), ids=lambda path: path.stem)
def test_the_studies_of_the_repository_are_valid(path: Path) -> None:
    assert isinstance(read_study(path), StudyConfig)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds: 3", "seds: 3", ["unknown key 'seds'", "Did you mean 'seeds'"]),
        ("seeds: 3", "seeds: three", ["key 'seeds'", "'three'"]),
        ("seeds: 3", "seeds: [1, 1]", ["key 'seeds'", "listed twice"]),
        ("seeds: 3", "seeds: 0", ["key 'seeds'"]),
        ("algo: ppo", "algo: pppo", ["key 'algo'", "'pppo'"]),
        ("algo: ppo", "algo: ppo\nalgo: sac", ["algo", "twice"]),
        ("algo: ppo\n", "", ["key 'algo' is missing"]),
        ("frozen: frozen", "frozen: frozn", ["arms.frozen", "Did you mean 'frozen'"]),
        ("frozen: frozen", "frozen: {kind: frozen, layer: 1}", ["arms.frozen", "'layer'", "Did you mean 'layers'"]),
        ("scratch: scratch", "baseline: scratch", ["key 'arms'", "'scratch'"]),
        ("n_timesteps: 1e2", "n_timesteps: -1", ["tasks.long.n_timesteps", "-1"]),
        ("n_timesteps: 1e2", "n_timestep: 1", ["tasks.long.n_timestep", "Did you mean 'n_timesteps'"]),
        ("source: {env: CartPole-v1, n_timesteps: 100}", "source: {path: a, env: b}", ["key 'source'", "either"]),
        ("  long:", "  a/b:", ["key 'tasks'", "'a/b'"]),
        ("algo: ppo", "algo: [ppo", ["line"]),
    ],
)
def test_mistakes_name_file_and_key(old: str, new: str, words: list[str], tmp_path: Path) -> None:
    assert old in STUDY
    path = write(tmp_path, STUDY.replace(old, new))
    with pytest.raises(RLTransferError) as caught:
        read_study(path)
    for word in (str(path), *words):
        assert word.lower() in str(caught.value).lower()


def test_a_missing_study_is_named(tmp_path: Path) -> None:
    with pytest.raises(RLTransferError, match="missing.yaml"):
        read_study(tmp_path / "missing.yaml")


@pytest.mark.parametrize(
    ("env", "name"),
    [
        ("CartPole-v1", "CartPole-v1"),
        ("ALE/Pong-v5", "ALE-Pong-v5"),
        ("rltransfer_envs:rltransfer/CartPole-v0", "rltransfer-CartPole-v0"),
    ],
)
def test_files_are_named_as_in_rl_zoo(env: str, name: str) -> None:
    assert Task(env=env).file_name == name


@pytest.mark.parametrize(
    ("settings", "frequency", "parallel"),
    [
        ({}, 100, 10),
        ({"eval_freq": 0.25}, 250, 10),
        # What runs and studies of version 0.1 hold that left it out.
        ({"eval_freq": None}, 50, 10),
        ({"eval_freq": 7, "episodes": 3}, 7, 3),
        ({"eval_freq": -1, "n_envs": 2}, 1000, 2),
    ],
)
def test_evaluation_defaults_follow_the_budget(settings: dict[str, Any], frequency: int, parallel: int) -> None:
    evaluation = Evaluation(**settings)
    assert evaluation.frequency(1000) == frequency
    assert evaluation.parallel == parallel
