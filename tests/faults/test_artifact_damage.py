"""Every damage to an artifact is refused, naming the file; a damaged zip never loads other numbers."""

import dataclasses
import random
import shutil
import zipfile
from pathlib import Path

import pytest
import torch
from agents import encoder_of, make_agent, normalised

from rltransfer import Encoder, load_encoder
from rltransfer.errors import SourceError
from rltransfer.sb3_zip import read_sb3_zip

DAMAGES = 300


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    agent = make_agent("ppo", normalised("CartPole-v1"), seed=7).learn(32)
    return encoder_of(agent, tmp_path_factory.mktemp("source"))


def damage(content: bytes, rng: random.Random) -> bytes:
    if rng.random() < 0.3:
        return content[: rng.randrange(len(content))]
    position = rng.randrange(len(content))
    return content[:position] + bytes([content[position] ^ (1 << rng.randrange(8))]) + content[position + 1 :]


def test_an_artifact_round_trips(encoder: Encoder, tmp_path: Path) -> None:
    result = load_encoder(encoder.save(tmp_path / "artifact"))
    assert result.anatomy == encoder.anatomy
    assert result.source == encoder.source
    assert result.observation_space == encoder.observation_space
    assert result.action_space == encoder.action_space
    assert result.hyperparams == encoder.hyperparams
    assert result.normaliser is not None
    assert encoder.normaliser is not None
    assert result.normaliser.to_json() == encoder.normaliser.to_json()
    assert result.tensors.keys() == encoder.tensors.keys()
    assert all(torch.equal(result.tensors[name], tensor) for name, tensor in encoder.tensors.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["artifact"]
    assert sorted(path.name for path in (tmp_path / "artifact").iterdir()) == ["encoder.safetensors", "manifest.json"]


@pytest.mark.parametrize("name", ["encoder.safetensors", "manifest.json"])
def test_every_damage_is_refused_by_name(name: str, encoder: Encoder, tmp_path: Path) -> None:
    folder = encoder.save(tmp_path / "artifact")
    original = (folder / name).read_bytes()
    rng = random.Random(0)
    for _ in range(DAMAGES // 2):
        (folder / name).write_bytes(damage(original, rng))
        with pytest.raises(SourceError, match=name):
            load_encoder(folder)
    (folder / name).unlink()
    with pytest.raises(SourceError):
        load_encoder(folder)


def test_a_manifest_with_another_tensor_file_is_refused(encoder: Encoder, tmp_path: Path) -> None:
    folder = encoder.save(tmp_path / "artifact")
    other = encoder_of(make_agent("ppo", seed=8), tmp_path).save(tmp_path / "other")
    shutil.copy(other / "encoder.safetensors", folder / "encoder.safetensors")
    with pytest.raises(SourceError, match=r"encoder.safetensors is damaged"):
        load_encoder(folder)


@pytest.mark.parametrize("algo", ["ppo", "sac"])
def test_what_is_read_from_a_damaged_zip_equals_the_original(algo: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    make_agent(algo, seed=7).save(path)
    original, content = read_sb3_zip(path), path.read_bytes()
    facts = {field.name for field in dataclasses.fields(original)} - {"sha256", "tensors", "variables"}
    rng = random.Random(0)
    # The directory at the end is small and tells where everything is: half of the damages are there.
    directory = content.rindex(b"PK\x05\x06") - 600
    refused = 0
    for number in range(DAMAGES):
        part = content[directory:] if number % 2 else content
        path.write_bytes(content[: len(content) - len(part)] + damage(part, rng))
        try:
            result = read_sb3_zip(path)
        except SourceError as error:
            refused += 1
            assert str(path) in str(error)
            continue
        assert {name: getattr(result, name) for name in facts} == {name: getattr(original, name) for name in facts}
        for expected, actual in ((original.tensors, result.tensors), (original.variables, result.variables)):
            assert list(expected) == list(actual)
            assert all(torch.equal(actual[name], tensor) for name, tensor in expected.items())
    assert refused > DAMAGES // 2


@pytest.mark.parametrize("member", ["data", "policy.pth", "pytorch_variables.pth", "_stable_baselines3_version"])
def test_a_member_that_is_not_there_is_missed(member: str, tmp_path: Path) -> None:
    path = tmp_path / "agent.zip"
    make_agent("sac", seed=7).save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != member}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(SourceError, match=rf"agent\.zip lacks {member}"):
        load_encoder(path)


def test_saving_replaces_an_artifact_but_nothing_else(encoder: Encoder, tmp_path: Path) -> None:
    folder = encoder.save(tmp_path / "artifact")
    assert encoder.save(folder) == folder
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("mine")
    with pytest.raises(SourceError, match="no artifact"):
        encoder.save(precious)
    assert (precious / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.write_bytes(b"not a zip"), "not a zip"),
        (lambda path: path.mkdir(), "holds no agent"),
    ],
)
def test_what_is_no_source_is_named(make: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "source.zip"
    make(path)  # type: ignore[operator]
    with pytest.raises(SourceError, match=words) as caught:
        load_encoder(path)
    assert str(path) in str(caught.value)


def test_a_near_miss_of_a_path_is_suggested(encoder: Encoder, tmp_path: Path) -> None:
    encoder.save(tmp_path / "cartpole")
    with pytest.raises(SourceError, match="Did you mean 'cartpole'"):
        load_encoder(tmp_path / "cartpol")
