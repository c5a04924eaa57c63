"""What a user states of a source (its statistics, its activation function) travels in runs, studies and their files."""

import json
from pathlib import Path
from typing import Any

import pytest
from agents import make_agent, normalised
from old_files import unpack
from runs import run_config
from stable_baselines3.common.policies import ActorCriticPolicy

from rltransfer import cli, load_encoder, yaml_file
from rltransfer.config import RunConfig, StudyConfig
from rltransfer.study import expand_study, write_study
from rltransfer.study.status import has_settings_of


class CustomPolicy(ActorCriticPolicy):
    def _build_mlp_extractor(self) -> None:
        super()._build_mlp_extractor()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    env = normalised("CartPole-v1")
    make_agent("ppo", env, policy=CustomPolicy, policy_kwargs={"net_arch": [8, 8]}).learn(32).save(tmp_path / "a.zip")
    env.save(str(tmp_path / "mine.pkl"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


FLAGS = ["--normaliser", "mine.pkl", "--activation", "nn.Tanh"]
TRANSFER = (
    "--from a.zip --env CartPole-v1 --strategy finetune -params normalize:True policy_kwargs:dict(net_arch=[8,8])"
)
TRAINING = "-n 64 --seed 0 --eval-episodes 1 --eval-freq -1 -f logs --verbose 0"


def studied(**source: Any) -> StudyConfig:
    return StudyConfig.model_validate(
        {
            "algo": "ppo",
            "seeds": 1,
            "source": source,
            "tasks": {"t": {"env": "CartPole-v1", "n_timesteps": 64}},
            "arms": {"scratch": "scratch", "frozen": "frozen"},
        }
    )


def test_every_verb_takes_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "a.zip", "--json", *FLAGS]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["activation"], facts["statistics"]["file"]) == ("Tanh", "mine.pkl")
    assert facts["policy_class"].endswith(".CustomPolicy")
    assert cli.main(["extract", "a.zip", "-o", "artifact", *FLAGS]) == 0
    assert load_encoder("artifact").normaliser.norm_obs
    assert cli.main(["plan", *TRANSFER.split(), *FLAGS]) == 0
    shown = capsys.readouterr().out
    assert "observation statistics: copied" in shown
    assert "its activation function is Tanh as you state" in shown
    assert "normalisation_unknown" not in shown
    assert cli.main(["plan", *TRANSFER.split()]) == 0
    shown = capsys.readouterr().out
    assert "none of them is the source's by its name: mine.pkl. Take one with --normaliser FILE" in shown
    assert "--activation ReLU" in shown


def test_a_run_keeps_them_and_goes_on_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli.main(["transfer", *TRANSFER.split(), *TRAINING.split(), *FLAGS]) == 0
    (run,) = (folder / "logs" / "ppo").iterdir()
    settings = json.loads((run / "rltransfer" / "config.json").read_text())
    assert (settings["normaliser"], settings["activation"]) == (str(folder / "mine.pkl"), "Tanh")
    plan = json.loads((run / "rltransfer" / "plan.json").read_text())
    assert plan["statistics"]["observation"] == "copied"
    config = RunConfig.model_validate(settings)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    from rltransfer.training.prepare import read_sources

    (encoder,) = read_sources(config)
    assert (encoder.statistics.file, encoder.anatomy.activation) == (str(folder / "mine.pkl"), "Tanh")


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (".", "normaliser: . is a folder, and no file"),
        ("/dev/null", "normaliser: /dev/null is a device or a pipe, and no file"),
        ("", "normaliser: expected a file, found an empty text"),
    ],
)
def test_what_is_no_file_is_refused_before_training(
    stated: str, message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["transfer", *TRANSFER.split(), *TRAINING.split(), "--normaliser", stated]) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "logs").exists()


def test_an_artifact_of_0_1_takes_a_stated_activation(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = unpack("artifacts", folder) / "vector"
    assert cli.main(["inspect", str(source), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["activation"], facts["activation_is_assumed"], facts["policy_class"]) == ("Tanh", True, None)
    assert cli.main(["extract", str(source), "-o", "settled", "--activation", "ELU"]) == 0
    assert cli.main(["inspect", "settled", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.partition("settled\n")[2])
    assert (facts["activation"], facts["activation_is_assumed"]) == ("ELU", False)


def test_pretraining_goes_on_with_them(folder: Path) -> None:
    line = "pretrain -i a.zip --env CartPole-v1 -params normalize:True policy_kwargs:dict(net_arch=[8,8])"
    assert cli.main([*line.split(), *TRAINING.split(), *FLAGS]) == 0
    (run,) = (folder / "logs" / "ppo").iterdir()
    assert json.loads((run / "rltransfer" / "plan.json").read_text())["statistics"]["observation"] == "copied"


def test_runs_of_before_are_recognised() -> None:
    config = run_config()
    assert not {"normaliser", "activation", "arms_differ_in"} & config.outcome_settings().keys()
    stated = config.model_copy(update={"source": "a.zip", "normaliser": "mine.pkl"})
    assert stated.outcome_settings()["normaliser"] == str(Path("mine.pkl").absolute())


def test_a_study_hands_them_to_the_arms_that_read_its_source(folder: Path) -> None:
    study = studied(path="a.zip", normaliser="mine.pkl", activation="th.nn.Tanh")
    scratch, frozen = (job.config for job in expand_study(study, folder / "study"))
    assert (scratch.normaliser, scratch.activation) == (None, None)
    assert (frozen.normaliser, frozen.activation) == ("mine.pkl", "Tanh")
    (folder / "study").mkdir()
    write_study(study, folder / "study")
    source = yaml_file.read(folder / "study" / "study.yaml")["source"]
    assert (source["path"], source["normaliser"]) == (str(folder / "a.zip"), str(folder / "mine.pkl"))


@pytest.mark.parametrize(
    ("begun", "goes_on", "same"),
    [
        ({}, {}, True),
        ({"normaliser": "mine.pkl"}, {"normaliser": "mine.pkl"}, True),
        ({}, {"normaliser": "mine.pkl"}, False),
        ({"normaliser": "mine.pkl"}, {}, False),
        ({"activation": "Tanh"}, {"activation": "nn.Tanh"}, True),
        ({"activation": "Tanh"}, {}, False),
    ],
)
def test_a_study_knows_its_runs_by_them(
    begun: dict[str, str], goes_on: dict[str, str], same: bool, folder: Path
) -> None:
    place = folder / "study"
    first, second = (expand_study(studied(path="a.zip", **stated), place)[-1] for stated in (begun, goes_on))
    (second.folder / "rltransfer").mkdir(parents=True)
    (second.folder / "rltransfer" / "config.json").write_text(json.dumps(first.config.outcome_settings()))
    assert has_settings_of(second, second.folder) == same


@pytest.mark.parametrize(
    "source",
    [
        {"env": "CartPole-v1", "normaliser": "mine.pkl"},
        {"tasks": "all", "activation": "Tanh"},
        {"path": ["a.zip", "b.zip"], "normaliser": "mine.pkl"},
        {"path": "a.zip", "activation": "tanh"},
    ],
)
def test_a_study_refuses_what_is_of_no_single_agent(source: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="normaliser|activation"):
        studied(**source)


def test_runs_refuse_them_too() -> None:
    settings = run_config().model_dump()
    for sources in (None, ["a.zip", "b.zip"]):
        with pytest.raises(ValueError, match="normaliser: it is of"):
            RunConfig.model_validate(settings | {"source": sources, "normaliser": "mine.pkl"})
