"""The statistics, settings and replay buffers that lie beside an agent's zip, under everybody's names for them."""

import hashlib
import json
import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agents import make_agent, normalised
from stable_baselines3.common.vec_env import VecFrameStack, VecNormalize

from rltransfer import Finetune, Full, apply_plan, cli, load_encoder, plan_transfer
from rltransfer.errors import IncompatibleError, SourceError


def statistics(mean: float, env: str = "Pendulum-v1") -> VecNormalize:
    """Returns a VecNormalize whose statistics can be told from others'."""
    wrapper = normalised(env)
    wrapper.obs_rms.mean += mean
    return wrapper


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent and the statistics of several trainings; the mean of each is its name."""
    folder = tmp_path_factory.mktemp("files")
    make_agent("ppo", normalised("Pendulum-v1"), seed=7).save(folder / "agent.zip")
    for mean in (1, 2, 3):
        statistics(mean).save(str(folder / f"{mean}.pkl"))
    statistics(9, "CartPole-v1").save(str(folder / "other.pkl"))
    return folder


def lay(files: Path, folder: Path, layout: dict[str, str]) -> Path:
    """Copies files to where a layout says; the first one is the source."""
    for place, name in layout.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(files / name, folder / place)
    return folder / next(iter(layout))


def mean_of(encoder: Any) -> float | None:
    return None if encoder.normaliser is None else round(float(encoder.normaliser.observation.mean[0]))


def findings(encoder: Any) -> dict[str, Any]:
    agent = make_agent("ppo", normalised("Pendulum-v1"))
    return {finding.kind: finding for finding in plan_transfer(encoder, agent, Finetune()).findings}


def raw_findings(encoder: Any) -> dict[str, Any]:
    """Returns what is found for an agent that leaves its observations as they are."""
    plan = plan_transfer(encoder, make_agent("ppo", "Pendulum-v1"), Full())
    return {finding.kind: finding for finding in plan.findings}


LAYOUTS: dict[str, dict[str, str]] = {
    "RL Zoo": {"Env-v0.zip": "agent.zip", "Env-v0/vecnormalize.pkl": "1.pkl"},
    "SB3's documentation": {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"},
    "without the dash": {"ppo.zip": "agent.zip", "vecnormalize.pkl": "1.pkl"},
    "Isaac Lab": {"model.zip": "agent.zip", "model_vecnormalize.pkl": "1.pkl"},
    "named after the zip, with a dash": {"a.b.zip": "agent.zip", "a.b_vec_normalize.pkl": "1.pkl"},
    "checkpoint": {"ppo_500_steps.zip": "agent.zip", "ppo_vecnormalize_500_steps.pkl": "1.pkl"},
    "checkpoint of a long prefix": {
        "my_run_2_500_steps.zip": "agent.zip",
        "my_run_2_vecnormalize_500_steps.pkl": "1.pkl",
    },
    "best agent": {"best_model.zip": "agent.zip", "best_model_vecnormalize.pkl": "1.pkl"},
    "its own before the general": {
        "ppo.zip": "agent.zip",
        "ppo_vecnormalize.pkl": "1.pkl",
        "vec_normalize.pkl": "2.pkl",
    },
    "checkpoint with checkpoint": {
        "ppo_500_steps.zip": "agent.zip",
        "ppo_900_steps.zip": "agent.zip",
        "ppo_vecnormalize_900_steps.pkl": "2.pkl",
        "ppo_vecnormalize_500_steps.pkl": "1.pkl",
        "ppo_vecnormalize.pkl": "3.pkl",
    },
    "two names for the same": {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl", "vecnormalize.pkl": "1.pkl"},
    "only one fits": {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl", "vecnormalize.pkl": "other.pkl"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_statistics_are_found_under_the_usual_names(layout: str, files: Path, tmp_path: Path) -> None:
    encoder = load_encoder(lay(files, tmp_path, LAYOUTS[layout]))
    assert mean_of(encoder) == 1
    assert "normalisation_unknown" not in findings(encoder)
    assert encoder.statistics.file in {str(tmp_path / place) for place in LAYOUTS[layout]}


@pytest.mark.parametrize(("which", "mean"), [("best", 1), ("last", 2), ("500", 3)])
def test_which_chooses_the_statistics_too(which: str, mean: int, files: Path, tmp_path: Path) -> None:
    layout = {
        "best_model.zip": "agent.zip",
        "best_model_vecnormalize.pkl": "1.pkl",
        "Env-v0.zip": "agent.zip",
        "Env-v0/vecnormalize.pkl": "2.pkl",
        "ppo_500_steps.zip": "agent.zip",
        "ppo_vecnormalize_500_steps.pkl": "3.pkl",
    }
    lay(files, tmp_path, layout)
    encoder = load_encoder(tmp_path, which)
    assert (mean_of(encoder), encoder.source.which) == (mean, which)
    # The statistics of the other agents are theirs.
    assert encoder.statistics.unused == ()


def test_checkpoints_of_two_trainings_are_a_question(files: Path, tmp_path: Path) -> None:
    lay(files, tmp_path, {"a_500_steps.zip": "agent.zip", "b_500_steps.zip": "agent.zip"})
    with pytest.raises(SourceError, match=r"several agents of 500 steps: a_500_steps\.zip, b_500_steps\.zip.*Name one"):
        load_encoder(tmp_path, "500")


@pytest.mark.parametrize("agent", ["best_model.zip", "ppo_500_steps.zip"])
@pytest.mark.parametrize("place", ["vec_normalize.pkl", "Env-v0/vecnormalize.pkl"])
def test_statistics_of_the_end_serve_an_earlier_agent_and_the_plan_says_so(
    agent: str, place: str, files: Path, tmp_path: Path
) -> None:
    encoder = load_encoder(lay(files, tmp_path, {agent: "agent.zip", "Env-v0.zip": "agent.zip", place: "1.pkl"}))
    assert mean_of(encoder) == 1
    finding = findings(encoder)["statistics_of_another_moment"]
    assert finding.severity == "warning"
    assert place in finding.words
    again = load_encoder(encoder.save(tmp_path / "artifact"))
    assert findings(again)["statistics_of_another_moment"] == finding


@pytest.mark.parametrize(
    "layout",
    [
        {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl", "vecnormalize.pkl": "2.pkl"},
        {"ppo.zip": "agent.zip", "ppo_vecnormalize.pkl": "1.pkl", "ppo/vecnormalize.pkl": "2.pkl"},
        {"best_model.zip": "agent.zip", "a/vecnormalize.pkl": "1.pkl", "b/vecnormalize.pkl": "2.pkl"},
    ],
)
def test_of_two_likely_files_none_is_taken_in_silence(layout: dict[str, str], files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, layout)
    with pytest.raises(SourceError, match="which differ. Say which: --normaliser ") as error:
        load_encoder(source)
    candidates = [tmp_path / place for place in list(layout)[1:]]
    assert all(str(path) in str(error.value) for path in candidates)
    assert [mean_of(load_encoder(source, normaliser=path)) for path in candidates] == [1, 2]


def test_other_statistics_are_named(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layout = {"ppo.zip": "agent.zip", "norm.pkl": "1.pkl", "old.pickle": "2.pkl", "vec_normalize.pkl": "other.pkl"}
    source = lay(files, tmp_path, layout | {"Env-v0/vecnormalize.pkl": "3.pkl"})
    (tmp_path / "notes.pkl").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    (tmp_path / "text.pkl").write_text("no pickle")
    encoder = load_encoder(source)
    names = ("norm.pkl", "old.pickle", "vec_normalize.pkl", "Env-v0/vecnormalize.pkl")
    assert encoder.normaliser is None
    assert encoder.statistics.unused == names
    results = findings(encoder)
    assert results["statistics_unused"].severity == "warning"
    assert all(name in results["statistics_unused"].words for name in names)
    assert "--normaliser FILE" in results["statistics_unused"].words
    assert not any("no statistics lie beside" in finding.words for finding in results.values())
    assert cli.main(["inspect", str(source)]) == 0
    shown = capsys.readouterr().out
    assert "none: the source saw raw observations, or its statistics were not recognised" in shown
    assert all(name in shown for name in names)


def test_a_subclass_of_vecnormalize_is_named_and_not_read(files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip"})
    path = tmp_path / "norm.pkl"
    path.write_bytes((files / "1.pkl").read_bytes().replace(b"vec_normalize", b"mine_normaliz"))
    assert load_encoder(source).statistics.unused == ("norm.pkl",)
    with pytest.raises(SourceError, match=r"it names stable_baselines3\.common\.vec_env\.mine_normaliz"):
        load_encoder(source, normaliser=path)


def test_statistics_are_known_by_their_start_whatever_their_suffix(files: Path, tmp_path: Path) -> None:
    names = ("stats", "vecnorm.pth", "vecnormalize.bin")
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip"} | dict.fromkeys(names, "1.pkl"))
    (tmp_path / "train.py").write_text("from stable_baselines3.common.vec_env.vec_normalize import VecNormalize\n")
    (tmp_path / "notes").write_text("vec_normalize keeps a RunningMeanStd")
    (tmp_path / "weights.bin").write_bytes(pickle.dumps({"a": np.zeros(3)}))
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    encoder = load_encoder(source)
    assert encoder.statistics.unused == names
    results = findings(encoder)
    assert all(name in results["statistics_unused"].words for name in names)
    assert "comes without statistics of its own" in raw_findings(encoder)["normalisation_unknown"].words
    assert all(mean_of(load_encoder(source, normaliser=tmp_path / name)) == 1 for name in names)


def of_a_subclass(content: bytes) -> bytes:
    return content.replace(b"vec_normalize", b"mine_normaliz")


def of_a_nan(_: bytes) -> bytes:
    wrapper = statistics(1)
    wrapper.obs_rms.mean[0] = np.nan
    return pickle.dumps(wrapper)


UNREADABLE: dict[str, tuple[Any, str]] = {
    "subclass": (of_a_subclass, "it names stable_baselines3.common.vec_env.mine_normaliz"),
    "another pickle": (lambda _: pickle.dumps({"mean": [1.0, 2.0]}), "is not the pickle of a VecNormalize"),
    "empty": (lambda _: b"", "is not the pickle of a VecNormalize"),
    "cut": (lambda content: content[:100], "is not the pickle of a VecNormalize"),
    "NaN": (of_a_nan, "hold NaN or infinity"),
}


@pytest.mark.parametrize("content", UNREADABLE)
@pytest.mark.parametrize(
    ("agent", "place"),
    [
        ("ppo.zip", "vec_normalize.pkl"),
        ("ppo.zip", "vecnormalize.pkl"),
        ("best_model.zip", "unrelated/vecnormalize.pkl"),
        ("ppo_500_steps.zip", "unrelated/vec_normalize.pkl"),
    ],
)
def test_a_file_of_a_general_name_that_cannot_be_read_is_a_warning(
    content: str, agent: str, place: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lay(files, tmp_path, {agent: "agent.zip", place: "1.pkl"})
    change, reason = UNREADABLE[content]
    (tmp_path / place).write_bytes(change((files / "1.pkl").read_bytes()))
    encoder = load_encoder(source)
    assert (encoder.normaliser, encoder.statistics.unused) == (None, ())
    results = findings(encoder)
    assert results["unreadable_files"].severity == "warning"
    assert all(words in results["unreadable_files"].words for words in (str(tmp_path / place), reason, "--normaliser"))
    assert "comes without statistics of its own" in raw_findings(encoder)["normalisation_unknown"].words
    again = load_encoder(encoder.save(tmp_path / "artifact"))
    assert findings(again)["unreadable_files"] == results["unreadable_files"]
    assert cli.main(["inspect", str(source)]) == 0
    assert reason in capsys.readouterr().out
    with pytest.raises(SourceError, match=re.escape(reason)):
        load_encoder(source, normaliser=tmp_path / place)
    stated = load_encoder(source, normaliser=files / "2.pkl")
    assert mean_of(stated) == 2
    assert "unreadable_files" not in findings(stated)


def test_what_can_be_read_is_taken_beside_what_cannot(files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"})
    (tmp_path / "vecnormalize.pkl").write_bytes(b"")
    encoder = load_encoder(source)
    assert mean_of(encoder) == 1
    assert str(tmp_path / "vecnormalize.pkl") in findings(encoder)["unreadable_files"].words


@pytest.mark.parametrize("place", ["ppo_vecnormalize.pkl", "ppo_vec_normalize.pkl", "ppo/vecnormalize.pkl"])
def test_a_file_named_after_the_zip_must_be_readable(place: str, files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip", place: "1.pkl"})
    (tmp_path / place).write_bytes(b"")
    with pytest.raises(SourceError, match="is not the pickle of a VecNormalize"):
        load_encoder(source)


def test_that_no_statistics_lie_there_is_said_where_it_is_true(files: Path, tmp_path: Path) -> None:
    encoder = load_encoder(lay(files, tmp_path, {"ppo.zip": "agent.zip"}))
    agent = make_agent("ppo", "Pendulum-v1")
    (finding,) = [
        finding for finding in plan_transfer(encoder, agent, Full()).findings if finding.kind == "normalisation_unknown"
    ]
    assert finding.words.startswith("no statistics lie beside the source")
    assert "--normaliser FILE" in finding.words


def test_statistics_beside_several_agents_are_taken_with_a_warning(files: Path, tmp_path: Path) -> None:
    layout = {"a.zip": "agent.zip", "b.zip": "agent.zip", "c.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"}
    encoder = load_encoder(
        lay(files, tmp_path, layout | {"c_vecnormalize.pkl": "2.pkl", "best_model.zip": "agent.zip"})
    )
    assert mean_of(encoder) == 1
    finding = findings(encoder)["statistics_shared"]
    assert "may be those of b.zip in the same folder" in finding.words
    assert mean_of(load_encoder(tmp_path / "c.zip")) == 2


@pytest.mark.parametrize(
    ("settings", "is_taken"),
    [
        ("policy: MlpPolicy\nframe_stack: 3\n", True),
        ("policy: MlpPolicy\nframe_stack: 9\n", False),
        ("policy: MlpPolicy\nframe_stack: many\n", False),
        ("policy: MlpPolicy\n", False),
        ("frame_stack: 3\n", False),
        (None, False),
    ],
)
def test_statistics_of_single_frames_serve_an_agent_that_is_known_to_stack_them(
    settings: str | None, is_taken: bool, tmp_path: Path
) -> None:
    env = VecFrameStack(normalised("Pendulum-v1"), 3)
    make_agent("ppo", env).save(tmp_path / "ppo.zip")
    env.venv.save(str(tmp_path / "vec_normalize.pkl"))
    if settings is not None:
        (tmp_path / "config.yml").write_text(settings)
    encoder = load_encoder(tmp_path / "ppo.zip")
    stated = load_encoder(tmp_path / "ppo.zip", normaliser=tmp_path / "vec_normalize.pkl")
    assert encoder.observation_space.shape == (9,)
    assert stated.normaliser.observation.mean.shape == (3,)
    assert (encoder.normaliser is not None) == is_taken
    assert encoder.statistics.unused == (() if is_taken else ("vec_normalize.pkl",))


def test_statistics_can_be_stated(files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"})
    encoder = load_encoder(source, normaliser=str(files / "2.pkl"))
    assert mean_of(encoder) == 2
    assert encoder.statistics.unused == ()
    agent = make_agent("ppo", normalised("Pendulum-v1"))
    apply_plan(plan_transfer(encoder, agent, Full()), agent)
    assert round(agent.get_vec_normalize_env().obs_rms.mean[0]) == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("3.plk", r"normaliser: the file .*3\.plk does not exist\. Did you mean '3\.pkl'"),
        ("other.pkl", r"statistics of observations of shape \[4\], and the source's observations are Box \(3,\)"),
        ("agent.zip", r"agent\.zip is not the pickle of a VecNormalize"),
        ("", "is a folder, and no file"),
    ],
)
def test_stated_statistics_that_cannot_be_are_refused(name: str, message: str, files: Path) -> None:
    with pytest.raises(SourceError, match=message):
        load_encoder(files / "agent.zip", normaliser=files / name)


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        (".", r"normaliser: \. is a folder, and no file\. Give the pickle"),
        ("/dev/null", "normaliser: /dev/null is a device or a pipe, and no file"),
        ("pipe", "normaliser: pipe is a device or a pipe, and no file"),
        ("", "normaliser: expected a file, found an empty text"),
    ],
)
def test_what_is_stated_for_statistics_and_is_no_file_is_called_what_it_is(
    stated: str,
    message: str,
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip"})
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with pytest.raises(SourceError, match=message):
        load_encoder(source, normaliser=stated)
    assert cli.main(["inspect", "ppo.zip", "--normaliser", stated]) == 2
    error = capsys.readouterr().err
    assert "does not exist" not in error
    assert re.search(message, error)


def test_an_artifact_takes_statistics_only_if_it_has_none(files: Path, tmp_path: Path) -> None:
    bare = load_encoder(lay(files, tmp_path, {"ppo.zip": "agent.zip"})).save(tmp_path / "bare")
    encoder = load_encoder(bare, normaliser=files / "2.pkl")
    assert mean_of(encoder) == 2
    full = encoder.save(tmp_path / "full")
    assert load_encoder(full).statistics.file == str(files / "2.pkl")
    with pytest.raises(SourceError, match="holds the statistics of its source already.*rltransfer extract SOURCE"):
        load_encoder(full, normaliser=files / "1.pkl")


def test_artifacts_of_before_are_read(files: Path, tmp_path: Path) -> None:
    encoder = load_encoder(lay(files, tmp_path, {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"}))
    manifest = json.loads((encoder.save(tmp_path / "now") / "manifest.json").read_text())
    assert (manifest["policy_class"], manifest["statistics"]["file"]) == (
        "stable_baselines3.common.policies.ActorCriticPolicy",
        str(tmp_path / "vec_normalize.pkl"),
    )
    for key in ("policy_class", "extractor_class", "statistics"):
        del manifest[key]
    manifest["manifest_sha256"] = "0" * 64
    text = json.dumps(manifest, indent=2) + "\n"
    (tmp_path / "now" / "manifest.json").write_text(text.replace("0" * 64, hashlib.sha256(text.encode()).hexdigest()))
    old = load_encoder(tmp_path / "now")
    assert (mean_of(old), old.policy_class, old.statistics) == (1, None, None)
    assert findings(old).keys() <= {"unknown_score"}


HUB = {
    "args.yml": "!!python/object/apply:collections.OrderedDict\n- - - algo\n    - ppo\n  - - env\n    - Pendulum-v1\n"
    "  - - env_kwargs\n    - null\n  - - seed\n    - 3\n",
    "config.yml": "!!python/object/apply:collections.OrderedDict\n- - - normalize\n    - true\n  - - policy\n"
    "    - MlpPolicy\n  - - n_timesteps\n    - 1000.0\n",
    "env_kwargs.yml": "g: 9.0\n",
}


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_folder_of_the_hub_is_read(is_folder: bool, files: Path, tmp_path: Path) -> None:
    layout = {"ppo-Pendulum-v1.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"}
    source = lay(files, tmp_path, layout)
    shutil.make_archive(str(tmp_path / "train_eval_metrics"), "zip", files, "agent.zip")
    for name, text in HUB.items():
        (tmp_path / name).write_text(text)
    encoder = load_encoder(tmp_path if is_folder else source)
    assert mean_of(encoder) == 1
    assert (encoder.source.task.env, encoder.source.task.kwargs) == ("Pendulum-v1", {"g": 9.0})
    assert encoder.hyperparams["normalize"] is True
    assert encoder.statistics.agents == ()


def test_files_of_such_names_that_are_not_rl_zoos_say_nothing(files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip"})
    (tmp_path / "config.yml").write_text("normalize: true\nport: 80\n")
    (tmp_path / "args.yml").write_text("env: production\n")
    encoder = load_encoder(source)
    assert encoder.source.task is None
    assert not encoder.hyperparams.keys() & {"normalize", "port"}


BROKEN_YAML = {
    "tag": "a: !include other.yml\n",
    "list": "- a\n- b\n",
    "empty": "",
    "twice": "a: 1\na: 2\n",
    "number as key": "1: a\n",
    "no YAML": "{a",
}


@pytest.mark.parametrize("text", BROKEN_YAML)
@pytest.mark.parametrize("name", HUB)
@pytest.mark.parametrize("place", [".", "unrelated"])
def test_settings_of_a_general_name_that_cannot_be_read_are_a_warning(
    text: str, name: str, place: str, files: Path, tmp_path: Path
) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"})
    (tmp_path / place).mkdir(exist_ok=True)
    for other, content in HUB.items():
        (tmp_path / place / other).write_text(BROKEN_YAML[text] if other == name else content)
    encoder = load_encoder(source)
    assert mean_of(encoder) == 1
    finding = findings(encoder)["unreadable_files"]
    assert finding.severity == "warning"
    assert str(tmp_path / place / name) in finding.words
    assert ("normalize" in encoder.hyperparams) == (name != "config.yml")
    assert (encoder.source.task is None) == (name == "args.yml")
    assert load_encoder(encoder.save(tmp_path / "artifact")).statistics == encoder.statistics


@pytest.mark.parametrize("name", ["config.yml", "args.yml"])
def test_settings_in_the_folder_named_after_the_zip_must_be_readable(name: str, files: Path, tmp_path: Path) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip"})
    (tmp_path / "ppo").mkdir()
    (tmp_path / "ppo" / name).write_text(BROKEN_YAML["tag"])
    with pytest.raises(SourceError, match=rf"{name}: line 1: the tag '!include' is refused"):
        load_encoder(source)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.yml", "policy: {rules: []}\nnormalize: true\n"),
        ("config.yml", "policy: a\nkey: !!binary gIGC\n"),
        ("config.yml", "policy: a\nkeys: !!set {a, b}\n"),
        ("args.yml", "algo: [ppo]\nenv: production\n"),
        ("args.yml", "algo: a\nenv: production\nenv_kwargs: !!binary gIGC\n"),
        ("args.yml", "algo: a\nenv: b\nenv_kwargs: {keys: !!binary gIGC}\n"),
        ("env_kwargs.yml", "- a\n"),
    ],
)
@pytest.mark.parametrize("place", [".", "unrelated"])
def test_settings_that_are_anybodys_are_no_error(
    name: str, text: str, place: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = lay(files, tmp_path, {"ppo.zip": "agent.zip", "vec_normalize.pkl": "1.pkl"})
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / name).write_text(text)
    encoder = load_encoder(source)
    assert encoder.hyperparams.get("normalize") is None
    findings(encoder)
    load_encoder(encoder.save(tmp_path / "artifact"))
    assert cli.main(["inspect", str(source), "--json"]) == 0


@pytest.mark.parametrize(
    ("agent", "buffers", "expected"),
    [
        ("sac.zip", ["replay_buffer.pkl"], "replay_buffer.pkl"),
        ("sac.zip", ["replay_buffer.pkl", "sac_replay_buffer.pkl"], "sac_replay_buffer.pkl"),
        ("sac_pendulum.zip", ["sac_replay_buffer.pkl"], "sac_replay_buffer.pkl"),
        ("sac_500_steps.zip", ["sac_replay_buffer_500_steps.pkl"], "sac_replay_buffer_500_steps.pkl"),
        (
            "a_500_steps.zip",
            ["a_replay_buffer_500_steps.pkl", "replay_buffer.pkl"],
            "a_replay_buffer_500_steps.pkl",
        ),
        ("best_model.zip", ["replay_buffer.pkl"], "replay_buffer.pkl"),
        ("sac_500_steps.zip", ["sac_replay_buffer_900_steps.pkl", "replay_buffer.pkl"], None),
        ("sac.zip", ["a_replay_buffer.pkl", "b_replay_buffer.pkl"], None),
    ],
)
def test_replay_buffers_are_found_under_sb3s_names(
    agent: str, buffers: list[str], expected: str | None, tmp_path: Path
) -> None:
    source = make_agent("sac").learn(20)
    source.save(tmp_path / agent)
    for name in buffers:
        source.save_replay_buffer(tmp_path / name)
    encoder = load_encoder(tmp_path / agent)
    assert encoder.replay_buffer == (None if expected is None else tmp_path / expected)
    if expected is None:
        with pytest.raises(IncompatibleError, match="none has the name of its own replay buffer: rename") as error:
            plan_transfer(encoder, make_agent("sac"), "replay")
        assert all(name in str(error.value) for name in buffers)


def test_a_replay_buffer_of_another_agent_is_its_own(tmp_path: Path) -> None:
    source = make_agent("sac").learn(20)
    for name in ("a", "b"):
        source.save(tmp_path / f"{name}.zip")
    source.save_replay_buffer(tmp_path / "b_replay_buffer.pkl")
    assert load_encoder(tmp_path / "a.zip").replay_buffer is None
