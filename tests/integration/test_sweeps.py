"""Sweeps, matrices and confirmations as they are run: real agents, a few steps."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import studies
from undrawn import no_figures  # noqa: F401

from rltransfer.artifact import load_encoder
from rltransfer.comparison import Comparison, EffectGrid, EffectLine
from rltransfer.config import CONFIRM, read_study
from rltransfer.errors import ConfigError, RunError, UnknownNameError
from rltransfer.records import read_record
from rltransfer.study import confirm_study, count_states, run_study, study_status

ENV = "CartPole-v1"
TINY = {**studies.TINY, "n_envs": 2, "n_steps": 8}
TASK = {"env": ENV, "n_timesteps": 32}


def write(folder: Path, **changes: Any) -> Path:
    settings = {
        "source": {"env": ENV, "n_timesteps": 64, "which": "last"},
        "tasks": {"target": TASK},
        "arms": {"scratch": "scratch"},
        "evaluation": {"eval_freq": 16, "episodes": 2},
        "hyperparams": TINY,
    }
    return studies.write(folder, **settings | changes)


def run(path: Path, folder: Path, **settings: Any) -> tuple[Comparison, list[str]]:
    said: list[str] = []
    return run_study(path, folder, jobs=2, say=said.append, **settings), said


def confirm(folder: Path, **settings: Any) -> tuple[Comparison, list[str]]:
    said: list[str] = []
    return confirm_study(folder, jobs=2, say=said.append, **settings), said


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.glob("*/*/seed_*")}


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A layer sweep of one arm and its control that ran without trouble."""
    root = tmp_path_factory.mktemp("layers")
    path = write(root, sweeps={"layers": {"of": "finetune", "layers": [0, 1], "shuffled": True}})
    comparison, said = run(path, root / "out")
    return root / "out", comparison, said


class TestLayers:
    def test_it_says_how_many_layers_there_are_before_anything_is_trained(self, swept: Any) -> None:
        _, _, said = swept
        assert said[0] == (
            "target: the encoder has 1 layer (1: mlp_extractor.policy_net.0 and mlp_extractor.value_net.0); "
            "the sweep moves 0, 1"
        )

    def test_the_file_in_the_folder_is_the_study_with_its_sweep_and_runs_lie_as_those_of_arms_do(
        self, swept: Any
    ) -> None:
        folder, comparison, _ = swept
        study = read_study(folder / "study.yaml")
        assert list(study.arms) == ["scratch"]
        assert study.sweeps.layers is not None
        arms = ("source/pretrain", "target/scratch", "target/finetune_1", "target/finetune_1_shuffled")
        assert names(folder) == {f"{arm}/seed_{seed}" for arm in arms for seed in (0, 1)}
        (grid,) = comparison.sweeps
        assert isinstance(grid, EffectGrid)
        assert (folder / "report" / "figures" / f"{grid.name}.pdf").is_file()
        assert count_states(study_status(folder))["done"] == 8

    def test_what_is_confirmed_is_run_on_fresh_seeds_with_scratch_control_and_sources_of_their_own(
        self, swept: Any, tmp_path: Path
    ) -> None:
        folder = shutil.copytree(swept[0], tmp_path / "out")
        confirm(folder, arms=["finetune_1"], seeds=2)
        arms = ("source/pretrain", "target/scratch", "target/finetune_1", "target/finetune_1_shuffled")
        assert names(folder / CONFIRM) == {f"{arm}/seed_{seed}" for arm in arms for seed in (1000, 1001)}
        assert (folder / CONFIRM / "report" / "report.html").is_file()
        # As any study: what is lost is made again, what is there is not, and nothing else can be chosen now.
        shutil.rmtree(folder / CONFIRM / "target" / "scratch" / "seed_1001")
        comparison, said = confirm(folder)
        assert [line for line in said if "done in" in line] == [said[-1]]
        assert "target/scratch/seed_1001" in said[-1]
        arm = comparison.tasks[0].arm("finetune_1")
        assert arm.selection is not None
        assert arm.selection.fresh is not None
        assert arm.selection.fresh.seeds == (1000, 1001)
        assert "of the fresh seeds 1000, 1001 alone" in (folder / "report" / "report.md").read_text()
        with pytest.raises(ConfigError, match="was begun with 2 seeds"):
            confirm(folder, seeds=3)

    def test_what_cannot_be_confirmed_is_refused_before_anything_is_run(self, swept: Any, tmp_path: Path) -> None:
        folder = shutil.copytree(swept[0], tmp_path / "out")
        with pytest.raises(RunError, match=r"No arm of the sweeps .* is a candidate.* --arm finetune_1"):
            confirm(folder)
        with pytest.raises(UnknownNameError, match="Unknown arm of a sweep 'finetune_2'"):
            confirm(folder, arms=["finetune_2"])
        with pytest.raises(ConfigError, match="at least two, found 1"):
            confirm(folder, arms=["finetune_1"], seeds=1)
        shutil.rmtree(folder / "target" / "finetune_1" / "seed_0")
        with pytest.raises(RunError, match=r"1 runs of .* are not done: target/finetune_1/seed_0"):
            confirm(folder, arms=["finetune_1"])
        assert not (folder / CONFIRM).exists()

    def test_another_choice_after_the_first_is_refused(self, swept: Any, tmp_path: Path) -> None:
        folder = shutil.copytree(swept[0], tmp_path / "out")
        (folder / CONFIRM).mkdir()
        text = (folder / "study.yaml").read_text().replace("confirms: []", "confirms: [finetune_1]")
        (folder / CONFIRM / "study.yaml").write_text(text)
        with pytest.raises(ConfigError, match="confirms finetune_1 already. Fresh seeds are for one choice"):
            confirm(folder, arms=["finetune_1_shuffled"])

    def test_more_layers_than_there_are_leave_no_trace(self, tmp_path: Path) -> None:
        path = write(tmp_path, sweeps={"layers": {"layers": 2, "branches": ["both", "critic"]}})
        with pytest.raises(ConfigError, match=r"moves the first 2 layers, and the encoder of the agent has 1 layer"):
            run(path, tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_a_study_without_a_sweep_has_nothing_to_confirm(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(write(tmp_path).read_text())
    with pytest.raises(ConfigError, match="has no sweep, so that nothing was picked"):
        confirm(tmp_path)


def test_every_arm_of_a_source_budget_starts_from_the_one_source_run_as_it_was_then(tmp_path: Path) -> None:
    path = write(tmp_path, seeds=1, sweeps={"source_steps": {"at": [15, 40, 64]}})
    comparison, said = run(path, tmp_path / "out", cache=tmp_path / "cache")
    assert len(said) == 5
    source = tmp_path / "out" / "source" / "pretrain" / "seed_0"
    # Two environments step at once, so that 15 steps are over with the 16th.
    for steps, there in ((15, 16), (40, 40), (64, 64)):
        record = read_record(tmp_path / "out" / "target" / f"finetune_from_{steps}_steps" / "seed_0")
        assert record.source is not None
        assert record.source.env_steps == there
        assert record.source.sha256 == load_encoder(source, str(steps)).source.sha256
    assert len({load_encoder(source, which).source.sha256 for which in ("15", "40", "64")}) == 3
    (line,) = comparison.sweeps
    assert isinstance(line, EffectLine)
    assert [arm.steps.total_steps for _, arm in line.points["finetune"] if arm] == [48, 72, 96]
    # A study that needs other steps cannot take the source run as it is, and says so.
    other = write(tmp_path, seeds=1, sweeps={"source_steps": {"at": [32]}})
    with pytest.raises(ConfigError, match="'save_at'"):
        run(other, tmp_path / "out")


def test_a_matrix_trains_each_source_once_and_each_target_from_every_one(tmp_path: Path) -> None:
    tasks = {"plain": TASK, "other": {**TASK, "kwargs": {"sutton_barto_reward": True}}}
    path = write(
        tmp_path,
        seeds=1,
        source={"tasks": "all", "which": "last"},
        tasks=tasks,
        arms={"scratch": "scratch", "frozen": "frozen"},
    )
    comparison, said = run(path, tmp_path / "out", cache=tmp_path / "cache")
    arms = ("scratch", "frozen_from_plain", "frozen_from_other")
    expected = {f"{task}/{arm}/seed_0" for task in tasks for arm in arms} | {f"source/{task}/seed_0" for task in tasks}
    assert names(tmp_path / "out") == expected
    assert len(list((tmp_path / "cache").iterdir())) == 2
    for task in tasks:
        for name in tasks:
            record = read_record(tmp_path / "out" / task / f"frozen_from_{name}" / "seed_0")
            assert record.source is not None
            expected_source = load_encoder(tmp_path / "out" / "source" / name / "seed_0", "last").source
            assert record.source.sha256 == expected_source.sha256
    assert isinstance(comparison.sweeps[0], EffectGrid)
    assert count_states(study_status(tmp_path / "out"))["done"] == 8
    assert run(path, tmp_path / "out")[1] == ["8 of 8 runs are done already"]
    assert len(said) == 8
