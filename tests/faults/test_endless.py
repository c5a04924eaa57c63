"""Episodes that never end, and environments that hang: evaluations are bounded, and a wish to stop is always heard."""

import multiprocessing
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from endless import Endless, Hanging, Slow
from killing import rltransfer
from resuming import assert_alike, training_episodes
from runs import SMALL, pretrained, run_config
from studies import processes_in, supervisor, wait_until

from rltransfer import tasks, yaml_file
from rltransfer.config import Evaluation, RunConfig
from rltransfer.errors import Stopped
from rltransfer.records import RunRecord, read_record
from rltransfer.tasks import episode_limit
from rltransfer.training import heartbeat, train_run

ENV = "endless:Endless-v0"
CUT = r"^Endless-v0 in an evaluation: an episode was cut off after 40 steps, .* --eval-max-episode-steps, "
LINE = "pretrain --env endless:Endless-v0 -n 128 --seed 1 -params n_steps:64 batch_size:64 n_epochs:1 --eval-freq -1"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_limit, "MAX_EPISODE_STEPS", 40)
    monkeypatch.setattr(heartbeat, "STEP_SECONDS", 0.5)
    monkeypatch.setattr(heartbeat, "ROLLOUT_SECONDS", 0.5)


def endless(env: str = "Endless-v0", *, evaluation: dict[str, Any] | None = None, **settings: Any) -> RunConfig:
    config = run_config(env=env, **settings)
    frequency = {"eval_freq": 32, "episodes": 2}
    return config.model_copy(update={"evaluation": Evaluation(**frequency, **(evaluation or {}))})


def lengths(record: RunRecord) -> set[int]:
    assert record.random is not None
    assert record.initial is not None
    assert record.final is not None
    return {*record.random.episode_lengths, *record.initial.episode_lengths, *record.final.episode_lengths}


def test_an_evaluation_without_any_time_limit_is_cut_off_and_says_so(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=CUT):
        record = train_run(endless(), tmp_path)
    assert lengths(record) == {40}
    assert record.final is not None
    assert record.final.cut_off == len(record.final.episode_returns)
    # Training is the user's own business.
    assert training_episodes(tmp_path) == {"0.monitor.csv": []}


def test_a_bound_that_was_set_holds_without_a_warning(tmp_path: Path) -> None:
    record = train_run(endless(evaluation={"max_episode_steps": 50}), tmp_path)
    assert lengths(record) == {50}
    assert record.evaluation.max_episode_steps == 50


@pytest.mark.parametrize(
    ("wrapper", "steps"),
    [
        ({"gymnasium.wrappers.TimeLimit": {"max_episode_steps": 60}}, 60),
        ({"endless.Ending": {"steps": 30}}, 30),
        ({"endless.Ending": {"steps": 30, "truncates": True}}, 30),
    ],
)
def test_what_a_wrapper_ends_is_an_episode(wrapper: dict[str, Any], steps: int, tmp_path: Path) -> None:
    record = train_run(endless(hyperparams={"env_wrapper": (wrapper,)}), tmp_path)
    assert lengths(record) == {steps}
    assert record.final is not None
    assert record.final.cut_off == 0


@pytest.mark.parametrize("max_episode_steps", [None, 25])
def test_a_lost_life_is_no_end_and_the_bound_counts_the_whole_game(
    max_episode_steps: int | None, tmp_path: Path
) -> None:
    evaluation = {} if max_episode_steps is None else {"max_episode_steps": max_episode_steps}
    config = endless(evaluation=evaluation, hyperparams={"env_wrapper": ("endless.LosesLives",)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        record = train_run(config, tmp_path)
    assert lengths(record) == {max_episode_steps or 40}


def test_a_time_limit_longer_than_the_default_bound_counts(tmp_path: Path) -> None:
    plain = pretrained(tmp_path / "plain", n_timesteps=96)
    assert plain.final is not None
    assert plain.initial is not None
    bounded = train_run(
        endless("CartPole-v1", role="source", arm="pretrain", evaluation={"max_episode_steps": 500}), tmp_path / "set"
    )
    default = train_run(endless("CartPole-v1", role="source", arm="pretrain"), tmp_path / "default")
    assert (bounded.random, bounded.initial, bounded.final) == (default.random, default.initial, default.final)
    assert max(lengths(default)) > 40
    assert default.final is not None
    assert default.final.cut_off == 0


def test_a_shorter_bound_cuts_what_has_a_time_limit(tmp_path: Path) -> None:
    record = train_run(endless("ShortPendulum-v0", algo="a2c", evaluation={"max_episode_steps": 7}), tmp_path)
    assert lengths(record) == {7}


def test_games_of_ale_have_a_limit_of_their_own() -> None:
    pytest.importorskip("ale_py")
    hyperparams = run_config().hyperparams
    task = run_config(env="rltransfer_envs:rltransfer/Atari-v0", kwargs={"game": "pong"}).task
    env: Any = tasks.make_eval_env(task, hyperparams, seed=0, n_envs=1)
    assert env.get_attr("max_episode_steps") == [None]
    env.close()


def test_settings_of_runs_without_a_bound_are_those_of_before() -> None:
    assert "max_episode_steps" not in endless().outcome_settings()["evaluation"]
    assert endless(evaluation={"max_episode_steps": 9}).outcome_settings()["evaluation"]["max_episode_steps"] == 9


FIRST_SCORE, BETWEEN, LAST_SCORE = ("rltransfer/record.json", None), ("evaluations.npz", 16), ("Endless-v0.zip", 96)


@pytest.mark.parametrize(
    ("algo", "gate", "saved"),
    [
        pytest.param("ppo", *FIRST_SCORE, id="ppo, first score"),
        pytest.param("ppo", *BETWEEN, id="ppo, between"),
        pytest.param("ppo", *LAST_SCORE, id="ppo, last score", marks=pytest.mark.long),
        pytest.param("dqn", *FIRST_SCORE, id="dqn, first score", marks=pytest.mark.long),
        pytest.param("dqn", *BETWEEN, id="dqn, between", marks=pytest.mark.long),
        pytest.param("dqn", *LAST_SCORE, id="dqn, last score"),
    ],
)
def test_an_evaluation_that_is_stopped_is_done_again(
    algo: str, gate: str, saved: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, note = tmp_path / "parted", tmp_path / "note"
    hangs = {"hangs": "step", "after": 3, "gate": str(folder / gate), "note": str(note)}
    evaluation = {"max_episode_steps": 20, "env_kwargs": hangs}
    config = endless(algo=algo, evaluation=evaluation, checkpoint_freq=16, hyperparams={"normalize": algo == "ppo"})
    where = "before anything was saved" if saved is None else r"as saved after \d+ env_steps"
    with pytest.raises(Stopped, match=f"^stopped {where}$"):
        train_run(config, folder, stop=note.exists)
    assert (read_record(folder).status, read_record(folder).error) == ("stopped", None)
    note.unlink()
    monkeypatch.setattr(Endless, "is_mended", True)
    record = train_run(config, folder)
    assert [entry.exact for entry in record.resumed] == ([] if saved is None else [True])
    if algo == "ppo" and saved is not None:
        assert [entry.env_steps for entry in record.resumed] == [saved]
    assert record.final == train_run(config, tmp_path / "whole").final
    assert_alike(config, folder, tmp_path / "whole")


def hanging(hangs: str, after: int, vec_env: str, *, is_long: bool = True) -> Any:
    return pytest.param(hangs, after, vec_env, marks=[pytest.mark.long] if is_long else [])


@pytest.mark.parametrize(
    ("hangs", "after", "vec_env"),
    [
        hanging("init", 0, "dummy", is_long=False),
        hanging("init", 0, "subproc"),
        hanging("reset", 0, "dummy"),
        hanging("reset", 0, "subproc"),
        hanging("reset", 2, "dummy"),
        hanging("reset", 2, "subproc", is_long=False),
        hanging("step", 0, "dummy"),
        hanging("step", 0, "subproc"),
        hanging("step", 40, "dummy", is_long=False),
        hanging("step", 40, "subproc"),
    ],
)
def test_a_training_environment_that_hangs_does_not_keep_a_run(
    hangs: str, after: int, vec_env: str, tmp_path: Path
) -> None:
    note = tmp_path / "note"
    kwargs = {"hangs": hangs, "after": after, "gate": str(tmp_path), "note": str(note)}
    evaluation = {"max_episode_steps": 5, "env_kwargs": {}}
    wrapper = {"endless.Ending": {"steps": 10}}
    config = endless(kwargs=kwargs, evaluation=evaluation, vec_env=vec_env, hyperparams={"env_wrapper": (wrapper,)})
    with pytest.raises(Stopped):
        train_run(config, tmp_path / "run", stop=note.exists)
    assert read_record(tmp_path / "run").status == "stopped"
    assert not multiprocessing.active_children()


def test_a_step_that_ends_is_not_interrupted(tmp_path: Path) -> None:
    config = endless(evaluation={"max_episode_steps": 5}, hyperparams={"env_wrapper": ("endless.Slow",)})
    with pytest.raises(Stopped):
        train_run(config, tmp_path, stop=lambda: True)
    assert Slow.raised == []


@pytest.mark.long
def test_a_race_goes_on_from_its_last_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pretrained(tmp_path / "source")
    folder, note = tmp_path / "parted", tmp_path / "note"
    gate = {"hangs": "step", "gate": str(folder / "CartPole-v1.zip"), "note": str(note)}
    config = run_config(strategy="auto", source=str(tmp_path / "source"), n_timesteps=600, eval_freq=-1, episodes=2)
    wrapped = config.hyperparams.model_copy(update={"env_wrapper": ({"endless.Hanging": gate},)})
    config = config.model_copy(update={"hyperparams": wrapped, "checkpoint_freq": 16})
    with pytest.raises(Stopped, match="^stopped as saved after"):
        train_run(config, folder, stop=note.exists)
    note.unlink()
    monkeypatch.setattr(Hanging, "is_mended", True)
    record, whole = train_run(config, folder), train_run(config, tmp_path / "whole")
    assert [entry.exact for entry in record.resumed] == [True]
    assert (record.final, record.best, record.race, record.env_steps) == (
        whole.final,
        whole.best,
        whole.race,
        whole.env_steps,
    )


def test_a_rollout_that_never_ends_is_given_up(tmp_path: Path) -> None:
    agent = {**SMALL["dqn"], "train_freq": (1, "episode"), "learning_starts": 10**7}
    hyperparams = run_config("dqn").hyperparams.model_copy(update={"agent": agent})
    config = endless(algo="dqn", n_timesteps=10**7).model_copy(
        update={
            "hyperparams": hyperparams,
            "evaluation": Evaluation(eval_freq=-1, episodes=2, max_episode_steps=5),
            "checkpoint_freq": 10**7,
        }
    )
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += threading.current_thread() is threading.main_thread()
        return asked > 50

    with pytest.raises(Stopped, match="^stopped before anything was saved$"):
        train_run(config, tmp_path, stop=stop)


@pytest.mark.parametrize(
    ("number", "status"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGTERM, 143)]
)
def test_a_command_is_stopped_in_its_first_evaluation(
    number: int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = Path("logs/ppo/Endless-v0_1")
    arguments = f"hangs:step after:30 gate:{run / 'rltransfer' / 'record.json'} note:{tmp_path / 'note'}"
    process = rltransfer(f"{LINE} --eval-max-episode-steps 20 --eval-env-kwargs {arguments}")
    wait_until(Path("note").exists)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == status
    said = Path("said.txt").read_text()
    assert f"stopped before anything was saved; go on with: rltransfer pretrain --resume {run}" in said
    assert read_record(run).status == "stopped"


def test_a_command_is_stopped_before_there_is_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    process = rltransfer(f"{LINE} --env-kwargs hangs:init gate:{tmp_path} note:{tmp_path / 'note'}")
    wait_until(Path("note").exists)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143
    assert Path("said.txt").read_text() == "terminated\n"
    assert not Path("logs").exists()


@pytest.mark.long
def test_a_study_ends_with_the_jobs_that_hang(tmp_path: Path) -> None:
    study = {
        "algo": "ppo",
        "seeds": 1,
        "source": {"env": ENV, "n_timesteps": 64},
        "tasks": {"target": {"env": ENV, "n_timesteps": 48}},
        "arms": {"scratch": "scratch", "frozen": "frozen"},
        "evaluation": {
            "eval_freq": 16,
            "episodes": 2,
            "max_episode_steps": 20,
            "env_kwargs": {"hangs": "step", "gate": str(tmp_path / "made"), "note": str(tmp_path / "note")},
        },
        "hyperparams": {"n_envs": 1, "n_steps": 16, "batch_size": 16, "policy_kwargs": {"net_arch": [8]}},
    }
    (tmp_path / "study.yaml").write_text(yaml_file.dump(study))
    (tmp_path / "made").touch()
    with supervisor("run", tmp_path / "study.yaml", "-f", tmp_path / "runs") as running:
        wait_until(lambda: (tmp_path / "note").exists() or running.process.poll() is not None)
        running.signal(signal.SIGTERM)
        code, _, err = running.end()
    assert code == 143, err
    assert "the same command goes on with the others" in err
    assert not processes_in(tmp_path)
