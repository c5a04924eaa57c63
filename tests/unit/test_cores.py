"""How many cores there are, container limits included."""

import os
from pathlib import Path

import pytest

from rltransfer.study.cores import count_cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of eight cores, without limits."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path


def limit(machine: Path, cgroup: str, files: dict[str, str]) -> None:
    (machine / "proc/self/cgroup").write_text(cgroup)
    for name, content in files.items():
        path = machine / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_without_limits_it_is_what_the_scheduler_allows(machine: Path) -> None:
    assert count_cores(machine) == 8


@pytest.mark.parametrize(
    ("cgroup", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 8),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "1600000 100000\n"}, 8),
        ("0::/jobs/mine\n", {"jobs/cpu.max": "300000 100000\n", "jobs/mine/cpu.max": "max 100000\n"}, 3),
        ("0::/host/path\n", {"cpu.max": "400000 100000\n"}, 4),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "500000\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 5),
        ("3:cpu,cpuacct:/a\n", {"cpu/a/cpu.cfs_quota_us": "-1\n", "cpu/a/cpu.cfs_period_us": "100000\n"}, 8),
        ("1:memory:/\n", {"cpu.max": "damaged"}, 8),
    ],
)
def test_a_container_may_have_fewer(machine: Path, cgroup: str, files: dict[str, str], cores: int) -> None:
    limit(machine, cgroup, files)
    assert count_cores(machine) == cores


def test_this_machine_has_some() -> None:
    assert count_cores() >= 1
