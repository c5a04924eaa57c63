"""Supervisors that are killed or stopped: every run is done once, with the results of an undisturbed study."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from studies import NAMES, arrivals, attempts, is_alive, outcome, processes_in, supervisor, wait_until, write
from undrawn import no_figures  # noqa: F401

from rltransfer.cli import main
from rltransfer.records import read_record
from rltransfer.study import count_states, run_study, study_status

SOURCES = {"source/pretrain/seed_0", "source/pretrain/seed_1"}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the runs of a study compute where nothing happens to them."""
    root = tmp_path_factory.mktemp("undisturbed")
    run_study(write(root), root / "out", jobs=2, say=lambda _: None)
    result = outcome(root / "out")
    assert len(result) == 3 * len(NAMES)
    return result


def states_in(folder: Path) -> dict[str, int]:
    return {name: count for name, count in count_states(study_status(folder)).items() if count}


def finish(path: Path, folder: Path, gate: Path, undisturbed: dict[str, str]) -> None:
    """Opens the gate, runs what is left, and checks that nothing shows what happened before."""
    gate.touch()
    with supervisor("run", path, "-f", folder, "--jobs", "2", gate=gate) as last:
        code, out, err = last.end()
    assert (code, err) == (0, "")
    assert "[6/6] " in out
    assert outcome(folder) == undisturbed
    assert processes_in(folder) == []


@pytest.mark.long
def test_a_study_goes_on_whose_supervisor_was_killed(
    undisturbed: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder, gate = write(tmp_path), tmp_path / "out", tmp_path / "gate"
    with supervisor("run", path, "-f", folder, "--jobs", "2", gate=gate) as first:
        workers = wait_until(lambda: len(processes := arrivals(gate)) == 2 and processes)
        assert main(["study", "status", str(folder), "--json"]) == 0
        status = json.loads(capsys.readouterr().out)
        assert status["counts"] == {"done": 0, "running": 2, "stopped": 0, "failed": 0, "missing": 4}
        assert {run["name"] for run in status["runs"] if run["state"] == "running"} == SOURCES
        first.signal(signal.SIGKILL)
        # Nobody tells the workers: they notice, save what they have, and end.
        wait_until(lambda: not any(map(is_alive, workers)))
    assert processes_in(folder) == []
    assert {read_record(folder / name).status for name in SOURCES} == {"stopped"}
    assert states_in(folder) == {"stopped": 2, "missing": 4}
    finish(path, folder, gate, undisturbed)
    # None was begun twice: those that were going on were resumed.
    assert attempts(folder) == {name: 2 if name in SOURCES else 1 for name in NAMES}


@pytest.mark.long
def test_a_study_that_is_asked_to_stop_saves_its_runs_and_goes_on(undisturbed: dict[str, str], tmp_path: Path) -> None:
    path, folder, gate = write(tmp_path), tmp_path / "out", tmp_path / "gate"
    with supervisor("run", path, "-f", folder, "--jobs", "2", gate=gate) as first:
        wait_until(lambda: len(arrivals(gate)) == 2)
        first.signal(signal.SIGTERM)
        code, out, err = first.end()
    assert code == 128 + signal.SIGTERM
    assert out == "stopping: runs save where they are; Ctrl-C once more ends them at once\n"
    assert err == "stopped: 0 of 6 runs are done, 0 have failed; the same command goes on with the others\n"
    assert processes_in(folder) == []
    assert states_in(folder) == {"stopped": 2, "missing": 4}
    assert not list(folder.rglob("claim.json"))
    finish(path, folder, gate, undisturbed)
    assert attempts(folder) == {name: 2 if name in SOURCES else 1 for name in NAMES}


@pytest.mark.long
def test_the_second_signal_stops_at_once(undisturbed: dict[str, str], tmp_path: Path) -> None:
    # This environment does not listen: only the second signal can end it in time.
    hangs = {"env": "CartPole-v1", "n_timesteps": 64, "hyperparams": {"env_wrapper": ["studies.Hangs"]}}
    path, folder = write(tmp_path, source=hangs, evaluation={"eval_freq": 16, "episodes": 2}), tmp_path / "out"
    with supervisor("run", path, "-f", folder, "--jobs", "1") as first:
        wait_until(lambda: list(folder.rglob("run.log")))
        first.signal(signal.SIGINT)
        assert first.line() == "stopping: runs save where they are; Ctrl-C once more ends them at once\n"
        assert len(processes_in(folder)) == 1
        first.signal(signal.SIGINT)
        code, _, err = first.end()
    assert code == 128 + signal.SIGINT
    assert "Traceback" not in err
    assert processes_in(folder) == []


LEASHED = """
import sys, time
from pathlib import Path
from studies import hang_until_stopped
from rltransfer.study.fork_server import warm_context
if __name__ == "__main__":
    warm_context().Process(target=hang_until_stopped, args=(Path(sys.argv[1]),)).start()
    time.sleep(1000)
"""


def test_a_worker_that_hangs_does_not_outlive_its_supervisor_for_long(tmp_path: Path) -> None:
    script, note = tmp_path / "hanging.py", tmp_path / "note"
    script.write_text(LEASHED)
    variables = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, script, note], env=variables, start_new_session=True) as parent:
        worker = int(wait_until(lambda: note.exists() and note.read_text()))
        parent.kill()
    wait_until(lambda: not is_alive(worker))
