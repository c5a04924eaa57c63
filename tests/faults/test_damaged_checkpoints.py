"""A damaged checkpoint costs what came after the one before; one of other settings does not count."""

import errno
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from resuming import assert_alike, every
from runs import pretrained, run_config

from rltransfer import run_lock
from rltransfer.config import RunConfig
from rltransfer.errors import RunError, Stopped, TakenOverError
from rltransfer.records import RunRecord, read_record
from rltransfer.run_lock import claim
from rltransfer.training import train_run
from rltransfer.training.resume import rewind

CHECKPOINT = "rltransfer/checkpoint"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewind, "_LONGEST_WAIT_SECONDS", 0.0)


def config_of(**settings: object) -> RunConfig:
    return run_config("ppo", n_timesteps=160, checkpoint_freq=16, save_freq=32, **settings)


def stopped(config: RunConfig, folder: Path, *, calls: int = 70) -> list[Path]:
    """Stops a run after some steps; returns its checkpoints, the newest at last."""
    with pytest.raises(Stopped, match="stopped after 80 env_steps"):
        train_run(config, folder, stop=every(calls))
    return sorted((folder / CHECKPOINT).iterdir())


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: random.Random(0).randrange(path.stat().st_size)])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(1).randrange(len(content))] ^= 4
    path.write_bytes(content)


def resumed_at(record: RunRecord) -> list[int]:
    return [entry.env_steps for entry in record.resumed]


def swap(path: Path) -> None:
    """Puts the manifest of the checkpoint before in the place of this one's."""
    path.write_text((sorted(path.parent.parent.iterdir())[0] / path.name).read_text())


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("state.pkl", cut),
        pytest.param("state.pkl", flip, marks=pytest.mark.long),
        pytest.param("state.pkl", Path.unlink, marks=pytest.mark.long),
        pytest.param("manifest.json", cut, marks=pytest.mark.long),
        ("manifest.json", swap),
        ("manifest.json", Path.unlink),
        ("best_model.zip", Path.unlink),
    ],
)
def test_the_one_before_takes_its_place(damage: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    config = config_of()
    _, newest = stopped(config, tmp_path / "run")
    damage(newest / name)
    with pytest.warns(UserWarning, match="goes on from an earlier checkpoint"):
        record = train_run(config, tmp_path / "run")
    assert resumed_at(record) == [64]
    train_run(config, tmp_path / "whole")
    assert_alike(config, tmp_path / "whole", tmp_path / "run")


def test_one_that_the_disk_does_not_give_now_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = stopped(config := config_of(), tmp_path)
    usual = Path.open

    def failing(path: Path, *arguments: Any, **settings: Any) -> Any:
        if path.name == "state.pkl":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return usual(path, *arguments, **settings)

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(RunError, match="cannot be read now: .*The same command tries again"):
        train_run(config, tmp_path)
    monkeypatch.setattr(Path, "open", usual)
    assert all(place.is_dir() for place in places)
    assert resumed_at(train_run(config, tmp_path)) == [int(places[-1].name)]


def test_who_has_lost_a_run_to_another_process_leaves_it_alone(tmp_path: Path) -> None:
    claim(tmp_path)
    calls = 0

    def lose() -> bool:
        nonlocal calls
        calls += 1
        if calls == 40:
            facts = run_lock._own_facts() | {"host": "elsewhere"}
            (tmp_path / "rltransfer" / "claim.json").write_text(json.dumps(facts))
        return False

    with pytest.raises(TakenOverError, match="was taken over by another process"):
        train_run(config_of(), tmp_path, stop=lose)
    assert read_record(tmp_path).status == "running"
    assert (tmp_path / "rltransfer" / "heartbeat.json").exists()


def test_without_any_that_is_whole_the_run_starts_again(tmp_path: Path) -> None:
    config = config_of()
    for place in stopped(config, tmp_path / "run"):
        flip(place / "state.pkl")
    with pytest.warns(UserWarning, match="or starts again"):
        record = train_run(config, tmp_path / "run")
    assert resumed_at(record) == []
    train_run(config, tmp_path / "whole")
    assert_alike(config, tmp_path / "whole", tmp_path / "run")


def test_a_run_of_other_settings_starts_again_and_leaves_no_trace_of_the_first(tmp_path: Path) -> None:
    stopped(config_of(), tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    config = config_of(seed=3)
    record = train_run(config, tmp_path / "run")
    assert resumed_at(record) == []
    train_run(config, tmp_path / "whole")
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    (tmp_path / "run" / "notes.txt").unlink()
    assert_alike(config, tmp_path / "whole", tmp_path / "run")


def test_settings_of_how_a_run_is_carried_out_may_change(tmp_path: Path) -> None:
    stopped(config_of(), tmp_path / "run")
    other = config_of(verbose=1, command="again", num_threads=1).model_copy(update={"checkpoint_freq": 32})
    assert resumed_at(train_run(other, tmp_path / "run")) == [80]


def test_a_run_whose_source_has_become_another_agent_starts_again(tmp_path: Path) -> None:
    pretrained(tmp_path / "source")
    config = config_of(strategy="frozen", source=str(tmp_path / "source"))
    stopped(config, tmp_path / "run")
    assert resumed_at(train_run(config, tmp_path / "run")) == [80]
    stopped(config, tmp_path / "other")
    for path in (tmp_path / "source").glob("*.zip"):
        path.unlink()
    pretrained(tmp_path / "elsewhere", seed=8)
    (tmp_path / "elsewhere" / "best_model.zip").rename(tmp_path / "source" / "best_model.zip")
    record = train_run(config, tmp_path / "other")
    assert resumed_at(record) == []
    assert record.source is not None
    assert record.source.sha256 != read_record(tmp_path / "run").source.sha256  # type: ignore[union-attr]


@pytest.mark.long
def test_each_of_several_sources_counts(tmp_path: Path) -> None:
    for seed in (1, 2):
        pretrained(tmp_path / f"source_{seed}", seed=seed)
    sources = [str(tmp_path / f"source_{seed}") for seed in (1, 2)]
    config = config_of(strategy="progressive", source=sources)
    stopped(config, tmp_path / "run")
    assert resumed_at(train_run(config, tmp_path / "run")) == [80]
    stopped(config, tmp_path / "other")
    shutil.rmtree(tmp_path / "source_2")
    pretrained(tmp_path / "source_2", seed=3)
    assert resumed_at(train_run(config, tmp_path / "other")) == []
    stopped(config, tmp_path / "swapped")
    swapped = config.model_copy(update={"source": tuple(reversed(sources))})
    assert resumed_at(train_run(swapped, tmp_path / "swapped")) == []


def test_a_source_that_was_moved_is_the_same(tmp_path: Path) -> None:
    pretrained(tmp_path / "source")
    config = config_of(strategy="frozen", source=str(tmp_path / "source"))
    stopped(config, tmp_path / "run")
    (tmp_path / "source").rename(tmp_path / "moved")
    moved = config.model_copy(update={"source": str(tmp_path / "moved")})
    assert resumed_at(train_run(moved, tmp_path / "run")) == [80]


def test_a_finished_run_is_returned_and_not_run_again(tmp_path: Path) -> None:
    config = config_of()
    first = train_run(config, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train_run(config, tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before
    with pytest.raises(RunError, match=r"holds a finished run with other settings: 'seed' is 0, not 1"):
        train_run(config_of(seed=1), tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_versions_go_on_but_are_not_called_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_of()
    stopped(config, tmp_path)
    monkeypatch.setattr("rltransfer.training.session.versions", lambda: {"torch": "another"})
    record = train_run(config, tmp_path)
    assert [(entry.env_steps, entry.exact) for entry in record.resumed] == [(80, False)]


def test_what_is_saved_is_named_and_hashed(tmp_path: Path) -> None:
    _, newest = stopped(config_of(), tmp_path)
    assert newest.name == "000000000080"
    manifest = json.loads((newest / "manifest.json").read_text())
    assert (manifest["env_steps"], len(manifest["sha256"]), manifest["kept"]) == (80, 64, ["best_model.zip"])
    assert read_record(tmp_path).status == "stopped"
