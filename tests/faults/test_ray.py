"""A study on a Ray cluster of three nodes that loses a node and a worker. Takes minutes: `pytest -m long`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import arrivals, attempts, is_alive, outcome, processes_in, supervisor, wait_until, write

from rltransfer.study import run_study, study_status

pytestmark = pytest.mark.long
TESTS = str(Path(__file__).parents[1])


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes of one core each, as three machines that see one folder."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("GATE", str(tmp_path / "gate"))
    monkeypatch.setenv("PYTHONPATH", TESTS)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    running = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        running.add_node(num_cpus=1)
    running.wait_for_nodes()
    try:
        yield running
    finally:
        running.shutdown()


def ancestors(job: int) -> list[int]:
    """Returns the processes above a job: the warm parent, Ray's worker, and the raylet of their node."""
    results: list[int] = []
    while len(results) < 3:
        results.append(
            int(Path(f"/proc/{results[-1] if results else job}/stat").read_text().rpartition(")")[2].split()[1])
        )
    return results


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_lost_node_and_a_lost_worker_only_delay_their_jobs(cluster: Any, tmp_path: Path) -> None:
    path, folder, gate = write(tmp_path), tmp_path / "out", tmp_path / "gate"
    command = ["run", path, "-f", folder, "--engine", "ray", "--address", cluster.address]
    with supervisor(*command, gate=gate) as study:
        jobs = wait_until(lambda: len(processes := arrivals(gate)) == 3 and processes)
        lost = next(node for node in cluster.list_all_nodes() if node != cluster.head_node)
        (raylet,) = lost.all_processes["raylet"]
        on_lost, elsewhere = (
            [job for job in jobs if (ancestors(job)[2] == raylet.process.pid) == is_there] for is_there in (True, False)
        )
        os.kill(ancestors(elsewhere[0])[1], signal.SIGKILL)
        cluster.remove_node(lost, allow_graceful=False)
        wait_until(lambda: not any(map(is_alive, [*on_lost, elsewhere[0]])))
        gate.touch()
        code, out, err = study.end()
    assert (code, err) == (0, "")
    assert len(on_lost) == 1
    assert sum(attempts(folder).values()) == 8
    assert "FAILED" not in out
    assert processes_in(folder) == []
    run_study(path, tmp_path / "alone", jobs=2, say=lambda _: None)
    assert outcome(folder) == outcome(tmp_path / "alone")


def test_on_a_cluster_of_its_own_a_study_can_be_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    path, folder, gate = write(tmp_path), tmp_path / "out", tmp_path / "gate"
    command = ["run", path, "-f", folder, "--engine", "ray", "--jobs", "2"]
    with supervisor(*command, gate=gate) as study:
        jobs = wait_until(lambda: len(processes := arrivals(gate)) == 2 and processes)
        study.signal(signal.SIGTERM)
        code, _, err = study.end()
    assert code == 128 + signal.SIGTERM
    assert err == "stopped: 0 of 6 runs are done, 0 have failed; the same command goes on with the others\n"
    wait_until(lambda: not any(map(is_alive, jobs)))
    assert {state.state for state in study_status(folder)} == {"stopped", "missing"}
    gate.touch()
    with supervisor(*command, gate=gate) as study:
        code, out, err = study.end()
    assert (code, err) == (0, "")
    assert "[6/6] " in out
