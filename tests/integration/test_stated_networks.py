"""How a pretrained network is cut travels with its source: in plans, runs, studies, their files and what goes on."""

import json
from pathlib import Path
from typing import Any

import pytest
from agents import make_agent
from pretrained import ARCH, write_weights
from resuming import assert_alike, every, interrupted

from rltransfer import compare, load_encoder, yaml_file
from rltransfer.cli import main
from rltransfer.config import RunConfig, StudyConfig, read_study
from rltransfer.records import read_record
from rltransfer.run_folder import read_settings
from rltransfer.strategies import Scratch, dump_strategy, parse_strategy, strategy_label
from rltransfer.study import expand_study, write_study
from rltransfer.study.check import check_study
from rltransfer.study.status import has_settings_of
from rltransfer.training import train_run

STATED = {"arch": ARCH, "cut": "features.2", "pool": 2, "size": 32}
FLAGS = [word for name, value in STATED.items() for word in (f"--{name}", str(value))]
PICTURES = "--env rltransfer_envs:rltransfer/MiniGrid-Empty-v0 --env-kwargs view:rgb max_steps:8"
PARAMS = "-params n_envs:1 n_steps:16 batch_size:16 n_epochs:1 policy_kwargs:dict(net_arch=[8])"
TRAINING = "-n 48 --seed 0 --eval-episodes 1 --eval-freq 16 -f logs --verbose 0 --device cpu"
# Of the blocks features.0, 1 and 2: 24 maps of 2x2 places.
FEATURES = 24 * 2 * 2


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_weights(tmp_path_factory.mktemp("weights") / "weights.pth")


@pytest.fixture
def folder(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "weights.pth").symlink_to(weights)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(arms: dict[str, Any] | None = None, n_timesteps: int = 32, **source: Any) -> StudyConfig:
    settings = {
        "algo": "ppo",
        "seeds": 1,
        "source": {"path": "weights.pth", **STATED, **source},
        "tasks": {
            "empty": {
                "env": "rltransfer_envs:rltransfer/MiniGrid-Empty-v0",
                "kwargs": {"view": "rgb", "max_steps": 8},
                "n_timesteps": n_timesteps,
            }
        },
        "arms": {"scratch": "scratch", **(arms or {"tuned": "finetune"})},
        "hyperparams": {
            "policy": "CnnPolicy",
            "n_envs": 1,
            "n_steps": 16,
            "batch_size": 16,
            "n_epochs": 1,
            "policy_kwargs": {"net_arch": [8]},
        },
        "evaluation": {"eval_freq": -1, "episodes": 1},
    }
    return StudyConfig.model_validate(settings)


def study_file(folder: Path, **changes: Any) -> str:
    (folder / "s.yaml").write_text(yaml_file.dump(study(**changes).model_dump(mode="json")))
    return str(folder / "s.yaml")


def test_a_plan_is_of_the_network_as_it_is_stated(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--from", "weights.pth", *FLAGS, "--json", *PICTURES.split(), *PARAMS.split()]) == 0
    plan = json.loads(capsys.readouterr().out)
    shapes = {entry["tensor"]: entry["shape"] for entry in plan["entries"]}
    assert shapes["mlp_extractor.policy_net.0.weight"] == [8, FEATURES]
    assert "features_extractor.network.features.2.block.0.0.weight" in shapes
    assert not any(".features.3." in name for name in shapes)
    assert plan["strategy"][0]["lr_scale"] == 0.1
    words = " ".join(finding["words"] for finding in plan["findings"])
    assert "receives images of 32x32, to which the target's of 56x56 are resized" in words


@pytest.mark.long
def test_a_run_keeps_it_and_goes_on_bit_for_bit_from_anywhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = [
        "transfer",
        "--from",
        "weights.pth",
        *FLAGS,
        "--strategy",
        "finetune",
        *PICTURES.split(),
        *PARAMS.split(),
        *TRAINING.split(),
    ]
    assert main(line) == 0
    (run,) = (folder / "logs" / "ppo").iterdir()
    settings = json.loads((run / "rltransfer" / "config.json").read_text())
    assert settings["source"] == str(folder / "weights.pth")
    assert {name: settings[name] for name in STATED} == STATED
    record = read_record(run)
    assert record.source is not None
    assert record.source.network is not None
    assert (record.source.network.cut, record.source.network.pool) == ("features.2", 2)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    config = read_settings(run)
    parted, times = interrupted(config, folder / "parted", every(5))
    assert times >= 2
    assert parted.resume_level == "exact"
    assert_alike(config, run, folder / "parted")


def test_a_study_hands_it_to_the_arms_that_read_its_source(folder: Path) -> None:
    given = study({"tuned": "finetune", "control": {"kind": "shuffled", "of": "finetune"}})
    (folder / "study").mkdir()
    write_study(given, folder / "study")
    written = yaml_file.read(folder / "study" / "study.yaml")["source"]
    assert {name: written[name] for name in ("path", *STATED)} == {"path": str(folder / "weights.pth"), **STATED}
    # As a worker reads it from the study's folder, and a run from its own.
    configs = {job.config.arm: job.config for job in expand_study(read_study(folder / "study" / "study.yaml"), folder)}
    configs = {arm: RunConfig.model_validate_json(config.model_dump_json()) for arm, config in configs.items()}
    assert {arm: strategy_label(config.strategy) for arm, config in configs.items()} == {
        "scratch": "scratch",
        "tuned": "finetune_lr_scale=0.1",
        "control": "shuffled_finetune_lr_scale=0.1",
    }
    assert not any(configs["scratch"].stated.values())
    assert {name: configs["tuned"].stated[name] for name in STATED} == STATED
    assert configs["scratch"].outcome_settings().keys() & STATED.keys() == set()


@pytest.mark.parametrize("name", ["cut", "pool", "size"])
def test_a_study_knows_its_runs_by_it(name: str, folder: Path) -> None:
    begun, same, other = (expand_study(given, folder)[-1] for given in (study(), study(), study(**{name: None})))
    (begun.folder / "rltransfer").mkdir(parents=True)
    (begun.folder / "rltransfer" / "config.json").write_text(json.dumps(begun.config.outcome_settings()))
    assert has_settings_of(same, begun.folder)
    assert not has_settings_of(other, begun.folder)


@pytest.mark.long
def test_a_study_of_a_file_of_weights_runs(folder: Path) -> None:
    # More blocks than an agent from scratch has layers.
    arms = {"deep": {"kind": "frozen", "layers": 6}, "same": {"kind": "scratch", "arch": "source"}}
    given = study_file(folder, arms=arms, n_timesteps=288, cut="features.5")
    assert main(["study", "run", given, "-f", "done", "--jobs", "1"]) == 0
    record = read_record(folder / "done" / "empty" / "deep" / "seed_0")
    assert record.status == "done"
    assert record.source is not None
    assert record.source.network is not None
    assert [*record.source.network.blocks] == ["features.0.0", *(f"features.{block}" for block in range(1, 6))]
    same = read_record(folder / "done" / "empty" / "same" / "seed_0")
    assert (same.status, same.strategy) == ("done", ({"kind": "scratch", "arch": "source"},))
    assert same.source == record.source
    (task,) = compare(folder / "done").tasks
    assert [(arm.name, arm.kind) for arm in task.arms] == [
        ("scratch", "baseline"),
        ("deep", "transfer"),
        ("same", "transfer"),
    ]
    report = (folder / "done" / "report" / "report.md").read_text()
    assert "starts from torchvision:mobilenet_v3_small, so what is found holds for this pretrained network" in report


@pytest.mark.parametrize(
    ("source", "arms", "words"),
    [
        (
            {"cut": "features.33"},
            {},
            "source.path: cut: torchvision:mobilenet_v3_small has no layer 'features.33'. Did",
        ),
        ({"size": 0}, {}, "source.path: size: expected the side of images, 1 or more, found 0."),
        ({"arch": "torchvision:mobilnet_v3_small"}, {}, "Did you mean 'mobilenet_v3_small'"),
        ({"path": "torchvision:resnet18"}, {}, "arch: torchvision:resnet18 says what it is. Leave it out"),
        ({"arch": None}, {}, "weights.pth is no SB3 zip. If it is a file of weights, name the network"),
        ({"activation": "ReLU"}, {}, "source.path: activation: of an agent, and weights.pth is a pretrained network."),
        ({}, {"deep": {"kind": "frozen", "layers": 5}}, "tasks.empty: arms.deep: "),
    ],
)
def test_a_study_says_its_mistakes_before_anything_is_trained(
    source: dict[str, Any], arms: dict[str, Any], words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["study", "run", study_file(folder, arms=arms, **source), "-f", "done", "--jobs", "1"]) == 2
    written = capsys.readouterr().err
    assert words in written
    assert written.count("\n") == 1
    assert not (folder / "done").exists()


def test_the_network_in_an_artifact_was_cut_already(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_encoder("weights.pth", **STATED).save(folder / "network")
    assert main(["plan", "--from", "network", "--cut", "features.1", *PICTURES.split()]) == 2
    assert "rltransfer extract NETWORK --cut features.1 -o network" in capsys.readouterr().err


def test_a_baseline_and_agents_have_no_architecture_of_a_source(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = {"kind": "scratch", "arch": "source"}
    with pytest.raises(ValueError, match="'scratch' with the strategy 'scratch' alone is needed as the baseline"):
        study({"scratch": same})
    load_encoder("weights.pth", **STATED).save(folder / "network")
    make_agent("ppo").save(folder / "agent.zip")
    nothing = dict.fromkeys(STATED)
    for path, code in (("network", 0), ("agent.zip", 2)):
        file = study_file(folder, arms={"same": same}, path=path, n_timesteps=288, **nothing)
        config = read_study(Path(file))
        waiting = [job.config for job in expand_study(config, folder / "done")]
        if code == 0:
            check_study(config, waiting)
        else:
            assert main(["study", "run", file, "-f", "done"]) == code
    assert "arms.same: scratch with arch 'source' is of a pretrained network" in capsys.readouterr().err


def test_plain_scratch_is_written_as_it_was_before_there_was_an_architecture() -> None:
    assert dump_strategy((Scratch(),)) == ({"kind": "scratch"},)
    assert dump_strategy(parse_strategy({"kind": "scratch", "arch": "source"})) == (
        {"kind": "scratch", "arch": "source"},
    )


def test_runs_of_before_go_on(folder: Path) -> None:
    load_encoder("weights.pth", **STATED).save(folder / "network")
    # As it was begun before anything could be stated but statistics and activation function.
    job = expand_study(study(path="network", **dict.fromkeys(STATED)), folder / "study")[-1]
    train_run(job.config, job.folder)
    path = job.folder / "rltransfer" / "config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in settings.items() if name not in STATED}))
    assert has_settings_of(job, job.folder)
    assert read_settings(job.folder).outcome_settings() | {"source": "network"} == job.config.outcome_settings()
