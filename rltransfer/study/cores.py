"""Counts the cores that this process may use, container limits included."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def count_cores(root: Path = Path("/")) -> int:
    """Returns how many runs can go on at once without taking turns: at least 1.

    Args:
        root: Where ``proc`` and ``sys`` lie.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(int(quota) for quota in _quotas(root))]))


def _quotas(root: Path) -> Iterator[float]:
    """Yields the cores that each control group above this process grants, in both versions of the kernel's files."""
    groups = root / "sys/fs/cgroup"
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                for folder in _upwards(groups, path):
                    yield from _quota(folder / "cpu.max")
            elif "cpu" in controllers.split(","):
                for folder in _upwards(groups / "cpu", path):
                    yield from _quota(folder / "cpu.cfs_quota_us", folder / "cpu.cfs_period_us")


def _upwards(top: Path, path: str) -> list[Path]:
    # In a container, the path may be the host's: the top is then the container's own group.
    inner = top / path.strip("/")
    return [top, *(folder for folder in (inner, *inner.parents) if top in folder.parents)]


def _quota(*files: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (float(word) for file in files for word in file.read_text().split())
        if quota > 0:
            yield quota / period
