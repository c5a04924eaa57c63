"""A study as the list of its runs."""

from pathlib import Path
from typing import Any

import pytest

from rltransfer.config import StudyConfig
from rltransfer.errors import ConfigError
from rltransfer.hyperparams import resolve
from rltransfer.study import expand_study


def study(**changes: Any) -> StudyConfig:
    settings: dict[str, Any] = {
        "algo": "ppo",
        "seeds": [3, 1],
        "source": {"env": "CartPole-v1", "n_timesteps": 500, "hyperparams": {"n_steps": 64}},
        "tasks": {
            "long": {"env": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}, "n_timesteps": 100, "threshold": 7},
            "short": {"env": "Acrobot-v1", "n_timesteps": 200, "hyperparams": {"gamma": 0.5}},
        },
        "arms": {"scratch": "scratch", "frozen": "frozen", "random": "random_frozen"},
        "evaluation": {"eval_freq": 50},
        "hyperparams": {"gamma": 0.9},
    }
    return StudyConfig.model_validate(settings | changes)


def test_source_runs_come_first_then_seed_by_seed_all_tasks_and_arms(tmp_path: Path) -> None:
    names = [job.name for job in expand_study(study(), tmp_path)]
    assert names[:2] == ["source/pretrain/seed_3", "source/pretrain/seed_1"]
    assert names[2:] == [
        f"{task}/{arm}/seed_{seed}"
        for seed in (3, 1)
        for task in ("long", "short")
        for arm in ("scratch", "frozen", "random")
    ]
    assert all(job.folder == tmp_path / job.name for job in expand_study(study(), tmp_path))


def test_target_seed_i_takes_source_seed_i_and_waits_for_it(tmp_path: Path) -> None:
    for job in expand_study(study(), tmp_path):
        source = tmp_path / "source" / "pretrain" / f"seed_{job.config.seed}"
        takes = job.config.arm not in ("pretrain", "scratch")
        assert job.config.source == (str(source) if takes else None)
        assert job.after == (source if takes else None)


def test_an_agent_on_disk_serves_every_seed_and_nothing_is_waited_for(tmp_path: Path) -> None:
    jobs = expand_study(study(source={"path": "agent.zip", "which": "last"}), tmp_path)
    assert {job.config.role for job in jobs} == {"target"}
    frozen = [job.config for job in jobs if job.config.arm == "frozen"]
    assert {(config.source, config.which) for config in frozen} == {("agent.zip", "last")}
    assert all(job.after is None for job in jobs)


def test_several_agents_on_disk_go_to_every_arm_that_reads_a_source(tmp_path: Path) -> None:
    several = study(source={"path": ["a.zip", "b.zip"]}, arms={"scratch": "scratch", "columns": "progressive"})
    jobs = expand_study(several, tmp_path)
    sources = {job.config.arm: job.config.sources for job in jobs}
    assert sources == {"scratch": (), "columns": ("a.zip", "b.zip")}
    assert StudyConfig.model_validate(several.model_dump(mode="json")) == several
    assert study(source={"path": ["a.zip"]}).source.path == "a.zip"


def test_settings_of_a_task_come_before_those_of_the_study_and_arms_differ_in_nothing_else(tmp_path: Path) -> None:
    jobs = expand_study(study(), tmp_path)
    gammas = {job.config.task_name: job.config.hyperparams.agent["gamma"] for job in jobs}
    assert gammas == {"source": 0.9, "long": 0.9, "short": 0.5}
    budgets = {job.config.task_name: job.config.n_timesteps for job in jobs}
    assert budgets == {"source": 500, "long": 100, "short": 200}
    assert {job.config.hyperparams.agent["n_steps"] for job in jobs if job.config.role == "source"} == {64}
    fields = {"arm", "strategy", "source"}
    for task in ("long", "short"):
        for seed in (3, 1):
            arms = [
                job.config.model_dump(exclude=fields)
                for job in jobs
                if (job.config.task_name, job.config.seed) == (task, seed)
            ]
            assert len(arms) == 3
            assert all(arm == arms[0] for arm in arms)
    assert {job.config.threshold for job in jobs if job.config.task_name == "long"} == {7}


def test_a_budget_that_the_study_does_not_state_is_that_of_the_hyperparameters(tmp_path: Path) -> None:
    jobs = expand_study(study(source={"env": "CartPole-v1"}), tmp_path)
    assert jobs[0].config.n_timesteps == resolve("ppo", "CartPole-v1").n_timesteps
    overridden = study(source={"env": "CartPole-v1", "hyperparams": {"n_timesteps": 123}})
    assert expand_study(overridden, tmp_path)[0].config.n_timesteps == 123


def test_a_wrong_setting_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'gama'.*Did you mean 'gamma'"):
        expand_study(study(hyperparams={"gama": 0.9}), tmp_path)


def test_sources_are_trained_as_the_study_says_and_keep_what_an_arm_mixes_in(tmp_path: Path) -> None:
    env = {"env": "Pendulum-v1", "n_timesteps": 100}
    pretraining = {**env, "augment": {"noise": 0.1}, "randomise": {"g": [5, 15]}}
    arms = {"scratch": "scratch", "mixed": {"kind": "shuffled", "of": ["finetune", "replay"]}}
    changed = study(algo="sac", source=pretraining, tasks={"same": env}, arms=arms, hyperparams={})
    source, *targets = expand_study(changed, tmp_path)[1:]
    assert [part.kind for part in source.config.strategy] == ["scratch", "augment"]
    assert source.config.randomise == {"g": (5, 15)}
    assert source.config.save_replay_buffer
    assert all(job.config.randomise is None and not job.config.save_replay_buffer for job in targets)
    plain = study(algo="sac", source=env, tasks={"same": env}, arms={"scratch": "scratch"}, hyperparams={})
    (source, *_) = expand_study(plain, tmp_path)
    assert [part.kind for part in source.config.strategy] == ["scratch"]
    assert not source.config.save_replay_buffer
    assert StudyConfig.model_validate(changed.model_dump(mode="json")) == changed


@pytest.mark.parametrize(("algo", "source"), [("ppo", None), ("ppo", "sac"), ("sac", "ppo")])
def test_arms_that_mix_in_what_nobody_remembers_are_refused(algo: str, source: str | None, tmp_path: Path) -> None:
    env = {"env": "Pendulum-v1", "n_timesteps": 100}
    mixing = study(
        algo=algo,
        source=env | ({"algo": source} if source else {}),
        tasks={"same": env},
        arms={"scratch": "scratch", "mixed": "replay"},
        hyperparams={},
    )
    with pytest.raises(ConfigError, match="arms.mixed: 'replay' mixes in .* agents of ppo keep no replay buffer"):
        expand_study(mixing, tmp_path)


def test_agents_on_disk_are_not_trained_in_any_way() -> None:
    for key, value in (("augment", {"noise": 0.1}), ("randomise", {"gravity": [5, 15]})):
        with pytest.raises(ValueError, match=f"is not trained: no .*{key}"):
            study(source={"path": "agent.zip", key: value})
