"""The strategy ``auto``: what it tries, what it stops, what counts, and that each agent trains as it would alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from runs import pretrained, run_config, tree
from stable_baselines3 import PPO

from rltransfer import Auto, Finetune, Frozen, Full, compare, load_encoder, plan_transfer
from rltransfer.cli import main
from rltransfer.errors import IncompatibleError
from rltransfer.records import RunRecord, Trial, read_curve, read_record, read_training_episodes, write_record
from rltransfer.strategies import parse_strategy
from rltransfer.training import train_run
from rltransfer.training.heartbeat import Heart
from rltransfer.training.resume import Checkpoints
from rltransfer.training.session import Session
from rltransfer.training.successive_halving import LeaderCurve, Race
from rltransfer.training.successive_halving.candidates import Field, Runner

STEPS = 16


def race(folder: Path, strategy: Any = "auto", *, n_timesteps: int = 320, **settings: Any) -> tuple[RunRecord, Path]:
    source, target = folder / "source", folder / "target"
    if not source.exists():
        pretrained(source)
    config = run_config(strategy=strategy, source=str(source), n_timesteps=n_timesteps, **settings)
    return train_run(config, target), target


def trials_of(record: RunRecord) -> dict[str, Trial]:
    assert record.race is not None
    return {trial.label: trial for trial in record.race.trials}


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return PPO.load(path, device="cpu").policy.state_dict()


def test_a_candidate_of_more_layers_than_there_are_is_refused_before_any_of_them_trains(tmp_path: Path) -> None:
    with pytest.raises(IncompatibleError, match="'frozen' with layers:5 takes more layers than there are"):
        race(tmp_path, Auto(of=(Full(), Frozen(layers=5))))
    assert not list((tmp_path / "target").glob("*.zip"))
    assert not (tmp_path / "target" / "evaluations.npz").exists()


def test_every_step_of_every_trial_counts(tmp_path: Path) -> None:
    record, folder = race(tmp_path)
    trials = trials_of(record)
    assert list(trials) == ["scratch", "full", "finetune", "frozen"]
    assert record.env_steps == sum(trial.env_steps + trial.evaluation_steps for trial in trials.values())
    assert all(trial.env_steps >= STEPS and trial.evaluation_steps > 0 for trial in trials.values())
    curve = read_curve(folder)
    assert curve.env_steps[0] == 0
    assert curve.env_steps[-1] == record.env_steps >= 320
    assert sorted(curve.env_steps) == list(curve.env_steps)
    # A rollout, and what its agent was judged by, is all that it may overshoot.
    assert record.env_steps < 320 + STEPS
    ended = read_training_episodes(folder)
    assert 0 < ended.episode_lengths.sum() <= sum(trial.env_steps for trial in trials.values())


def test_the_folder_is_that_of_any_run(tmp_path: Path) -> None:
    record, folder = race(tmp_path)
    files = tree(folder)
    assert {"best_model.zip", "CartPole-v1.zip", "evaluations.npz", "rltransfer/plan.json"} <= files
    assert not any(name.startswith("trials") for name in files)
    assert "frozen.0.monitor.csv" in files
    assert record.race is not None
    plan = json.loads((folder / "rltransfer/plan.json").read_text())
    assert [part["kind"] for part in plan["strategy"]] == [record.race.winner]
    assert record.source is not None
    assert record.source.env_steps == read_record(tmp_path / "source").env_steps
    assert all(check.passed for check in record.checks), record.checks
    assert {check.name.partition(":")[0] for check in record.checks} == set(trials_of(record))
    assert load_encoder(folder).source.env_steps == record.env_steps + record.source.env_steps


@pytest.mark.parametrize("kind", ["finetune", "frozen"])
def test_each_agent_trains_as_it_would_alone(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wins is bit for bit the agent that the same steps alone would have made."""

    def favour(field: Field, runner: Runner) -> tuple[float, bool]:
        return float(runner.label == kind), True

    monkeypatch.setattr(Field, "rank", favour)
    record, folder = race(tmp_path)
    winner = trials_of(record)[kind]
    assert winner.end == "went on"
    alone = run_config(strategy=kind, source=str(tmp_path / "source"), n_timesteps=winner.env_steps)
    assert train_run(alone, tmp_path / "alone").env_steps == winner.env_steps
    raced, expected = weights_of(folder / "CartPole-v1.zip"), weights_of(tmp_path / "alone" / "CartPole-v1.zip")
    assert all(torch.equal(tensor, expected[name]) for name, tensor in raced.items())


def test_it_is_the_same_again(tmp_path: Path) -> None:
    first, folder = race(tmp_path)
    content = (folder / "evaluations.npz").read_bytes()
    second = train_run(
        run_config(strategy="auto", source=str(tmp_path / "source"), n_timesteps=320), tmp_path / "again"
    )
    assert (tmp_path / "again" / "evaluations.npz").read_bytes() == content
    assert second.race == first.race


def test_the_worse_half_stops_and_scratch_stays_to_the_last_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"scratch": 0.0, "full": 1.0, "finetune": 2.0, "frozen": 3.0}
    monkeypatch.setattr(Field, "rank", lambda _, runner: (scores[runner.label], True))
    record, _ = race(tmp_path, {"kind": "auto", "share": 0.9, "episodes": 1}, n_timesteps=1200)
    trials = trials_of(record)
    assert {label: trial.end for label, trial in trials.items()} == {
        "scratch": "stopped as 3 of 3",
        "full": "stopped as 3 of 4",
        "finetune": "stopped as 2 of 3",
        "frozen": "went on",
    }
    assert [len(trials[label].scores) for label in scores] == [2, 1, 2, 2]
    # Four slices of 135 steps, of which 101 are for training; the second ones as long as the share leaves.
    assert trials["full"].env_steps == round(101 / STEPS) * STEPS
    judged = sum(trial.evaluation_steps for trial in trials.values())
    trained = 3 * trials["scratch"].env_steps + trials["full"].env_steps
    assert 2 * trials["full"].env_steps < trials["scratch"].env_steps
    assert 0.7 * 1080 < trained + judged <= 1080 + 4 * STEPS
    spent = sum(trial.env_steps + trial.evaluation_steps for trial in trials.values() if trial.end != "went on")
    assert spent <= 0.9 * 1200


def test_a_round_that_used_up_its_share_is_the_last(tmp_path: Path) -> None:
    record, _ = race(tmp_path, {"kind": "auto", "share": 0.1}, n_timesteps=320)
    assert {len(trial.scores) for trial in trials_of(record).values()} == {1}


def test_the_curve_is_the_leaders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scratch leads until others are judged; a stopped agent never leads."""
    seen: list[tuple[int, int]] = []
    subject = LeaderCurve.subject

    def noting(curve: LeaderCurve) -> Any:
        result = subject(curve)
        runners = curve._field.runners
        seen.append((result.env_steps, next(i for i, item in enumerate(runners) if item.agent is result.agent)))
        assert not runners[seen[-1][1]].end
        return result

    monkeypatch.setattr(LeaderCurve, "subject", noting)
    scores = {"scratch": 1.0, "full": 0.0, "finetune": 0.5, "frozen": 2.0}
    monkeypatch.setattr(Field, "rank", lambda _, runner: (scores[runner.label], True))
    race(tmp_path)
    leaders = [index for _, index in seen]
    assert leaders == sorted(leaders)
    assert set(leaders) == {0, 3}
    steps = [step for step, _ in seen]
    assert steps == sorted(steps)


@pytest.mark.parametrize(("returns", "leader"), [((480.0, 500.0), "full"), ((9.0, 9.0), "scratch")])
def test_of_equal_agents_scratch_is_the_last_unless_the_source_cannot_do_its_own_task(
    returns: tuple[float, float], leader: str, tmp_path: Path
) -> None:
    made = pretrained(tmp_path / "source")
    assert made.final is not None
    result = made.final.model_copy(update={"episode_returns": returns, "episode_lengths": (9, 9)})
    write_record(tmp_path / "source", made.model_copy(update={"final": result, "best": result}))
    config, folder = run_config(strategy="auto", source=str(tmp_path / "source")), tmp_path / "x"
    heart = Heart(folder, step_timeout_seconds=None)
    with Race(Session(config, folder, Checkpoints(folder, {}), None, lambda: False, heart)).prepared() as race:
        field = race.field
        for runner in field.runners:
            runner.scores.append(1.0)
        assert field.leader.label == leader
        field.runners[1 if leader == "scratch" else 0].scores.append(1.1)
        assert field.leader.label == ("full" if leader == "scratch" else "scratch")


def test_what_does_not_fit_is_left_out_or_refused_where_it_was_named(tmp_path: Path) -> None:
    kwargs: dict[str, Any] = {"env": "Acrobot-v1", "n_timesteps": 200}
    pretrained(tmp_path / "source")
    maps = {"inputs": [0, 1, 2, 3, None, None]}
    record, _ = race(tmp_path, **kwargs, **maps)
    trials = trials_of(record)
    assert trials["full"].end.startswith("does not fit: 'full' moves the heads")
    assert trials["full"].env_steps == 0
    assert trials["finetune"].env_steps > 0
    config = run_config(strategy=Auto(of=((Full(),),)), source=str(tmp_path / "source"), **kwargs, **maps)
    with pytest.raises(IncompatibleError, match="'full' moves the heads"):
        train_run(config, tmp_path / "named")


def test_off_policy_agents_race_too(tmp_path: Path) -> None:
    pretrained(tmp_path / "source", algo="sac")
    config = run_config("sac", strategy={"kind": "auto", "of": ["full", "frozen"]}, source=str(tmp_path / "source"))
    record = train_run(config.model_copy(update={"n_timesteps": 200}), tmp_path / "target")
    assert list(trials_of(record)) == ["scratch", "full", "frozen"]
    assert record.env_steps == sum(item.env_steps + item.evaluation_steps for item in trials_of(record).values())


def test_strategies_are_named_as_elsewhere() -> None:
    (auto,) = parse_strategy({"kind": "auto", "of": ["scratch", "full", ["full", "l2_sp"], {"kind": "frozen"}]})
    assert isinstance(auto, Auto)
    assert [strategy[0] for strategy in auto.candidates[1:]] == [Full(), Full(), Frozen()]
    (typed,) = parse_strategy({"kind": "auto", "of": "[finetune, frozen]"})
    assert isinstance(typed, Auto)
    assert typed.of == ((Finetune(),), (Frozen(),))


def test_it_has_no_plan_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained(tmp_path / "source")
    with pytest.raises(IncompatibleError, match="'auto' trains an agent for each strategy"):
        plan_transfer(load_encoder(tmp_path / "source"), PPO("MlpPolicy", "CartPole-v1", device="cpu"), "auto")
    words = ["plan", "--from", str(tmp_path / "source"), "--strategy", "auto", "--env", "CartPole-v1"]
    assert main(words) == 2
    assert "has no plan of its own" in capsys.readouterr().err


def test_the_command_tells_what_it_tries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pretrained(tmp_path / "source")
    small = [
        "--hyperparams",
        "n_steps:16",
        "n_envs:1",
        "batch_size:16",
        "n_epochs:1",
        "policy_kwargs:{'net_arch':[8,8]}",
    ]
    words = ["transfer", "--from", str(tmp_path / "source"), "--strategy", "auto", "--strategy-kwargs", "of:[frozen]"]
    words += [
        "--env",
        "CartPole-v1",
        "-n",
        "200",
        "--seed",
        "0",
        "--device",
        "cpu",
        "-f",
        str(tmp_path / "logs"),
        *small,
    ]
    assert main(words) == 0
    text = capsys.readouterr().out
    assert "scratch: " in text
    assert "frozen: " in text
    assert "goes on, after" in text
    comparison = compare(tmp_path / "logs")
    assert comparison.tasks[0].arms[0].name == "auto_frozen"
    assert np.isfinite(comparison.tasks[0].arms[0].scores["auc"].mean.value)  # type: ignore[union-attr]
