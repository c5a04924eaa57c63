"""A full disk ends a run by naming the file; what was there is whole, and after making room the run goes on."""

import contextlib
import errno
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from resuming import assert_alike, tensors_in
from runs import run_config
from studies import outcome, wait_until, write

from rltransfer.config import RunConfig
from rltransfer.errors import FileWriteError
from rltransfer.records import LOG, read_record
from rltransfer.study import Job, run_study
from rltransfer.study.engines.processes import Processes
from rltransfer.study.schedule import Ending
from rltransfer.study.work import USER_ERROR, do_job
from rltransfer.training import train_run
from rltransfer.training.resume import rewind

IN_SMALL_DISK = r"""
import os, sys, warnings
from pathlib import Path
sys.path.insert(0, sys.argv[1])
warnings.simplefilter("ignore")
from test_full_disk import fill_and_go_on
fill_and_go_on(Path(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind, "_LONGEST_WAIT_SECONDS", 0.0)


def config_of() -> RunConfig:
    return run_config("ppo", n_timesteps=160, checkpoint_freq=32, eval_freq=32, save_freq=64)


def assert_files_whole(folder: Path) -> None:
    for path in folder.glob("*.zip"):
        assert tensors_in(path)["parameters"]
    assert not list(folder.rglob("*.tmp"))


def fill_and_go_on(disk: Path) -> None:
    """Runs on a disk that is nearly full, makes room, and goes on: in a process that has mounted such a disk."""
    config = config_of()
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    # Room for what a run writes at first.
    os.truncate(filler, filler.stat().st_size - 120_000)
    try:
        train_run(config, disk / "run")
    except FileWriteError as error:
        print(f"refused: {error}")
    assert_files_whole(disk / "run")
    filler.unlink()
    train_run(config, disk / "run")
    print("done")


def can_mount() -> bool:
    command = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, check=False, capture_output=True).returncode


@pytest.mark.long
@pytest.mark.skipif(not can_mount(), reason="a small disk cannot be mounted here")
def test_a_small_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    here = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    python = [sys.executable, "-c", IN_SMALL_DISK, here[0], str(disk)]
    mounted = 'mount -t tmpfs -o size=2m none "$0" && cp_to="$1" && shift && "$@" && cp -r "$0/run" "$cp_to"'
    command = ["unshare", "-rm", "sh", "-c", mounted, str(disk), str(tmp_path / "copied"), *python]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(here)}
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert completed.returncode == 0, completed.stderr
    refused, done = [line for line in completed.stdout.splitlines() if line.startswith(("refused", "done"))]
    assert "cannot be written: No space left on device. Make room and run it again" in refused
    assert f"refused: {disk}/run/" in refused
    assert done == "done"
    train_run(config_of(), tmp_path / "whole")
    assert_alike(config_of(), tmp_path / "whole", tmp_path / "copied")


STUDY_ON_SMALL_DISK = """
mount -t tmpfs -o size=64k none "$0" || exit 1
"$@" 2>&1
echo "exit code $?"
mount -o remount,size=100m "$0" || exit 1
"$@" 2>&1
echo "exit code $?"
cp -r "$0/out" "$0.copied"
"""


@pytest.mark.long
@pytest.mark.skipif(not can_mount(), reason="a small disk cannot be mounted here")
def test_a_study_on_a_small_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    path = write(tmp_path, seeds=1, arms={"scratch": "scratch"})
    study = [sys.executable, "-m", "rltransfer", "study", "run", str(path), "-f", str(disk / "out"), "--jobs", "1"]
    command = ["unshare", "-rm", "sh", "-c", STUDY_ON_SMALL_DISK, str(disk), *study]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    completed = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    full, _, room = completed.stdout.partition("exit code 2\n")
    # Not even a record can be written, nor a log: the reason is said all the same.
    for name in ("source/pretrain/seed_0", "target/scratch/seed_0"):
        (line,) = [line for line in full.splitlines() if f"{name}: " in line]
        assert f"FAILED: {disk}/out/" in line or f"FAILED: a file in {disk}/out/" in line
        assert " cannot be written: No space left on device. Make room and run it again" in line
    assert "Traceback" not in completed.stdout + completed.stderr
    assert "[2/2] target/scratch/seed_0: done" in room
    assert room.endswith("exit code 0\n")
    run_study(path, tmp_path / "alone", jobs=1, say=lambda _: None)
    assert outcome(tmp_path / "disk.copied") == outcome(tmp_path / "alone")


def test_a_worker_says_what_it_cannot_write_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: no_room())
    assert do_job(Job(tmp_path, config_of()), lambda: False, said.append) == USER_ERROR
    assert said[0].startswith(f"{tmp_path}/rltransfer/claim.json cannot be written: No space left")


def test_its_supervisor_hears_it(tmp_path: Path) -> None:
    (tmp_path / LOG).symlink_to("/dev/full")
    processes, job = Processes(1), Job(tmp_path, config_of())
    processes.start(job)
    ended = wait_until(lambda: processes.wait(1.0))
    reason = f"a file in {tmp_path} cannot be written: No space left on device. Make room and run it again: what was "
    assert ended == [(job, Ending("failed", f"{reason}written before is whole."))]


def no_room() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("seed", range(6))
def test_wherever_it_is_full(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets one of the calls that bring a file to the disk fail, and all after it, as on a disk that is full."""
    config = config_of()
    calls = 0
    limit = random.Random(seed).randrange(10, 55)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls > limit:
            no_room()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(FileWriteError, match=r"cannot be written: No space left on device\. Make room"):
        train_run(config, tmp_path / "run")
    monkeypatch.setattr(os, "fsync", sync)
    assert_files_whole(tmp_path / "run")
    # The record could not be written either: it says what it said before.
    assert read_record(tmp_path / "run").status == "running"
    assert train_run(config, tmp_path / "run").status == "done"
    train_run(config, tmp_path / "whole")
    assert_alike(config, tmp_path / "whole", tmp_path / "run")


def test_a_full_disk_is_noticed_by_others_writers_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SB3's monitor writes by itself, into a file that only grows."""

    monkeypatch.setattr("stable_baselines3.common.monitor.ResultsWriter.write_row", lambda *_: no_room())
    with pytest.raises(FileWriteError, match=r"0\.monitor\.csv cannot be written: No space left on device"):
        train_run(config_of(), tmp_path)
    assert "0.monitor.csv cannot be written" in (read_record(tmp_path).error or "")


def test_tensorboards_file_is_named_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.flush", lambda _: no_room())
    place = rf"{tmp_path}/tb/scratch-seed0/events\.out\.tfevents\.\d+\.\S+ cannot be written: No space left on device"
    with pytest.raises(FileWriteError, match=place):
        train_run(config_of(), tmp_path)


def test_what_is_printed_can_meet_a_full_disk_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr("sys.stdout", full)
        with pytest.raises(FileWriteError, match="^standard output cannot be written: No space left on device"):
            train_run(config_of().model_copy(update={"verbose": 1}), tmp_path)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())
