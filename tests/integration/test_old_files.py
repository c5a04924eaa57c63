"""What rltransfer 0.1 wrote is read, continued and reported, or refused where it lost the order of keys."""

import json
from pathlib import Path

import keyed_tasks  # noqa: F401 - registers Keyed-v0
import pytest
from old_files import unpack

from rltransfer import compare, load_encoder, run_study
from rltransfer.cli import main
from rltransfer.errors import RunError, SourceError
from rltransfer.records import CHECKPOINT, read_record
from rltransfer.study import study_status, work_on_study
from rltransfer.training import train_run
from rltransfer.training.record_writer import deciding_settings
from rltransfer.training.resume import Checkpoints

STOPPED = ("finetune", "unfreeze", "redo")


def states(folder: Path) -> set[str]:
    return {state.state for state in study_status(folder)}


@pytest.mark.parametrize("name", ["vector", "one_key"])
def test_an_artifact_without_several_keys_is_read(name: str, tmp_path: Path) -> None:
    folder = unpack("artifacts", tmp_path) / name
    encoder = load_encoder(folder)
    assert json.loads((folder / "manifest.json").read_text())["schema_version"] == 1
    again = load_encoder(encoder.save(tmp_path / "again"))
    assert again.observation_space == encoder.observation_space


@pytest.mark.parametrize("name", ["sorted_keys", "unsorted_keys", "discrete_unsorted_keys"])
def test_an_artifact_that_lost_the_order_of_its_keys_is_refused_with_what_to_type(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = unpack("artifacts", tmp_path) / name
    with pytest.raises(SourceError, match="in which order its layers read them is lost"):
        load_encoder(folder)
    assert main(["inspect", str(folder)]) == 2
    assert f"rltransfer extract agent.zip -o {folder}" in capsys.readouterr().err


def test_run_folders_are_sources_and_are_reported(tmp_path: Path) -> None:
    runs = unpack("runs", tmp_path)
    assert load_encoder(runs / "ppo" / "CartPole-v1_1").algo == "ppo"
    assert compare(runs).tasks


@pytest.mark.parametrize("name", ["study_vector", "study_sorted_keys"])
def test_a_half_finished_study_goes_on(name: str, tmp_path: Path) -> None:
    folder = unpack(name, tmp_path)
    assert states(folder) == {"done", "stopped", "missing"}
    work_on_study(folder, jobs=1, say=lambda _: None)
    assert states(folder) == {"done"}
    for arm in STOPPED:
        record = read_record(folder / "target" / arm / "seed_1")
        assert record.resumed[0].env_steps == 32
        assert all(check.passed for check in record.checks)
    comparison = compare(folder)
    assert [arm.name for arm in comparison.tasks[0].arms]
    assert not comparison.skipped
    assert not comparison.missing


def test_a_run_goes_on_that_holds_classes_which_have_moved_since(tmp_path: Path) -> None:
    jobs = {state.job.name: state.job for state in study_status(unpack("study_of_kickstart", tmp_path))}
    job = jobs["target/kickstart/seed_0"]
    assert [entry.env_steps for entry in train_run(job.config, job.folder).resumed] == [57]
    job = jobs["source/pretrain/seed_1"]
    checkpoint = Checkpoints(job.folder / "rltransfer" / CHECKPOINT, deciding_settings(job.config)).newest()
    assert checkpoint is not None
    assert checkpoint.env_steps == 10


@pytest.mark.long
def test_a_study_goes_on_that_holds_classes_which_have_moved_since(tmp_path: Path) -> None:
    folder = unpack("study_of_kickstart", tmp_path)
    work_on_study(folder, jobs=1, say=lambda _: None)
    assert states(folder) == {"done"}
    for name, env_steps in (("source/pretrain/seed_1", 10), ("target/kickstart/seed_0", 57)):
        assert [entry.env_steps for entry in read_record(folder / name).resumed] == [env_steps]


def test_a_study_with_weights_at_the_wrong_keys_does_not_go_on(tmp_path: Path) -> None:
    folder = unpack("study_unsorted_keys", tmp_path)
    with pytest.raises(RunError, match=r"was begun by rltransfer 0\.1.*\(z, a\).*Delete the folders of those arms"):
        work_on_study(folder, jobs=1, say=lambda _: None)
    with pytest.raises(RunError, match=r"was begun by rltransfer 0\.1"):
        run_study(folder / "study.yaml", folder, jobs=1, say=lambda _: None)
    assert states(folder) == {"done", "stopped", "missing"}


def test_a_run_with_weights_at_the_wrong_keys_does_not_go_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = unpack("study_unsorted_keys", tmp_path) / "target" / "finetune" / "seed_1"
    assert main(["transfer", "--resume", str(run)]) == 2
    assert f"Delete {run}, and train it again." in capsys.readouterr().err


def test_a_study_of_an_artifact_that_lost_its_order_does_not_go_on(tmp_path: Path) -> None:
    unpack("artifacts", tmp_path)
    folder = unpack("study_of_artifact", tmp_path)
    with pytest.raises(SourceError, match="Extract it again"):
        run_study(folder / "study.yaml", folder, jobs=1, say=lambda _: None)
