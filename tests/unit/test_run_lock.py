"""Claims of run folders: who holds one, and when it is free."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rltransfer import run_lock
from rltransfer.errors import RunError
from rltransfer.files import remove_leftovers
from rltransfer.run_lock import STALE_SECONDS, claim, holds, is_claimed, release

CLAIM = "rltransfer/claim.json"
HEARTBEAT = "rltransfer/heartbeat.json"


def other_process() -> "subprocess.Popen[bytes]":
    """Returns a process that lives until its input is closed."""
    return subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)


def dead_pid() -> int:
    """Returns the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def facts(**changes: Any) -> dict[str, Any]:
    """Returns what a claim of this process holds, with changes."""
    return run_lock._own_facts() | changes


def write_claim(folder: Path, content: Any, *, seconds_ago: float = 0.0) -> Path:
    path = folder / CLAIM
    path.parent.mkdir(parents=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    age(path, seconds_ago)
    return path


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_claim_names_its_process(tmp_path: Path) -> None:
    assert not is_claimed(tmp_path)
    assert not holds(tmp_path)
    claim(tmp_path)
    result = json.loads((tmp_path / CLAIM).read_text())
    assert (result["host"], result["pid"]) == (socket.gethostname(), os.getpid())
    assert abs(result["time"] - time.time()) < 60
    assert is_claimed(tmp_path)
    assert holds(tmp_path)
    assert [path.name for path in (tmp_path / "rltransfer").iterdir()] == ["claim.json"]


def test_a_claim_of_a_living_process_is_refused_by_name(tmp_path: Path) -> None:
    claim(tmp_path)
    before = (tmp_path / CLAIM).read_text()
    with pytest.raises(RunError, match=r"being written by another process: see .*claim\.json"):
        claim(tmp_path)
    assert (tmp_path / CLAIM).read_text() == before


def test_a_claim_of_a_dead_process_is_free_at_once(tmp_path: Path) -> None:
    path = write_claim(tmp_path, facts(pid=dead_pid()))
    assert not is_claimed(tmp_path)
    claim(tmp_path)
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_claim_of_a_process_that_nobody_has_waited_for_is_free_too(tmp_path: Path) -> None:
    process = other_process()
    path = write_claim(tmp_path, facts(pid=process.pid, started=run_lock._start_of(process.pid)))
    assert is_claimed(tmp_path)
    process.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    claim(tmp_path)
    assert json.loads(path.read_text())["pid"] == os.getpid()
    process.communicate()


def test_a_process_id_that_was_given_again_is_not_taken_for_the_old_process(tmp_path: Path) -> None:
    process = other_process()
    write_claim(tmp_path, facts(pid=process.pid, started="before"))
    assert not is_claimed(tmp_path)
    claim(tmp_path)
    process.communicate()


def test_an_old_claim_without_a_start_is_judged_by_its_process_alone(tmp_path: Path) -> None:
    content = facts()
    del content["started"]
    write_claim(tmp_path, content)
    assert is_claimed(tmp_path)


@pytest.mark.parametrize(
    "content",
    [facts(host="elsewhere"), facts(pids="pid:[1]", pid=1), "{", "{}", "[]", "", '{"host": 3}'],
    ids=["other machine", "other container", "cut", "empty object", "list", "empty", "nonsense"],
)
class TestWhatOnlyTheHeartbeatTells:
    def test_it_is_respected_while_there_are_signs_of_life(self, content: Any, tmp_path: Path) -> None:
        path = write_claim(tmp_path, content)
        before = path.read_text()
        with pytest.raises(RunError):
            claim(tmp_path)
        age(path, 2 * STALE_SECONDS)
        (tmp_path / HEARTBEAT).touch()
        age(tmp_path / HEARTBEAT, STALE_SECONDS - 60)
        with pytest.raises(RunError):
            claim(tmp_path)
        assert path.read_text() == before

    def test_it_is_free_when_the_heartbeat_is_old(self, content: Any, tmp_path: Path) -> None:
        write_claim(tmp_path, content, seconds_ago=2 * STALE_SECONDS)
        (tmp_path / HEARTBEAT).touch()
        age(tmp_path / HEARTBEAT, STALE_SECONDS + 60)
        assert not is_claimed(tmp_path)
        claim(tmp_path)
        assert holds(tmp_path)


def test_a_released_folder_can_be_claimed_again(tmp_path: Path) -> None:
    claim(tmp_path)
    release(tmp_path)
    release(tmp_path)
    assert not (tmp_path / CLAIM).exists()
    claim(tmp_path)


def test_what_another_process_holds_is_not_released(tmp_path: Path) -> None:
    path = write_claim(tmp_path, facts(host="elsewhere"))
    release(tmp_path)
    assert path.exists()


def test_of_many_that_find_a_dead_claim_one_gets_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from rltransfer.run_lock import claim\n"
        "from rltransfer.errors import RunError\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for index in range(40):\n"
        "    try: claim(Path(sys.argv[1]) / str(index)); print(index)\n"
        "    except RunError: pass\n"
        "print('end', flush=True); sys.stdin.read()"
    )
    for index in range(40):
        write_claim(tmp_path / str(index), facts(pid=2**30))
    command = [sys.executable, "-c", code, str(tmp_path)]
    pipe = subprocess.PIPE
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
    # All live on until the last one has tried.
    got: list[str] = []
    for process in processes:
        assert process.stdout is not None
        got += iter(process.stdout.readline, "end\n")
    for process in processes:
        process.communicate()
    assert sorted(map(int, got)) == list(range(40))


def test_no_one_comes_between_judging_a_dead_claim_and_replacing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(tmp_path, facts(pid=dead_pid()))
    judge = run_lock._is_alive
    outcomes: list[str] = []

    def other() -> None:
        try:
            claim(tmp_path)
            outcomes.append("claimed")
        except RunError:
            outcomes.append("refused")

    second = threading.Thread(target=other)

    def judge_slowly(*arguments: Any) -> bool:
        result = judge(*arguments)
        if threading.current_thread() is not second:
            second.start()
            # Long enough for it to claim, if nothing held it up.
            second.join(1.0)
        return result

    monkeypatch.setattr(run_lock, "_is_alive", judge_slowly)
    claim(tmp_path)
    second.join()
    assert outcomes == ["refused"]


def test_what_a_killed_claimer_leaves_goes(tmp_path: Path) -> None:
    (tmp_path / "rltransfer").mkdir()
    (tmp_path / "rltransfer" / ".claim.json.here.1.tmp").touch()
    claim(tmp_path)
    remove_leftovers(tmp_path)
    assert [path.name for path in (tmp_path / "rltransfer").iterdir()] == ["claim.json"]


def test_one_who_comes_while_the_owner_tidies_up_is_refused_like_any_other(tmp_path: Path) -> None:
    claim(tmp_path)
    is_over = threading.Event()

    def tidy_up() -> None:
        while not is_over.is_set():
            remove_leftovers(tmp_path)

    owner = threading.Thread(target=tidy_up)
    owner.start()
    try:
        for _ in range(200):
            with pytest.raises(RunError, match="being written by another process"):
                claim(tmp_path)
    finally:
        is_over.set()
        owner.join()


def test_without_locks_one_whose_claim_is_tidied_away_before_it_counts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = Path.hardlink_to

    def be_late(path: Path, target: Path) -> None:
        path.write_text(json.dumps(facts(host="elsewhere")))
        remove_leftovers(tmp_path)
        link(path, target)

    monkeypatch.setattr(Path, "hardlink_to", be_late)
    with pytest.raises(RunError, match="being written by another process"):
        claim(tmp_path)
    assert not holds(tmp_path)
