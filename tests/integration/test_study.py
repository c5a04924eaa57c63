"""A study from its file to its report, in processes of its own."""

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from agents import make_agent
from studies import processes_in
from undrawn import no_figures  # noqa: F401

from rltransfer import yaml_file
from rltransfer.artifact import load_encoder
from rltransfer.cli import main
from rltransfer.errors import ConfigError, MissingExtraError, RunError
from rltransfer.records import read_record, write_record
from rltransfer.run_lock import claim, release
from rltransfer.study import count_states, run_study, set_up_study, study_status, work_on_study

TINY = {"n_envs": 1, "n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [8]}}
KILLS = {"env_wrapper": {"runs.KillsItsProcess": {"step": 20}}}
BREAKS = {"env_wrapper": {"runs.BreaksAtStep": {"step": 20}}}
RETURNS_NAN = {"env_wrapper": {"runs.BreaksWithNaN": {"step": 20}}}


def settings(**changes: Any) -> dict[str, Any]:
    return {
        "algo": "ppo",
        "seeds": 2,
        "source": {"env": "CartPole-v1", "n_timesteps": 48},
        "tasks": {"target": {"env": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}, "n_timesteps": 32}},
        "arms": {"scratch": "scratch", "frozen": "frozen"},
        "evaluation": {"eval_freq": 16, "episodes": 2},
        "hyperparams": TINY,
        **changes,
    }


def write(folder: Path, **changes: Any) -> Path:
    path = folder / "tiny.yaml"
    path.write_text(yaml_file.dump(settings(**changes)))
    return path


def modification_times(folder: Path) -> dict[str, int]:
    """Returns when each file of the runs was written; the report is written again each time."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("seed_*/**/*") if path.is_file()}


def run(path: Path, folder: Path, **options: Any) -> tuple[Any, list[str]]:
    said: list[str] = []
    return run_study(path, folder, say=said.append, **{"jobs": 2, "retries": 0, **options}), said


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any, list[str]]:
    """A study of two seeds that ran without trouble: its file, its folder, what it returned and said."""
    root = tmp_path_factory.mktemp("study")
    path = write(root)
    comparison, said = run(path, root / "out")
    return path, root / "out", comparison, said


class TestFinished:
    def test_it_leaves_a_folder_for_each_run_the_file_and_the_report(self, finished: Any) -> None:
        _, folder, _, said = finished
        runs = {str(path.relative_to(folder)) for path in folder.glob("*/*/seed_*")}
        assert runs == {
            f"{arm}/seed_{seed}" for arm in ("source/pretrain", "target/scratch", "target/frozen") for seed in (0, 1)
        }
        for name in runs:
            assert read_record(folder / name).status == "done"
            assert (folder / name / "best_model.zip").is_file()
            assert (folder / name / "run.log").is_file()
            assert not (folder / name / "rltransfer" / "claim.json").exists()
        assert (folder / "study.yaml").is_file()
        assert (folder / "report" / "report.md").read_text()
        assert list((folder / "aggregate").rglob("events*"))
        assert len(said) == 6
        assert all("done in" in line for line in said)
        assert said[-1].startswith("[6/6] ")

    def test_target_seed_i_uses_source_seed_i(self, finished: Any) -> None:
        _, folder, _, _ = finished
        hashes = set()
        for seed in (0, 1):
            source = read_record(folder / f"target/frozen/seed_{seed}").source
            assert source is not None
            assert source.seed == seed
            assert source.sha256 == load_encoder(folder / f"source/pretrain/seed_{seed}").source.sha256
            hashes.add(source.sha256)
            assert read_record(folder / f"target/scratch/seed_{seed}").source is None
        assert len(hashes) == 2

    def test_it_returns_the_tables_of_the_report(self, finished: Any) -> None:
        _, _, comparison, _ = finished
        (task,) = comparison.tasks
        assert {arm.name for arm in task.arms} == {"scratch", "frozen"}

    def test_nothing_is_run_again(self, finished: Any) -> None:
        path, folder, _, _ = finished
        before = modification_times(folder)
        _, said = run(path, folder)
        assert said == ["6 of 6 runs are done already"]
        assert modification_times(folder) == before

    def test_its_folder_may_be_moved_or_named_otherwise(
        self, finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path, folder, _, _ = finished
        shutil.copytree(folder, tmp_path / "moved")
        monkeypatch.chdir(tmp_path)
        assert run(path, Path("moved"))[1] == ["6 of 6 runs are done already"]
        assert count_states(study_status(Path("moved")))["done"] == 6

    def test_another_study_in_its_folder_is_refused_by_key(self, finished: Any, tmp_path: Path) -> None:
        _, folder, _, _ = finished
        before = modification_times(folder), (folder / "study.yaml").read_text()
        task = {"env": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}, "n_timesteps": 33}
        with pytest.raises(ConfigError, match=r"other settings: 'n_timesteps' is 32, the study says 33.*-f"):
            run(write(tmp_path, tasks={"target": task}), folder)
        with pytest.raises(ConfigError, match=r"other settings: 'source' is .*the study says 'agent.zip'"):
            run(write(tmp_path, source={"path": "agent.zip"}), folder)
        assert (modification_times(folder), (folder / "study.yaml").read_text()) == before

    def test_further_seeds_run_alone(self, finished: Any, tmp_path: Path) -> None:
        _, study, _, _ = finished
        folder = tmp_path / "out"
        shutil.copytree(study, folder)
        before = modification_times(folder)
        _, said = run(write(tmp_path, seeds=3), folder)
        assert said[0] == "6 of 9 runs are done already"
        assert sorted(line.split()[1] for line in said[1:]) == [
            "source/pretrain/seed_2:",
            "target/frozen/seed_2:",
            "target/scratch/seed_2:",
        ]
        after = modification_times(folder)
        assert {name: after[name] for name in before} == before
        assert count_states(study_status(folder)) == {"done": 9, "running": 0, "stopped": 0, "failed": 0, "missing": 0}


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A study of one seed in which an arm, two tasks and a process come to grief, each its own way."""
    root = tmp_path_factory.mktemp("troubled")
    tasks = {
        "target": {"env": "CartPole-v1", "n_timesteps": 32},
        "killed": {"env": "CartPole-v1", "n_timesteps": 32, "hyperparams": KILLS},
        "broken": {"env": "CartPole-v1", "n_timesteps": 32, "hyperparams": BREAKS},
        "unbounded": {"env": "CartPole-v1", "n_timesteps": 32, "hyperparams": RETURNS_NAN},
    }
    arms = {"scratch": "scratch", "typo": {"kind": "frozen", "layers": ["mlp_extractor.polic_net"]}}
    path = write(root, seeds=1, tasks=tasks, arms=arms)
    _, said = run(path, root / "out")
    return path, root / "out", said


class TestTroubled:
    def line(self, said: list[str], name: str) -> str:
        (state_line,) = [line for line in said if f" {name}: " in line]
        return state_line

    def test_each_failure_is_reported_with_its_reason_and_the_others_finish(self, troubled: Any) -> None:
        _, folder, said = troubled
        assert len(said) == 9
        assert "done in" in self.line(said, "source/pretrain/seed_0")
        assert "done in" in self.line(said, "target/scratch/seed_0")
        typo = self.line(said, "target/typo/seed_0")
        assert "FAILED: " in typo
        assert "no encoder layer 'mlp_extractor.polic_net'. Did you mean 'mlp_extractor.policy_net" in typo
        assert "FAILED: " in (broken := self.line(said, "broken/scratch/seed_0"))
        assert "RuntimeError: the simulator broke" in broken
        not_finite = self.line(said, "unbounded/scratch/seed_0")
        assert (
            "FAILED: CartPole-v1 in an evaluation, environment 1 of 2: a reward is not finite: nan (after 0"
            in not_finite
        )
        killed = self.line(said, "killed/scratch/seed_0")
        assert (
            "FAILED: CartPole-v1: its process ended with exit code -9 (after 0 env_steps or more, seed 0); see "
            in killed
        )
        assert f"{folder}/killed/scratch/seed_0/run.log" in killed
        assert "Traceback" in (folder / "broken/scratch/seed_0/run.log").read_text()
        assert processes_in(folder) == []

    def test_the_reason_is_on_disk_too(self, troubled: Any, capsys: pytest.CaptureFixture[str]) -> None:
        _, folder, _ = troubled
        assert read_record(folder / "target/scratch/seed_0").status == "done"
        typo = read_record(folder / "target/typo/seed_0")
        assert typo.status == "failed"
        assert "polic_net" in (typo.error or "")
        assert "exit code -9" in (read_record(folder / "killed/scratch/seed_0").error or "")
        assert main(["study", "status", str(folder)]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1] == "2 done, 0 running, 0 stopped, 7 failed, 0 missing"
        assert sum(": failed: " in line for line in lines) == 7
        assert "target/typo/seed_0: failed: " in "\n".join(lines)

    def test_failed_runs_are_tried_again_and_the_mistake_may_be_corrected(self, troubled: Any, tmp_path: Path) -> None:
        path, folder, _ = troubled
        before = modification_times(folder / "target" / "scratch")
        study = yaml_file.read(path)
        study["tasks"] = {"target": study["tasks"]["target"]}
        study["arms"]["typo"] = {"kind": "frozen", "layers": ["mlp_extractor.policy_net"]}
        path = write(tmp_path, **study)
        (folder / "target/typo/seed_0/of_the_other_settings.zip").touch()
        _, said = run(path, folder)
        assert said[0] == "2 of 3 runs are done already"
        assert not (folder / "target/typo/seed_0/of_the_other_settings.zip").exists()
        assert len(said) == 2
        assert "target/typo/seed_0: done in" in said[1]
        assert modification_times(folder / "target" / "scratch") == before


def test_a_failed_source_run_fails_its_targets_with_the_reason(tmp_path: Path) -> None:
    source = {"env": "CartPole-v1", "n_timesteps": 48, "hyperparams": BREAKS}
    path = write(tmp_path, source=source, seeds=1)
    _, said = run(path, tmp_path / "out")
    lines = {line.split("] ")[1].split(": ")[0]: line for line in said}
    assert "FAILED: " in lines["source/pretrain/seed_0"]
    assert "RuntimeError: the simulator broke" in lines["source/pretrain/seed_0"]
    waited = f"FAILED: its source run failed: {tmp_path}/out/source/pretrain/seed_0"
    assert waited in lines["target/frozen/seed_0"]
    assert "done in" in lines["target/scratch/seed_0"]
    # Again, with nothing left but the source run and the arm that waits for it: the last jobs fail, none is running.
    _, said = run(path, tmp_path / "out")
    assert [line.partition(" ")[0] for line in said] == ["1", "[2/3]", "[3/3]"]


def test_a_study_of_which_no_run_finishes_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, source={"env": "CartPole-v1", "n_timesteps": 16}, seeds=1, hyperparams={**TINY, **BREAKS})
    with pytest.raises(RunError):
        run(path, tmp_path / "out")
    states = study_status(tmp_path / "out")
    assert count_states(states)["done"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tasks": {"target": {"env": "CartPol-v1", "n_timesteps": 32}}}, "Unknown environment 'CartPol-v1'"),
        ({"tasks": {"target": {"env": "CartPole-v1", "kwargs": {"lenght": 1}}}}, "has no argument 'lenght'"),
    ],
)
def test_a_mistake_in_a_task_shows_before_anything_runs(
    changes: dict[str, Any], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, **changes)
    assert main(["study", "run", str(path), "-f", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_arm_that_comes_later_cannot_mix_in_what_sources_did_not_keep(tmp_path: Path) -> None:
    """And where they keep it, each target takes that of its own source."""
    small = {"learning_starts": 16, "buffer_size": 100, "batch_size": 8, "policy_kwargs": {"net_arch": [8]}}
    pendulum: dict[str, Any] = {"env": "runs:ShortPendulum-v0", "n_timesteps": 48}
    sac = {"algo": "sac", "seeds": 1, "source": pendulum, "tasks": {"target": pendulum}, "hyperparams": small}
    evaluation = {"eval_freq": -1, "episodes": 1, "n_envs": 1}
    run(write(tmp_path, arms={"scratch": "scratch"}, evaluation=evaluation, **sac), tmp_path / "out")
    arms = {"scratch": "scratch", "replay": "replay"}
    path = write(tmp_path, arms=arms, evaluation=evaluation, **sac)
    with pytest.raises(ConfigError, match="'save_replay_buffer' is False, the study says True"):
        run(path, tmp_path / "out")
    _, said = run(path, tmp_path / "other")
    assert any("target/replay/seed_0: done" in line for line in said), said
    assert (tmp_path / "other/source/pretrain/seed_0/replay_buffer.pkl").is_file()
    assert not list((tmp_path / "other/target").rglob("replay_buffer.pkl"))


def test_a_run_that_another_process_is_writing_is_left_to_it_and_waited_for(finished: Any, tmp_path: Path) -> None:
    path, study, _, _ = finished
    folder = tmp_path / "out"
    shutil.copytree(study, folder)
    taken = folder / "target" / "frozen" / "seed_0"
    done = read_record(taken)
    write_record(taken, done.model_copy(update={"status": "running"}))
    claim(taken)

    def finish() -> None:
        assert count_states(study_status(folder))["running"] == 1
        write_record(taken, done)
        release(taken)

    other = threading.Timer(1.0, finish)
    other.start()
    log = (taken / "run.log").read_text()
    _, said = run(path, folder)
    assert said[0] == "5 of 6 runs are done already"
    (line,) = said[1:]
    assert line.startswith("[6/6] target/frozen/seed_0: done by another process, last agent's mean return ")
    assert (taken / "run.log").read_text() == log


def one_run(folder: Path, wrapper: dict[str, Any]) -> Path:
    """Writes a study of one run that trains, in an environment with a wrapper, and one that does not need it."""
    tasks = {
        "odd": {"env": "CartPole-v1", "n_timesteps": 32, "hyperparams": {"env_wrapper": wrapper}},
        "plain": {"env": "CartPole-v1", "n_timesteps": 32},
    }
    return write(folder, seeds=1, tasks=tasks, arms={"scratch": "scratch"}, source={"path": str(agent_in(folder))})


def agent_in(folder: Path) -> Path:
    path = folder / "agent.zip"
    make_agent("ppo", seed=7).learn(32).save(path)
    return path


def test_a_run_whose_process_dies_is_tried_again(tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    path = one_run(tmp_path, {"studies.KillsItsProcessOnce": {"marker": str(marker)}})
    _, said = run(path, tmp_path / "out", retries=1)
    (again,) = [line for line in said if line.endswith("; it is tried again")]
    log = tmp_path / "out/odd/scratch/seed_0/run.log"
    ended = "CartPole-v1: its process ended with exit code -9 (after 0 env_steps or more, seed 0)"
    assert again == f"odd/scratch/seed_0: {ended}; see {log}; it is tried again"
    assert sum("done in" in line for line in said) == 2
    assert log.read_text().count("--- ") == 2


@pytest.mark.parametrize("code", [0, 4])
def test_whatever_its_exit_code_a_process_that_says_nothing_has_crashed(code: int, tmp_path: Path) -> None:
    path = one_run(tmp_path, {"studies.EndsItsProcess": {"code": code}})
    _, said = run(path, tmp_path / "out", retries=1)
    words = f"odd/scratch/seed_0: CartPole-v1: its process ended with exit code {code} (after "
    assert sum(line.startswith(words) for line in said) == 1
    assert said[-1].startswith("[2/2] ")
    assert "seed 0)" in (read_record(tmp_path / "out/odd/scratch/seed_0").error or "")


def test_a_damaged_run_is_made_again_and_stops_no_other(tmp_path: Path) -> None:
    path, folder = write(tmp_path, seeds=1), tmp_path / "out"
    run(path, folder)
    whole = read_record(folder / "target/frozen/seed_0").final
    (folder / "target/frozen/seed_0/rltransfer/record.json").write_text("{")
    assert {state.job.name: state.state for state in study_status(folder)}["target/frozen/seed_0"] == "failed"
    _, said = run(path, folder)
    assert [line for line in said if "FAILED" in line] == []
    assert read_record(folder / "target/frozen/seed_0").final == whole


def test_who_joins_from_another_folder_finds_an_agent_that_was_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent_in(tmp_path)
    tasks = {"target": {"env": "CartPole-v1", "n_timesteps": 32}}
    nets = {**TINY, "policy_kwargs": {"net_arch": [8, 8]}}
    path = write(tmp_path, seeds=1, source={"path": "agent.zip"}, tasks=tasks, hyperparams=nets)
    monkeypatch.chdir(tmp_path)
    folder = set_up_study(path, "out").absolute()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    result = work_on_study(folder, say=lambda _: None)
    assert [(state.state, state.detail) for state in result] == [("done", "")] * 2
    monkeypatch.chdir(tmp_path)
    _, said = run(path, "out")
    assert said == ["2 of 2 runs are done already"]


def test_a_run_that_hangs_ends_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Whoever does not listen is killed after a time of grace.
    monkeypatch.setattr("rltransfer.study.engines.processes.GRACE_SECONDS", 0.5)
    path = one_run(tmp_path, {"studies.Hangs": {}})
    study = yaml_file.read(path)
    run(write(tmp_path, **{**study, "tasks": {"plain": study["tasks"]["plain"]}}), tmp_path / "out")
    path.write_text(yaml_file.dump(study))
    _, said = run(path, tmp_path / "out", retries=3, time_limit_seconds=6.0)
    reason = "it took longer than its time limit of 6 s, and was stopped"
    assert said == ["1 of 2 runs are done already", f"[2/2] odd/scratch/seed_0: FAILED: {reason}"]
    record = read_record(tmp_path / "out/odd/scratch/seed_0")
    assert (record.status, record.error) == ("failed", reason)


def test_without_ray_its_engine_names_what_installs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r'pip install "rltransfer\[ray\]"'):
        run(write(tmp_path), tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
