"""Which study a run belongs to, what that study says of its task, and which of its runs are not there yet."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from sweeping import CARTPOLE, make, settings
from synthetic import make_run

from rltransfer.comparison import Comparison, compare
from rltransfer.comparison.studies import study_folder
from rltransfer.metrics import Undefined


def study(length: float, **setting: Any) -> dict[str, Any]:
    task = {"env": CARTPOLE, "kwargs": {"length": length}, "n_timesteps": 10_000, **setting}
    return settings(seeds=4, arms={"scratch": "scratch", "finetune": "finetune"}, tasks={"target": task})


def scales(comparison: Comparison) -> list[tuple[float | None, float | None]]:
    """Returns the reference of each task, and the effect that its last arm was tested for."""
    results = []
    for task in comparison.tasks:
        tested = task.arm("finetune").detectable
        assert tested is not None
        reference = None if isinstance(task.reference, Undefined) else task.reference.reference
        results.append((reference, tested.named.effect if tested.named else None))
    return results


@pytest.fixture
def two(tmp_path: Path) -> Path:
    make(tmp_path / "a", study(0.7, reference=100.0, effect=5.0), {"finetune": 80.0})
    make(tmp_path / "b", study(0.9, reference=1000.0, effect=50.0), {"finetune": 80.0})
    return tmp_path


@pytest.mark.parametrize("names", [("a", "b"), ("b", "a"), (".",), ("a/target", "b/target")])
def test_each_task_has_the_settings_of_its_own_study(two: Path, names: tuple[str, ...]) -> None:
    assert scales(compare([two / name for name in names])) == [(100.0, 5.0), (1000.0, 50.0)]


def test_runs_of_two_studies_that_do_not_agree_are_on_the_scale_of_neither(tmp_path: Path) -> None:
    make(tmp_path / "a", study(0.7, reference=100.0, effect=5.0), {"finetune": 80.0})
    make(tmp_path / "b", {**study(0.7, reference=200.0, effect=5.0), "seeds": [10, 11, 12, 13]}, {"finetune": 80.0})
    comparison = compare(tmp_path)
    assert scales(comparison) == [(None, 5.0)]
    said = "The studies of these runs name different values of `reference` (100, 200): none of them is used."
    assert said in comparison.tasks[0].notes


def test_missing_runs_of_studies_below_a_folder_are_known(two: Path) -> None:
    shutil.rmtree(two / "a" / "target" / "finetune" / "seed_3")
    missing = (two / "a" / "target" / "finetune" / "seed_3",)
    for roots in ([two], [two / "a"], [two / "a", two / "b"], [two, two / "a"]):
        assert tuple(run.folder for run in compare(roots).missing) == missing


def test_a_study_below_a_folder_that_has_not_begun_and_what_lies_within_one_lack_nothing(two: Path) -> None:
    for place in ("notes", "a/confirm", "b/tune"):
        (two / place).mkdir()
        shutil.copy(two / "a" / "study.yaml", two / place)
    make_run(two / "a" / "confirm", arm="scratch", seed=9, folder="target/scratch/seed_9")
    assert compare(two).missing == ()


@pytest.mark.parametrize(("run", "study"), [("/a/b/c/d", "/a"), ("/b/seed_0", "/"), ("/seed_0", "/"), ("/", "/")])
def test_a_run_near_the_root_of_the_file_system_has_a_place_too(run: str, study: str) -> None:
    assert study_folder(Path(run)) == Path(study)
