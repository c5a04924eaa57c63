"""Files that are replaced as a whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from runs import tree

from rltransfer import files
from rltransfer.errors import FileWriteError


def full_disk(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for content in (b"old", b"new"):
        files.write_bytes(tmp_path / "deep" / "file", content)
    assert (tmp_path / "deep" / "file").read_bytes() == b"new"
    assert tree(tmp_path) == {"deep", "deep/file"}


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_what_goes_wrong_leaves_the_old_file_and_names_it(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_text(tmp_path / "file", "old")
    if call == "fsync":
        monkeypatch.setattr(os, "fsync", full_disk)
    else:
        monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(FileWriteError, match=r"file cannot be written: No space left on device\. Make room") as error:
        files.write_text(tmp_path / "file", "new")
    assert isinstance(error.value, OSError)
    assert (tmp_path / "file").read_text() == "old"
    assert tree(tmp_path) == {"file"}


def test_another_reason_is_given_without_a_hint_to_make_room(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(FileWriteError, match=r"file cannot be written: Is a directory\.$"):
        files.write_text(tmp_path / "file", "new")
    assert tree(tmp_path) == {"file"}


def test_an_interruption_leaves_the_old_file(tmp_path: Path) -> None:
    files.write_text(tmp_path / "file", "old")

    def interrupted() -> None:
        with files.replacing(tmp_path / "file") as file:
            file.write(b"ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "file").read_text() == "old"
    assert tree(tmp_path) == {"file"}


def test_a_folder_appears_as_a_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with files.new_folder(tmp_path / "first") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "first").exists()
    assert tree(tmp_path) == {"first", "first/a"}

    def broken() -> None:
        with files.new_folder(tmp_path / "second") as folder:
            (folder / "b").write_text("b")
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        broken()
    monkeypatch.setattr(files, "sync_folder", full_disk)
    with pytest.raises(FileWriteError, match="third cannot be written"), files.new_folder(tmp_path / "third"):
        pass
    assert tree(tmp_path) == {"first", "first/a"}


def test_leftovers_of_killed_processes_go_and_nothing_else_does(tmp_path: Path) -> None:
    for name in (".file.x1.tmp", "deep/.state.y2.tmp", "deep/.000001.z3.tmp/state.pkl", "file", "notes.tmp", ".hidden"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    files.remove_leftovers(tmp_path)
    assert tree(tmp_path) == {"deep", "file", "notes.tmp", ".hidden"}
