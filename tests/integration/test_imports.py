"""What only reads and analyses does so without torch: the contract forbids the imports, a fresh process shows it."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from synthetic import FROZEN, make_run, source

from rltransfer.config import read_study
from rltransfer.study import write_study

TRAINING = ("torch", "stable_baselines3")
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
DESCRIPTION = (
    "rltransfer",
    "rltransfer.cli",
    "rltransfer.config",
    "rltransfer.mapping",
    "rltransfer.run_folder",
    "rltransfer.spaces",
    "rltransfer.space_text",
    "rltransfer.strategies",
    "rltransfer.study",
    "rltransfer.yaml_file",
)
HELP = ("--help", "pretrain --help", "evaluate --help", "study run --help", "study report --help")
# Runs each step in the one process, and prints which packages were there after it.
PROBE = """
import contextlib, importlib, json, os, sys
steps, packages = json.loads(sys.argv[1])
loaded = {}
for step, words in steps.items():
    if isinstance(words, str):
        importlib.import_module(words)
    else:
        from rltransfer.cli import main
        with contextlib.redirect_stdout(open(os.devnull, "w")):
            try:
                code = main(words)
            except SystemExit as end:
                code = end.code
        assert code in (0, None), step
    loaded[step] = [package for package in packages if package in sys.modules]
print(json.dumps(loaded))
"""


def loaded_after(steps: Mapping[str, str | list[str]], packages: tuple[str, ...] = TRAINING) -> dict[str, list[str]]:
    """Returns which packages a fresh interpreter has loaded after each of the steps: a module's name, or a command."""
    request = json.dumps([steps, packages])
    result = subprocess.run([sys.executable, "-c", PROBE, request], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    loaded: dict[str, list[str]] = json.loads(result.stdout)
    return loaded


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two arms of two seeds of a study, as a folder that can be compared."""
    for seed in (0, 1):
        make_run(tmp_path, arm="scratch", seed=seed)
        make_run(tmp_path, arm="frozen", seed=seed, strategy=FROZEN, source=source(seed))
    write_study(read_study(Path(__file__).parents[2] / "configs" / "cartpole_swapped.yaml"), tmp_path)
    return tmp_path


def test_analysis_needs_no_torch_and_no_environments() -> None:
    loaded = loaded_after({module: module for module in ANALYSIS}, (*TRAINING, "gymnasium", "pandas"))
    assert loaded == {module: [] for module in ANALYSIS}


def test_description_help_and_reports_need_no_torch(runs: Path) -> None:
    steps: dict[str, str | list[str]] = {module: module for module in DESCRIPTION}
    steps |= {words: words.split() for words in HELP}
    steps |= {"evaluate": ["evaluate", str(runs)], "study report": ["study", "report", str(runs)]}
    assert loaded_after(steps) == {step: [] for step in steps}
    assert (runs / "report" / "report.md").exists()


def test_an_import_of_torch_would_be_seen() -> None:
    assert loaded_after({"anatomy": "rltransfer.anatomy"})["anatomy"] == list(TRAINING)
