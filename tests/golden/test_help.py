"""The help of the command and of each verb. After a wanted change: `UPDATE_GOLDEN=1 pytest tests/golden`."""

import os
import sys
from pathlib import Path

import pytest
from name_lists import shorten_lists

from rltransfer.cli import main

GOLDEN = Path(__file__).parent / "help.txt"
VERBS = (
    "",
    "pretrain",
    "extract",
    "inspect",
    "plan",
    "transfer",
    "evaluate",
    "study",
    "study run",
    "study confirm",
    "study tune",
    "study status",
    "study report",
    "study work",
    "study slurm",
)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse lays help out otherwise in other versions")
def test_the_help_reads_as_agreed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    texts = []
    for verb in VERBS:
        with pytest.raises(SystemExit) as caught:
            main([*verb.split(), "--help"])
        assert caught.value.code == 0
        texts.append(f"$ rltransfer {verb} --help\n".replace("  ", " ") + capsys.readouterr().out)
    text = shorten_lists("\n".join(texts))
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
