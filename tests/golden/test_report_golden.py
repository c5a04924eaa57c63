"""The words of a whole report. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/golden`, and read the diff."""

import os
from pathlib import Path

import pytest
from synthetic import FROZEN, make_run, make_study, source

from rltransfer.comparison import compare
from rltransfer.records import Check
from rltransfer.report import write_report

GOLDEN = Path(__file__).parent


def a_study(root):
    """Every verdict and both origins, with a source run and a failed run."""
    make_study(root)
    make_run(root, arm="source", seed=0, role="source", folder="sources/0")
    make_run(root, arm="frozen", strategy=FROZEN, seed=5, status="failed", error="NaN reward at step 1,200")


def a_beginning(root):
    """What a first try leaves behind: one seed, no threshold, a failed self-check."""
    make_run(root, arm="scratch", seed=0)
    broken = Check(name="frozen tensors are bit-identical", passed=False, detail="policy_net.0.weight moved by 0.01")
    make_run(root, arm="frozen", strategy=FROZEN, seed=0, source=source(0), returns=[10, 40, 80, 90])
    make_run(root, arm="held", strategy=({"kind": "frozen", "layers": 1},), seed=0, source=source(0), checks=(broken,))


@pytest.mark.parametrize("make", [a_study, a_beginning])
def test_the_report_reads_as_agreed(make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    root = Path("logs")
    make(root)
    text = write_report(compare(root), root).read_text()
    golden = GOLDEN / f"report_{make.__name__}.md"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.write_text(text)
    assert text == golden.read_text()
