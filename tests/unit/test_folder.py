"""Numbers of run folders, and the settings in them."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from runs import run_config, tree

from rltransfer import yaml_file
from rltransfer.config import RunConfig
from rltransfer.run_folder import claim_numbered, write_settings

CLAIM = "rltransfer/claim.json"


def test_run_folders_are_numbered_by_algorithm_and_environment(tmp_path: Path) -> None:
    places = [("ppo", "A-v1"), ("ppo", "A-v1"), ("ppo", "B-v1"), ("sac", "A-v1")]
    names = [str(claim_numbered(tmp_path, *place).relative_to(tmp_path)) for place in places]
    assert names == ["ppo/A-v1_1", "ppo/A-v1_2", "ppo/B-v1_1", "sac/A-v1_1"]


def test_numbers_go_on_after_the_highest_and_strangers_are_ignored(tmp_path: Path) -> None:
    for name in ("A-v1_7", "A-v1_x", "A-v10_99", "A-v1-extra_50", "A-v1_3"):
        (tmp_path / "ppo" / name).mkdir(parents=True)
    assert claim_numbered(tmp_path, "ppo", "A-v1").name == "A-v1_8"


def test_a_name_that_another_process_took_in_the_meantime_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = claim_numbered(tmp_path, "ppo", "A-v1")
    facts = (first / CLAIM).read_text()
    # What a process sees that looked before the other one had made its folder.
    monkeypatch.setattr(Path, "iterdir", lambda _: iter(()))
    assert claim_numbered(tmp_path, "ppo", "A-v1").name == "A-v1_2"
    assert (first / CLAIM).read_text() == facts


def test_a_unique_name_keeps_the_number_in_front(tmp_path: Path) -> None:
    names = [claim_numbered(tmp_path, "ppo", "A-v1", unique=True).name for _ in range(2)]
    assert [name[:7] for name in names] == ["A-v1_1_", "A-v1_2_"]
    assert all(len(name) == len("A-v1_1_") + 36 for name in names)


def test_concurrent_threads_never_get_the_same_folder(tmp_path: Path) -> None:
    start, result = threading.Barrier(16), []

    def take() -> None:
        start.wait()
        result.extend(claim_numbered(tmp_path, "ppo", "A-v1") for _ in range(4))

    threads = [threading.Thread(target=take) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(result) == len(set(result)) == 64
    assert {path.name for path in result} == {f"A-v1_{number}" for number in range(1, 65)}


def test_concurrent_processes_never_get_the_same_folder(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rltransfer.run_folder import claim_numbered\n"
        "sys.stdin.read()\n"
        "for _ in range(5): print(claim_numbered(Path(sys.argv[1]), 'ppo', 'A-v1').name)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    # All are started before any is let go.
    for process in processes:
        assert process.stdin is not None
        process.stdin.close()
    names = []
    for process in processes:
        assert process.stdout is not None
        with process.stdout:
            names += process.stdout.read().split()
        process.wait()
    assert len(names) == len(set(names)) == 15


def test_the_settings_are_written_for_us_and_for_rl_zoo(tmp_path: Path) -> None:
    config = run_config(kwargs={"render_mode": None}, n_timesteps=1000, eval_freq=None, command="rltransfer pretrain")
    write_settings(tmp_path, config)
    assert {name for name in tree(tmp_path) if "." in name.rpartition("/")[2]} == {
        "rltransfer/config.json",
        "CartPole-v1/args.yml",
        "CartPole-v1/config.yml",
        "CartPole-v1/command.txt",
    }
    assert RunConfig.model_validate_json((tmp_path / "rltransfer" / "config.json").read_text()) == config
    arguments = yaml_file.read(tmp_path / "CartPole-v1" / "args.yml")
    assert arguments["env"] == "CartPole-v1"
    assert arguments["eval_freq"] == 50
    assert yaml_file.read(tmp_path / "CartPole-v1" / "config.yml") == config.hyperparams.flat()
    assert (tmp_path / "CartPole-v1" / "command.txt").read_text() == "rltransfer pretrain\n"
