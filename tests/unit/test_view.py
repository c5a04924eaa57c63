"""How a study tells how far it is."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from studies import settings

from rltransfer.config import RunConfig, StudyConfig
from rltransfer.study import RunState, expand_study, view
from rltransfer.study.status import State, progress_of
from rltransfer.study.view import Lines, open_view, table_of

JOBS = {
    job.name: job for job in expand_study(StudyConfig.model_validate(settings()), Path("study"))
}  # 64 steps a source, 48 a target


class Terminal(io.StringIO):
    """What says that it is one."""

    def isatty(self) -> bool:
        return True


def states(**rows: tuple[State, int, float]) -> list[RunState]:
    """Returns six states: by the seed and arm of a run its state, env_steps and speed; others are missing."""
    results = []
    for job in JOBS.values():
        state, steps, speed = rows.get(f"{job.config.arm}_{job.config.seed}", ("missing", 0, 0.0))
        results.append(RunState(job, state, env_steps=steps, steps_per_second=speed))
    return results


def test_progress_counts_runs_and_what_is_left_at_the_speed_of_all_that_run() -> None:
    progress = progress_of(
        states(pretrain_0=("done", 64, 0.0), pretrain_1=("running", 24, 3.0), scratch_0=("running", 8, 1.0))
        # Left: 40 of the source, 40 of scratch, and three of 48.
    )
    assert progress.counts == {"done": 1, "running": 2, "stopped": 0, "failed": 0, "missing": 3}
    assert progress.steps_per_second == 4.0
    assert progress.seconds_left == (40 + 40 + 3 * 48) / 4
    assert str(progress) == ("1 done, 2 running, 0 stopped, 0 failed, 3 missing, 4 steps per second, about 56 s left")


def test_failed_runs_are_not_waited_for_and_steps_before_a_stop_count() -> None:
    progress = progress_of(
        states(
            pretrain_0=("failed", 0, 0.0), pretrain_1=("done", 64, 0.0), scratch_0=("stopped", 40, 0.0),
            scratch_1=("done", 48, 0.0), frozen_0=("failed", 0, 0.0), frozen_1=("running", 46, 2.0),
        )
    )  # fmt: skip
    assert progress.seconds_left == (8 + 2) / 2


def test_without_a_speed_no_time_is_guessed() -> None:
    progress = progress_of(states(pretrain_0=("running", 0, 0.0)))
    assert progress.seconds_left is None
    assert "left" not in str(progress)


def test_lines_tell_how_far_the_study_is_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    now = [0.0]
    monkeypatch.setattr(view.time, "monotonic", lambda: now[0])
    lines = Lines(said.append)
    lines.show(states())
    now[0] = view.LINE_SECONDS
    lines.show(states())
    lines.show(states())
    assert said == ["0 done, 0 running, 0 stopped, 0 failed, 6 missing"]


def test_a_terminal_gets_a_bar_for_each_run_that_goes_on() -> None:
    console = Console(file=io.StringIO(), width=120)
    shown = states(pretrain_0=("done", 64, 0.0), pretrain_1=("running", 24, 1200.0))
    console.print(table_of(shown, width=120, height=24))
    rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(rows) == 2
    assert "source/pretrain/seed_1" in rows[0]
    assert "24 of 64 steps" in rows[0]
    assert "1,200 per second" in rows[0]
    assert rows[1].startswith("1 done, 1 running")


@pytest.mark.parametrize(("width", "has_bars"), [(120, True), (80, True), (56, False)])
def test_each_run_stays_in_one_line_and_its_seed_is_seen(width: int, has_bars: bool) -> None:
    console = Console(file=io.StringIO(), width=width)
    names = [f"{arm}_{seed}" for arm in ("pretrain", "scratch", "frozen") for seed in (0, 1)]
    result = states(**dict.fromkeys(names, ("running", 24, 1200.0)))
    long_names = [replace(item, job=replace(item.job, config=renamed(item))) for item in result]
    console.print(table_of(long_names, width=width, height=24))
    rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    for row, state in zip(rows, long_names, strict=False):
        assert f"/seed_{state.job.config.seed} " in row
        assert "24 of" in row
        assert row.rstrip().endswith("1,200 per second")
        assert ("━" in row) == has_bars
    assert rows[6].startswith("0 done, 6 running")


def renamed(state: RunState) -> RunConfig:
    return state.job.config.model_copy(update={"task_name": "a_task_with_a_name_that_no_terminal_has_room_for"})


def test_in_a_low_terminal_the_line_of_the_whole_study_stays() -> None:
    console = Console(file=io.StringIO(), width=120)
    shown = states(pretrain_0=("running", 24, 0.0), pretrain_1=("running", 24, 0.0), scratch_0=("running", 4, 0.0))
    console.print(table_of(shown, width=120, height=6))
    rows = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert (len(rows), rows[2]) == (4, "and 1 more")


@pytest.mark.parametrize("term", ["dumb", ""])
def test_a_terminal_that_cannot_move_its_cursor_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: Any = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", term)
    with open_view() as shown:
        shown.show(states(pretrain_0=("running", 24, 1200.0)))
        shown.say("[1/6] done")
    assert terminal.getvalue() == "[1/6] done\n"


def test_where_nobody_watches_lines_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with open_view() as shown:
        shown.say("[1/6] done")
        shown.show(states())
    assert capsys.readouterr().out == "[1/6] done\n"


def test_on_a_terminal_lines_stay_and_the_table_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal: Any = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with open_view() as shown:
        shown.show(states(pretrain_0=("running", 24, 1200.0)))
        shown.say("[1/6] source/pretrain/seed_0: done in 3 s")
    written = terminal.getvalue()
    assert "24 of 64 steps" in written
    assert "[1/6] source/pretrain/seed_0: done in 3 s\n" in written
    # What comes last are the codes that take the table away.
    assert "\x1b[2K" in written.rpartition("missing")[2]
