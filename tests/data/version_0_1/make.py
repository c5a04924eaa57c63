"""Makes the files beside this one with rltransfer 0.1.0: what later versions have to read.

Run at commit b26d7e5, with ``tests`` on the path: ``PYTHONPATH=tests python tests/data/version_0_1/make.py``. The files
hold no path of the machine that made them: ``/version_0_1`` stands for the folder that they are unpacked into.
"""

import contextlib
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import gymnasium as gym
import keyed_tasks  # noqa: F401 - registers Keyed-v0
from stable_baselines3 import PPO, SAC

from rltransfer import load_encoder
from rltransfer.cli import main
from rltransfer.config import StudyConfig
from rltransfer.errors import Stopped
from rltransfer.study import Job, expand_study, write_study
from rltransfer.training import train_run

HERE = Path(__file__).parent
PLACEHOLDER = "/version_0_1"
TEXT = {".json", ".yml", ".yaml", ".txt", ".csv"}
NET = {"net_arch": [4]}
PPO_SETTINGS = {"n_envs": 1, "n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [4]}}

UNFREEZE = [{"kind": "finetune"}, {"kind": "gradual_unfreeze", "at": [48]}]
REDO = [{"kind": "full", "critic_warmup_steps": 40}, {"kind": "redo", "every": 16}]
ARMS = {"scratch": "scratch", "finetune": "finetune", "frozen": "frozen", "unfreeze": UNFREEZE, "redo": REDO}


def artifacts(folder: Path) -> None:
    """Writes the artifact of an agent of each kind of observation."""
    keyed = {"one_key": "z:3", "sorted_keys": "a:2,z:3", "unsorted_keys": "z:3,a:2"}
    with tempfile.TemporaryDirectory() as scratch, contextlib.chdir(scratch):
        # Relative, since an artifact's manifest is sealed with the path in it.
        path = Path("agent.zip")
        PPO("MlpPolicy", "CartPole-v1", seed=7, policy_kwargs=dict(NET)).save(path)
        load_encoder(path).save(folder / "vector")
        for name, keys in keyed.items():
            env = gym.make("Keyed-v0", keys=keys, continuous=True)
            SAC("MultiInputPolicy", env, seed=7, policy_kwargs=dict(NET), buffer_size=10).save(path)
            load_encoder(path).save(folder / name)
        PPO("MultiInputPolicy", gym.make("Keyed-v0"), seed=7, policy_kwargs=dict(NET)).save(path)
        load_encoder(path).save(folder / "discrete_unsorted_keys")


def runs(folder: Path) -> None:
    """Writes the run folders of a source and of an agent that was transferred from it."""
    settings = ["-n", "64", "--seed", "0", "--eval-episodes", "2", "-f", str(folder)]
    settings += ["--hyperparams", "n_envs:1", "n_steps:16", "batch_size:16", "policy_kwargs:dict(net_arch=[4])"]
    assert main(["pretrain", "--algo", "ppo", "--env", "CartPole-v1", *settings]) == 0
    source = str(folder / "ppo" / "CartPole-v1_1")
    assert main(["transfer", "--from", source, "--algo", "ppo", "--env", "CartPole-v1", *settings]) == 0


def study(folder: Path, source: dict, target: dict, **hyperparams: str) -> None:
    """Writes a study of two seeds: seed 0 is done; of seed 1 three arms were stopped, and ``frozen`` waits."""
    config = StudyConfig.model_validate(
        {
            "algo": "ppo",
            "seeds": 2,
            "source": source,
            "tasks": {"target": {"n_timesteps": 64, **target}},
            "arms": ARMS,
            "evaluation": {"eval_freq": 32, "episodes": 2},
            "hyperparams": {**PPO_SETTINGS, **hyperparams},
        }
    )
    jobs = expand_study(config, folder)
    write_study(config, folder)
    for job in jobs:
        if job.config.seed == 0 or job.config.arm in ("pretrain", "scratch"):
            job.folder.mkdir(parents=True)
            train_run(job.config, job.folder)
        elif job.config.arm in ("finetune", "unfreeze", "redo"):
            stop_in_the_middle(job)


def study_of_kickstart(folder: Path) -> None:
    """Writes a study of two seeds: of seed 0 an arm stopped, of seed 1 its source."""
    env = "rltransfer_envs:rltransfer/CartPole-v0"
    settings = {"learning_starts": 8, "batch_size": 8, "buffer_size": 64, "train_freq": 1, "policy_kwargs": NET}
    config = StudyConfig.model_validate(
        {
            "algo": "dqn",
            "seeds": 2,
            "source": {"env": env, "n_timesteps": 64, "randomise": {"length": [0.2, 2.0]}},
            "tasks": {"target": {"env": env, "n_timesteps": 64}},
            "arms": {"scratch": "scratch", "kickstart": {"kind": "kickstart", "episodes": 2, "memory": 24}},
            "evaluation": {"eval_freq": 32, "episodes": 2},
            "hyperparams": {"n_envs": 1, **settings},
        }
    )
    jobs = expand_study(config, folder)
    write_study(config, folder)
    sources = [job for job in jobs if job.config.arm == "pretrain"]
    (kickstart,) = [job for job in jobs if job.config.arm == "kickstart" and job.config.seed == 0]
    sources[0].folder.mkdir(parents=True)
    train_run(sources[0].config, sources[0].folder)
    stop_in_the_middle(sources[1])
    stop_in_the_middle(kickstart)


def stop_in_the_middle(job: Job) -> None:
    """Stops a run after its first rollout, saved."""
    job.folder.mkdir(parents=True)
    asked = iter([False] * 20)
    try:
        train_run(job.config, job.folder, stop=lambda: next(asked, True))
    except Stopped:
        return
    raise AssertionError("the run was not stopped")


def without_paths(folder: Path, path: Path) -> None:
    """Replaces the path of a folder in every text file, and drops what nobody reads."""
    for item in sorted(folder.rglob("*")):
        if item.suffix in TEXT:
            item.write_text(item.read_text().replace(str(path), PLACEHOLDER))
        elif item.is_file() and item.name.startswith("events.out.tfevents"):
            item.unlink()


if __name__ == "__main__":
    assert version("rltransfer") == "0.1.0"
    with tempfile.TemporaryDirectory() as scratch:
        made = Path(scratch) / "made"
        artifacts(made / "artifacts")
        runs(made / "runs")
        env = "CartPole-v1"
        study(made / "study_vector", {"env": env, "n_timesteps": 64}, {"env": env})
        keyed = {"env": "keyed_tasks:Keyed-v0"}
        study(made / "study_unsorted_keys", {**keyed, "n_timesteps": 64}, keyed, policy="MultiInputPolicy")
        sorted_keys = {**keyed, "kwargs": {"keys": "a:2,z:3"}}
        source = {**sorted_keys, "n_timesteps": 64}
        study(made / "study_sorted_keys", source, sorted_keys, policy="MultiInputPolicy")
        study(
            made / "study_of_artifact",
            {"path": str(made / "artifacts" / "discrete_unsorted_keys")},
            keyed,
            policy="MultiInputPolicy",
        )
        study_of_kickstart(made / "study_of_kickstart")
        without_paths(made, made)
        for item in made.iterdir():
            shutil.make_archive(str(HERE / item.name), "gztar", made, item.name)
