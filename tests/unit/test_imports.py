"""What only reads and analyses does so without torch, each checked in a fresh process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic import FROZEN, make_run, source

from rltransfer.config import read_study
from rltransfer.study.status import write_study

HEAVY = ("torch", "stable_baselines3")
ANALYSIS = (
    "rltransfer.comparison",
    "rltransfer.metrics",
    "rltransfer.records",
    "rltransfer.report",
    "rltransfer.report.figures",
    "rltransfer.report.exports",
    "rltransfer.report.html",
    "rltransfer.report.tensorboard",
    "rltransfer.report.terminal",
    "rltransfer.rl_zoo",
    "rltransfer.stats",
)
LIGHT = ("rltransfer", "rltransfer.cli", "rltransfer.config", "rltransfer.strategies", "rltransfer.study")


def heavy_modules_after(code: str, *arguments: str | Path) -> list[str]:
    """Returns which heavy packages a fresh interpreter has loaded after running ``code``."""
    report = f"import json, sys\nprint(json.dumps([name for name in {HEAVY} if name in sys.modules]))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *arguments], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    loaded: list[str] = json.loads(result.stdout.splitlines()[-1])
    return loaded


def heavy_modules_after_command(*words: str | Path) -> list[str]:
    code = "import sys\nfrom rltransfer.cli import main\ntry:\n    assert main(sys.argv[1:]) == 0\n"
    return heavy_modules_after(f"{code}except SystemExit as end:\n    assert end.code in (0, None)", *words)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two arms of two seeds, as a folder that can be compared."""
    for seed in (0, 1):
        make_run(tmp_path, arm="scratch", seed=seed)
        make_run(tmp_path, arm="frozen", seed=seed, strategy=FROZEN, source=source(seed))
    return tmp_path


@pytest.mark.parametrize("module", ANALYSIS + LIGHT)
def test_module_needs_no_torch(module: str) -> None:
    assert heavy_modules_after(f"import {module}") == []


def test_a_heavy_import_would_be_seen() -> None:
    assert "torch" in heavy_modules_after("from rltransfer import load_encoder")


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["pretrain", "--help"],
        ["evaluate", "--help"],
        ["study", "run", "--help"],
        ["study", "report", "--help"],
    ],
    ids=" ".join,
)
def test_help_needs_no_torch(words: list[str]) -> None:
    assert heavy_modules_after_command(*words) == []


def test_evaluate_needs_no_torch(runs: Path) -> None:
    assert heavy_modules_after_command("evaluate", runs) == []
    assert (runs / "report" / "report.md").exists()


def test_study_report_needs_no_torch(runs: Path) -> None:
    write_study(read_study(Path(__file__).parents[2] / "configs" / "cartpole_swapped.yaml"), runs)
    assert heavy_modules_after_command("study", "report", runs) == []
    assert (runs / "report" / "report.md").exists()
