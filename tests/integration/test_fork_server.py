"""Calls in processes that are forked from the warm parent."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rltransfer.errors import ConfigError, RunError
from rltransfer.study.fork_server import call_warm


def loaded_modules() -> set[str]:
    return set(sys.modules)


def mistaken(word: str) -> None:
    raise ConfigError(f"no {word}")


def dying() -> None:
    os._exit(3)


def broken() -> None:
    raise ValueError("a bug")


def test_a_worker_starts_with_everything_loaded() -> None:
    """Otherwise each job would cost seconds: scripts/bench_start.py measures how many.

    In a process of its own: in this one, another test may have started the parent of all forks, with other modules.
    """
    code = "from test_fork_server import *; print(*call_warm(loaded_modules))"
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    completed = subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=True)
    assert set(completed.stdout.split()) >= {"torch", "torch._dynamo", "stable_baselines3", "rltransfer.training"}


def test_our_errors_come_back_as_they_are() -> None:
    with pytest.raises(ConfigError, match="^no such word$"):
        call_warm(mistaken, "such word")


def test_a_process_that_ends_without_an_answer_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RunError, match="call dying died: exit code 3"):
        call_warm(dying)
    with pytest.raises(RunError, match="call broken died: exit code 1"):
        call_warm(broken)
