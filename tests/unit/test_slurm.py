"""The script of a Slurm array."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from rltransfer.errors import ConfigError
from rltransfer.study.slurm import array_script


def test_it_asks_for_what_its_workers_need_and_becomes_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a study"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    text = array_script(Path("a study"), name="cartpole", workers=3, jobs=2, time="01:30:00")
    lines = text.splitlines()
    assert lines[0] == "#!/bin/bash"
    options = dict(line.removeprefix("#SBATCH --").split("=", 1) for line in lines if "=" in line and "#SBATCH" in line)
    assert options["job-name"] == "cartpole"
    assert options["array"] == "1-3"
    assert options["cpus-per-task"] == "2"
    assert options["time"] == "01:30:00"
    # B: the signal goes to the script's process alone, which by then is the worker.
    assert options["signal"] == "B:TERM@120"
    assert options["output"] == f"'{folder}/slurm-%A_%a.log'"
    command = shlex.split(lines[-1])
    assert command == [
        *("exec", sys.executable, "-m", "rltransfer", "study", "work"),
        *(str(folder), "--jobs", "2"),
    ]
    assert f"cd {tmp_path}" in lines
    assert text.endswith("\n")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize(("flag", "numbers"), [("--workers", (0, 1)), ("--jobs", (1, 0))])
def test_a_number_that_makes_no_sense_is_refused(flag: str, numbers: tuple[int, int], tmp_path: Path) -> None:
    workers, jobs = numbers
    with pytest.raises(ConfigError, match=f"{flag}: expected at least 1, found 0"):
        array_script(tmp_path, name="x", workers=workers, jobs=jobs, time="1:00:00")
