"""``python -m rltransfer`` is the command, and ``python -m rltransfer.cli`` still is."""

import subprocess
import sys

import pytest

from rltransfer.cli import main


def run(*words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", ["rltransfer", "rltransfer.cli"])
def test_the_module_is_the_command(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert run(module, "--help").stdout == capsys.readouterr().out


def test_its_exit_status_is_the_commands() -> None:
    failed = run("rltransfer", "inspect", "nowhere")
    assert failed.returncode == 2
    assert failed.stderr.startswith("error: ")
