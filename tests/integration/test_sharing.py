"""Work that is shared: by supervisors on one folder, by machines that join, by studies with one cache."""

import json
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from studies import NAMES, TINY, attempts, outcome, wait_until, write
from undrawn import no_figures  # noqa: F401

from rltransfer.artifact import load_encoder
from rltransfer.cli import main
from rltransfer.errors import ConfigError
from rltransfer.study import count_states, run_study, study_status, work_on_study
from rltransfer.study.status import STUDY_FILE

CARTPOLE = "rltransfer_envs:rltransfer/CartPole-v0"
SHARED: dict[str, Any] = {
    "source": {"env": CARTPOLE, "n_timesteps": 64},
    "evaluation": {"eval_freq": 16, "episodes": 2},
    "tasks": {"target": {"env": CARTPOLE, "kwargs": {"swap_actions": True}, "n_timesteps": 48}},
}


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Does all of these at the same time and returns what they return."""
    results: list[Any] = [None] * len(actions)

    def act(index: int) -> None:
        try:
            results[index] = actions[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=act, args=(index,)) for index in range(len(actions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def run(path: Path, folder: Path, jobs: int = 2, **options: Any) -> list[str]:
    """Runs a study and returns what was said."""
    said: list[str] = []
    run_study(path, folder, jobs=jobs, say=said.append, **options)
    return said


def counts(folder: Path) -> dict[str, int]:
    return {name: count for name, count in count_states(study_status(folder)).items() if count}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a study computes that shares nothing."""
    root = tmp_path_factory.mktemp("alone")
    run(write(root, **SHARED), root / "out")
    return outcome(root / "out")


class TestOneFolder:
    def test_two_supervisors_do_every_run_once(self, alone: dict[str, str], tmp_path: Path) -> None:
        path, folder = write(tmp_path, **SHARED), tmp_path / "out"
        first, second = at_once(lambda: run(path, folder), lambda: run(path, folder))
        assert attempts(folder) == dict.fromkeys(NAMES, 1)
        assert outcome(folder) == alone
        for said in (first, second):
            assert said[-1].startswith("[6/6] ")
            assert not any("FAILED" in line for line in said)

    def test_two_studies_that_differ_are_not_mixed(self, alone: dict[str, str], tmp_path: Path) -> None:
        """Each run is of one of the two; the other one is told what is different, and leaves it alone."""
        folder = tmp_path / "out"
        usual = write(tmp_path, **SHARED)
        other = write(tmp_path, "other", **SHARED, hyperparams={**TINY, "gamma": 0.9})
        result = at_once(lambda: run(usual, folder), lambda: run(other, folder))
        refusals = [str(item) for item in result if isinstance(item, Exception)]
        refusals += [line for item in result if isinstance(item, list) for line in item if "FAILED" in line]
        assert refusals
        for words in refusals:
            assert "holds a run with other settings: 'hyperparams'" in words or "its source run failed" in words
        configs = {path: json.loads(path.read_text()) for path in folder.glob("*/*/*/rltransfer/config.json")}
        assert configs
        for path, config in configs.items():
            name = str(path.parents[1].relative_to(folder))
            is_usual = config["hyperparams"]["agent"]["gamma"] != 0.9
            assert attempts(folder)[name] == 1
            assert (results_of(name, outcome(folder)) == results_of(name, alone)) == is_usual


def results_of(name: str, result: dict[str, str]) -> dict[str, str]:
    """Returns what one run of a study has computed."""
    return {file: content for file, content in result.items() if file.startswith(name)}


class TestWork:
    def test_who_joins_does_a_part_waits_for_source_runs_and_ends(self, alone: dict[str, str], tmp_path: Path) -> None:
        path, folder = write(tmp_path, **SHARED), tmp_path / "out"
        said: list[str] = []

        def join() -> Any:
            wait_until((folder / STUDY_FILE).exists)
            return work_on_study(folder, jobs=1, say=said.append)

        _, states = at_once(lambda: run(path, folder, jobs=1), join)
        assert {state.state for state in states} == {"done"}
        assert any("done in" in line for line in said)
        assert attempts(folder) == dict.fromkeys(NAMES, 1)
        assert outcome(folder) == alone

    @pytest.mark.long
    def test_the_slurm_script_is_such_a_worker(
        self, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = write(tmp_path, **SHARED)
        monkeypatch.chdir(tmp_path)
        assert main(["study", "slurm", str(path), "-f", "out", "--jobs", "2"]) == 0
        assert "submit: sbatch out/slurm.sh\n" in capsys.readouterr().out
        done = subprocess.run(["bash", "out/slurm.sh"], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines()[-1].startswith("6 done, 0 running")
        assert outcome(tmp_path / "out") == alone


class TestCache:
    @pytest.mark.long
    def test_two_studies_at_once_train_an_equal_source_run_once(self, alone: dict[str, str], tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        paths = [write(tmp_path, "first", **SHARED), write(tmp_path, "second", **SHARED)]
        folders = [tmp_path / "a", tmp_path / "b"]
        at_once(*(lambda item=item: run(paths[item], folders[item], cache=cache) for item in (0, 1)))
        entries = list(cache.iterdir())
        assert len(entries) == 2
        for entry in entries:
            assert (entry / "run.log").read_text().count("--- ") == 1
        for folder in folders:
            assert outcome(folder) == alone
            assert counts(folder) == {"done": 6}
        shutil.rmtree(cache)
        moved = folders[0].rename(tmp_path / "moved")
        assert run(paths[0], moved, cache=cache) == ["6 of 6 runs are done already"]
        assert not cache.exists()
        encoder = load_encoder(moved / "source" / "pretrain" / "seed_0")
        assert str(encoder.source.path).startswith(str(moved))

    def test_a_later_study_copies_and_one_that_differs_does_not(self, alone: dict[str, str], tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        few = {**SHARED, "arms": {"scratch": "scratch"}, "seeds": 1}
        run(write(tmp_path, **few), tmp_path / "a", cache=cache)
        run(write(tmp_path, **few, cache=str(cache)), tmp_path / "b")
        (entry,) = cache.iterdir()
        assert (entry / "run.log").read_text().count("--- ") == 1
        longer = {**few, "source": {"env": CARTPOLE, "n_timesteps": 65}}
        run(write(tmp_path, **longer), tmp_path / "c", cache=cache)
        assert len(list(cache.iterdir())) == 2
        for folder in (tmp_path / "a", tmp_path / "b"):
            result = outcome(folder)
            assert result == {name: value for name, value in alone.items() if name in result}

    def test_a_damaged_source_run_is_made_again(self, alone: dict[str, str], tmp_path: Path) -> None:
        cache = tmp_path / "cache"
        few = {**SHARED, "arms": {"scratch": "scratch"}, "seeds": 1}
        run(write(tmp_path, **few), tmp_path / "a", cache=cache)
        (agent,) = cache.glob("*/best_model.zip")
        agent.write_bytes(agent.read_bytes()[:1000])
        run(write(tmp_path, **few), tmp_path / "b", cache=cache)
        result = outcome(tmp_path / "b")
        assert len(result) == 6  # Of the source and of scratch: curve, best agent, last agent.
        assert result == {name: value for name, value in alone.items() if name in result}

    def test_a_source_run_that_fails_in_the_cache_fails_with_its_reason(self, tmp_path: Path) -> None:
        # PPO normalises advantages, which one step alone has none of.
        wrong = {**SHARED, "seeds": 1, "source": {"env": CARTPOLE, "n_timesteps": 64, "hyperparams": {"n_steps": 1}}}
        said = run(write(tmp_path, **wrong), tmp_path / "out", cache=tmp_path / "cache")
        (reason,) = [line for line in said if "source/pretrain/seed_0: FAILED" in line]
        assert "ppo cannot be built for" in reason
        assert counts(tmp_path / "out") == {"done": 1, "failed": 2}
        state = study_status(tmp_path / "out")[0]
        assert "ppo cannot be built for" in state.detail

    def test_a_source_without_a_version_is_refused_at_once(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"tiny.yaml: cache: source runs in studies:GatedCartPole-v0 cannot be"):
            run(write(tmp_path), tmp_path / "out", cache=tmp_path / "cache")
        assert not (tmp_path / "out").exists()
