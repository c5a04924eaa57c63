"""Ctrl-C and SIGTERM stop a run where it can go on; eight runs at once in one folder are eight runs."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from killing import rltransfer
from resuming import assert_alike
from runs import tree
from studies import descendants, is_alive, wait_until

from rltransfer import run_lock
from rltransfer.cli import main
from rltransfer.records import find_runs, read_heartbeat, read_record
from rltransfer.run_folder import read_settings
from rltransfer.run_lock import is_claimed

SMALL = "-params n_steps:64 batch_size:64 n_epochs:1 policy_kwargs:dict(net_arch=[8]) --eval-episodes 2 --verbose 0"
ENDLESS = "-params n_steps:10000000 batch_size:64 --eval-freq -1 --eval-episodes 2 --verbose 0"


def wait_for_steps(folder: Path, steps: int) -> None:
    """Waits until a run shows in its checkpoints, or in its heartbeat, that it has done so many steps."""
    for _ in range(6000):
        saved = [int(path.name) for path in (folder / "rltransfer" / "checkpoint").glob("[0-9]*")]
        beat = read_heartbeat(folder)
        if max([*saved, beat.env_steps if beat else 0]) >= steps:
            return
        time.sleep(0.05)
    raise AssertionError(f"{folder} does not come to {steps} steps")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return Path("logs/ppo/CartPole-v1_1")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("vec_env", ["dummy", "subproc"])
def test_a_signal_stops_where_the_run_can_go_on(number: int, status: int, vec_env: str, here: Path) -> None:
    # Each worker of an environment imports torch for itself.
    settings = f"--seed 3 --vec-env {vec_env} {SMALL.replace('-params', '-params n_envs:2')}"
    process = rltransfer(f"pretrain -n 1000000 {settings} --eval-freq -1 --checkpoint-freq 64")
    wait_for_steps(here, 128)
    assert is_claimed(here)
    os.kill(process.pid or 0, number)
    process.join()
    assert process.exitcode == status
    said = Path("said.txt").read_text()
    assert "stops when this rollout is saved; Ctrl-C stops at once" in said
    assert f"env_steps; go on with: rltransfer pretrain --resume {here}" in said
    record = read_record(here)
    assert (record.status, record.error) == ("stopped", None)
    assert not is_claimed(here)
    assert read_heartbeat(here) is None


def test_a_second_ctrl_c_stops_at_once(here: Path) -> None:
    process = rltransfer(f"pretrain -n 100000000 --seed 3 {ENDLESS}")
    wait_for_steps(here, 1000)
    for _ in range(2):
        os.kill(process.pid or 0, signal.SIGINT)
        # A signal that comes twice before the first is handled comes once.
        time.sleep(1.0)
    process.join()
    assert process.exitcode == 130
    assert "interrupted" in Path("said.txt").read_text()
    assert (read_record(here).status, read_record(here).error) == ("failed", "KeyboardInterrupt")


def test_resume_goes_on_and_says_when_there_is_nothing_to_do(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    process = rltransfer(f"pretrain -n 4000 --seed 3 --eval-freq 1000 --checkpoint-freq 64 {SMALL}")
    wait_for_steps(here, 64)
    os.kill(process.pid or 0, signal.SIGTERM)
    process.join()
    assert process.exitcode == 143
    assert main(["pretrain", "--resume", str(here)]) == 0
    record = read_record(here)
    assert (record.status, len(record.resumed)) == ("done", 1)
    capsys.readouterr()
    assert main(["pretrain", "--resume", f"{here}/"]) == 0
    assert capsys.readouterr().out.startswith(f"{here} is finished: {record.env_steps:,} env_steps, last agent's mean")
    assert main(f"pretrain -n 4000 --seed 3 --eval-freq 1000 {SMALL}".split()) == 0
    assert_alike(read_settings(here), here, here.with_name("CartPole-v1_2"))


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_again(here: Path) -> None:
    process = rltransfer(f"pretrain -n 20000 --seed 3 --eval-freq -1 {SMALL}")
    wait_for_steps(here, 0)
    for _ in range(6000):
        if (here / "rltransfer" / "record.json").exists():
            break
        time.sleep(0.02)
    process.kill()
    process.join()
    assert read_record(here).status == "running"
    assert not is_claimed(here)
    assert main(["pretrain", "--resume", str(here)]) == 0
    record = read_record(here)
    assert (record.status, record.resumed) == ("done", ())


def test_a_run_that_was_killed_before_there_was_a_record_starts_again(here: Path) -> None:
    assert main(f"pretrain -n 256 --seed 3 --eval-freq -1 {SMALL}".split()) == 0
    before = read_record(here)
    (here / "rltransfer" / "record.json").unlink()
    assert main(["pretrain", "--resume", str(here)]) == 0
    assert read_record(here).final == before.final


def test_what_a_run_left_that_was_killed_at_its_end_is_tidied_up(here: Path) -> None:
    assert main(f"pretrain -n 256 --seed 3 --eval-freq -1 {SMALL}".split()) == 0
    before = tree(here)
    (here / "rltransfer" / "checkpoint" / "000000000064").mkdir(parents=True)
    (here / "rltransfer" / "claim.json").write_text(json.dumps(run_lock._own_facts() | {"pid": 2**30}))
    assert main(["pretrain", "--resume", str(here)]) == 0
    assert tree(here) == before


def test_a_transfer_goes_on_from_another_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(f"pretrain -n 256 --seed 3 --eval-freq -1 {SMALL}".split()) == 0
    transfer = f"transfer --from {here} --strategy frozen -n 256 --seed 4 --eval-freq -1 {SMALL}"
    assert main(transfer.split()) == 0
    target = here.with_name("CartPole-v1_2").absolute()
    before = read_record(target).final
    (target / "rltransfer" / "record.json").unlink()
    monkeypatch.chdir("/")
    assert main(["transfer", "--resume", str(target)]) == 0
    assert read_record(target).final == before


def test_runs_of_one_name_do_not_share_a_tensorboard_folder(here: Path) -> None:
    line = f"pretrain -n 128 --seed 3 --eval-freq -1 --tensorboard-log tb {SMALL}"
    assert main(line.split()) == 0
    assert main(f"{line.replace('batch_size:64 n_epochs:1 ', '')} --algo a2c".split()) == 0
    assert main(f"{line} -f other".split()) == 0
    events = sorted(str(path.parent) for path in Path("tb").rglob("events*"))
    assert len(set(events)) == len(events) == 3


def test_a_try_that_trained_nothing_leaves_no_trace_there(here: Path, tmp_path: Path) -> None:
    line = f"transfer --from nowhere.zip --strategy full -n 128 --eval-freq -1 --tensorboard-log tb {SMALL}"
    assert main(line.split()) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
def test_workers_of_environments_do_not_outlive_a_run_that_is_killed(here: Path) -> None:
    settings = SMALL.replace("n_steps:64", "n_envs:2 n_steps:64")
    process = rltransfer(f"pretrain -n 100000000 --seed 3 --vec-env subproc --eval-freq -1 {settings}")
    wait_for_steps(here, 1)
    workers = descendants(process.pid or 0)
    assert len(workers) >= 2
    process.kill()
    process.join()
    wait_until(lambda: not any(map(is_alive, workers)))


@pytest.mark.long
def test_eight_runs_at_once_in_one_folder_are_eight_runs(here: Path) -> None:
    lines = [f"pretrain -n 128 --seed {seed} --eval-freq 64 {SMALL}" for seed in range(8)]
    processes = [rltransfer(line) for line in lines]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    results = {run.record.seed: run.folder for run in find_runs(Path("logs"))}
    assert sorted(results) == list(range(8))
    assert {folder.name for folder in results.values()} == {f"CartPole-v1_{number}" for number in range(1, 9)}
    for seed in (0, 5):
        alone = f"pretrain -n 128 --seed {seed} --eval-freq 64 {SMALL} -f alone_{seed}"
        assert main(alone.split()) == 0
        config = read_settings(results[seed])
        assert_alike(config, results[seed], Path(f"alone_{seed}/ppo/CartPole-v1_1"))
