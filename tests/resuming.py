"""Runs that are stopped and go on, and everything about a run that must not depend on it."""

import csv
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from runs import tree
from stable_baselines3.common.save_util import load_from_zip_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rltransfer.config import RunConfig
from rltransfer.errors import Stopped
from rltransfer.records import OWN_FOLDER, REPRESENTATION, RunRecord
from rltransfer.training import train_run

RECORDED = ("status", "env_steps", "random", "initial", "final", "best", "checks", "strategy", "resume_level")


def every(calls: int) -> Callable[[], bool]:
    """Returns what asks a run to stop each so many times that its main thread asks."""
    count = 0

    def stop() -> bool:
        nonlocal count
        if threading.current_thread() is not threading.main_thread():
            return False
        count += 1
        return count % calls == 0

    return stop


def interrupted(
    config: RunConfig, folder: Path, stop: Callable[[], bool], *, at_most: int = 100
) -> tuple[RunRecord, int]:
    """Runs to the end, going on whenever it has stopped; returns the record and how often it went on.

    A run that was stopped before anything was saved begins again, which does not count.
    """
    times = 0
    for _ in range(at_most):
        try:
            return train_run(config, folder, stop=stop), times
        except Stopped as stopped:
            times += "before anything was saved" not in str(stopped)
    raise AssertionError(f"stopped {at_most} times and not at the end")


def tensors_in(path: Path) -> dict[str, Any]:
    """Returns all that torch has saved in an SB3 zip: weights, optimizers, temperatures."""
    _, parameters, variables = load_from_zip_file(path, load_data=False)
    return {"parameters": parameters, "variables": variables}


def same(first: Any, second: Any) -> bool:
    """Returns whether two nested states are equal bit by bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(same(*pair) for pair in zip(first, second, strict=True))
    return bool(first == second)


def training_episodes(folder: Path) -> dict[str, list[tuple[str, str]]]:
    """Returns the rows of the monitor files without their times."""
    results = {}
    for path in folder.glob("*monitor.csv"):
        lines = path.read_text().splitlines()[1:]
        results[path.name] = [(row["r"], row["l"]) for row in csv.DictReader(lines)]
    return results


def scalars(folder: Path, *, purge: bool = True) -> dict[str, list[tuple[int, float]]]:
    """Returns every TensorBoard curve but those of the clock, as TensorBoard shows it or, unpurged, as written."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0}, purge_orphaned_data=purge)
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if not tag.startswith("time/")
    }


def assert_alike(config: RunConfig, folder: Path, other: Path) -> None:
    """Asserts that two runs left the same numbers: agents, curves, episodes, records, files."""
    zips = sorted(path.name for path in folder.glob("*.zip"))
    assert f"{config.task.file_name}.zip" in zips
    for name in zips:
        assert same(tensors_in(folder / name), tensors_in(other / name)), name
    assert (folder / "evaluations.npz").read_bytes() == (other / "evaluations.npz").read_bytes()
    assert training_episodes(folder) == training_episodes(other)
    layers = Path(OWN_FOLDER) / REPRESENTATION
    assert (folder / layers).exists() == (other / layers).exists()
    assert not (folder / layers).exists() or (folder / layers).read_bytes() == (other / layers).read_bytes()
    place = f"tb/{config.arm}-seed{config.seed}"
    # Files of one second, which only tests make, are read in any order.
    first_curves, second_curves = (
        {tag: sorted(values) for tag, values in scalars(item / place, purge=False).items()} for item in (folder, other)
    )
    assert first_curves == second_curves
    assert files_of(folder) == files_of(other)


def files_of(folder: Path) -> set[str]:
    """Returns the files of a run by name; event files, which are named after the time, by their folder."""
    return {name for name in tree(folder) if "tfevents" not in name}
