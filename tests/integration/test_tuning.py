"""Tuning as it is run: real agents, a few steps."""

import json
from pathlib import Path
from typing import Any

import pytest
import studies

from rltransfer.cli import main
from rltransfer.config import TUNE, read_study
from rltransfer.errors import RunError, Stopped
from rltransfer.study import count_states, expand_study, study_status, tune, tune_study
from rltransfer.study.trials import TRIALS

ENV = "CartPole-v1"
SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}, "n_steps": [8, 16]}


def write(folder: Path, **changes: Any) -> Path:
    content = {
        "seeds": 1,
        "source": {"env": ENV, "n_timesteps": 32, "which": "last"},
        "tasks": {"target": {"env": ENV, "n_timesteps": 32}},
        "evaluation": {"eval_freq": 16, "episodes": 1},
        "tune": {"trials": 3, "space": SPACE},
    }
    return studies.write(folder, **content | changes)


def trials_in(folder: Path) -> Any:
    return json.loads((folder / TUNE / TRIALS).read_text())["trials"]


@pytest.mark.long
def test_a_tuning_that_is_stopped_goes_on_and_finds_what_an_uninterrupted_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "BATCH", 2)
    path, cache = write(tmp_path), tmp_path / "cache"
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    main(["study", "tune", str(path), "-f", str(whole), "--jobs", "2", "--cache", str(cache)])
    said = capsys.readouterr().out
    assert "target  scratch  3       0" in said
    assert "nothing follows from them" in said

    # Stopped in the first batch before anything is told, then behind it.
    work = tune.work_on_study

    def stop(*_: Any, **__: Any) -> Any:
        raise Stopped("stopped")

    monkeypatch.setattr(tune, "work_on_study", stop)
    with pytest.raises(Stopped):
        tune_study(path, parts, cache=cache)
    assert [trial["scores"] for trial in trials_in(parts)] == [None] * 4
    asked = [trial["hyperparams"] for trial in trials_in(parts)]

    def work_once(*arguments: Any, **settings: Any) -> Any:
        monkeypatch.setattr(tune, "work_on_study", stop)
        return work(*arguments, **settings)

    monkeypatch.setattr(tune, "work_on_study", work_once)
    with pytest.raises(Stopped):
        tune_study(path, parts, jobs=2, cache=cache, say=lambda _: None)
    assert len([trial for trial in trials_in(parts) if trial["scores"] is None]) == 2
    assert [trial["hyperparams"] for trial in trials_in(parts)[:4]] == asked
    monkeypatch.setattr(tune, "work_on_study", work)
    lines: list[str] = []
    tuned = tune_study(path, parts, jobs=2, cache=cache, say=lines.append)
    assert len([line for line in lines if "done in" in line]) == 2
    assert trials_in(parts) == trials_in(whole)
    for name in ("tuned.yaml", "tune/trials.csv"):
        assert (parts / name).read_bytes() == (whole / name).read_bytes()

    # Nothing of it ends worse than untuned, and what is written is a study that can be run.
    for key, best in tuned.best.items():
        untuned = tuned.untuned[key].score
        assert untuned is not None
        assert best.score is not None
        assert best.score >= untuned
    study = read_study(tuned.file)
    assert study.tune is None
    for job in expand_study(study, tmp_path / "tuned"):
        if job.config.role == "target":
            results = {
                name: job.config.hyperparams.agent[name] for name in tuned.best["target", job.config.arm].hyperparams
            }
            assert results == tuned.best["target", job.config.arm].hyperparams
    assert count_states(study_status(whole / TUNE))["done"] == 7
    assert len(list(cache.iterdir())) == 1


def test_a_source_that_fails_stops_a_tuning_and_no_trial_counts(tmp_path: Path) -> None:
    wrapper = {"studies.KillsItsProcessOnce": {"marker": str(tmp_path / "killed")}}
    source = {"env": ENV, "n_timesteps": 32, "hyperparams": {"env_wrapper": [wrapper]}}
    path = write(tmp_path, source=source, arms={"scratch": "scratch"}, tune={"trials": 2, "space": SPACE})
    with pytest.raises(RunError, match=r"source/pretrain/seed_1500 is not done .*The same command tries again"):
        tune_study(path, tmp_path / "out", jobs=2, retries=0, say=lambda _: None)
    result = trials_in(tmp_path / "out")
    assert [(trial["scores"], trial["failure"]) for trial in result] == [(None, None)] * 2
