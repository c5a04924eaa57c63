"""Every verb that reads a source, and ``load_encoder``, on sources that are made to do harm: nothing of them runs."""

import base64
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from rltransfer import load_encoder
from rltransfer.cli import main
from rltransfer.errors import RLTransferError

TARGET = "--env CartPole-v1 -params policy_kwargs:dict(net_arch=[8]) normalize:True n_steps:8 batch_size:8 n_envs:1"
VERBS = {
    "inspect": "inspect {source}",
    "extract": "extract {source} -o encoder",
    "plan": f"plan --from {{source}} {TARGET}",
    "transfer": f"transfer --from {{source}} -n 8 --eval-episodes 1 --eval-freq -1 {TARGET}",
    "pretrain": f"pretrain -i {{source}} -n 8 --eval-episodes 1 --eval-freq -1 {TARGET}",
    "study": "study run study.yaml",
}
STUDY = """
algo: ppo
seeds: 1
source: {path: SOURCE, which: best}
tasks:
  target: {env: CartPole-v1, n_timesteps: 8}
arms: {scratch: scratch, frozen: frozen}
evaluation: {episodes: 1, eval_freq: -1}
hyperparams: {n_steps: 8, batch_size: 8, n_envs: 1, normalize: true, policy_kwargs: {net_arch: [8]}}
"""


class Touches:
    """Creates a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A harmless run folder in RL Zoo's layout, of one agent."""
    env = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))
    agent = PPO("MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"net_arch": [8]}, device="cpu").learn(8)
    folder = tmp_path / "CartPole-v1_1"
    (folder / "CartPole-v1").mkdir(parents=True)
    agent.save(folder / "CartPole-v1.zip")
    env.save(str(folder / "CartPole-v1" / "vecnormalize.pkl"))
    (folder / "CartPole-v1" / "config.yml").write_text("normalize: true\n")
    (folder / "CartPole-v1" / "args.yml").write_text("env: CartPole-v1\n")
    return folder


def rewritten(folder: Path, member: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / "CartPole-v1.zip"
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[member] = change(members.get(member, b""))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def in_data(folder: Path, canary: Path) -> None:
    def change(content: bytes) -> bytes:
        data = json.loads(content)
        for shadow in data.values():
            if isinstance(shadow, dict) and ":serialized:" in shadow:
                shadow[":serialized:"] = base64.b64encode(pickle.dumps(Touches(canary))).decode()
        return json.dumps(data).encode()

    rewritten(folder, "data", change)


def in_settings(name: str) -> Callable[[Path, Path], None]:
    def make(folder: Path, canary: Path) -> None:
        text = f"!!python/object/apply:os.system [touch {canary}]\n"
        (folder / "CartPole-v1" / name).write_text(f"a: {text}")

    return make


SOURCES: dict[str, Callable[[Path, Path], Any]] = {
    "data": in_data,
    "policy.pth": lambda folder, canary: rewritten(folder, "policy.pth", lambda _: pickle.dumps(Touches(canary))),
    "pytorch_variables.pth": lambda folder, canary: rewritten(
        folder, "pytorch_variables.pth", lambda _: pickle.dumps({"a": Touches(canary)})
    ),
    "vecnormalize.pkl": lambda folder, canary: (folder / "CartPole-v1" / "vecnormalize.pkl").write_bytes(
        pickle.dumps(Touches(canary))
    ),
    "config.yml": in_settings("config.yml"),
    "args.yml": in_settings("args.yml"),
    "climbing name": lambda folder, canary: rewritten(folder, f"../{canary.name}", lambda _: b"harm"),
    "bomb": lambda folder, _: rewritten(folder, "zeros", lambda _: bytes(100 * 2**20)),
}
READ_ALL_THE_SAME = {"data"}


def test_the_payloads_would_do_harm(run: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Touches(canary)))
    assert canary.exists()


@pytest.mark.parametrize("payload", SOURCES)
def test_load_encoder_runs_nothing(payload: str, run: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    SOURCES[payload](run, canary)
    for source in (run, run / "CartPole-v1.zip"):
        if payload in READ_ALL_THE_SAME:
            assert load_encoder(source).algo == "ppo"
        else:
            with pytest.raises(RLTransferError):
                load_encoder(source)
    assert not canary.exists()


# A study that only reads what is harmless trains for long: the other verbs show that reading.
CASES = [(payload, verb) for payload in SOURCES for verb in VERBS if (payload, verb) != ("data", "study")]


@pytest.mark.parametrize(("payload", "verb"), CASES)
def test_no_verb_runs_anything(
    payload: str,
    verb: str,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    canary = tmp_path / "canary"
    SOURCES[payload](run, canary)
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY.replace("SOURCE", str(run)))
    code = main(VERBS[verb].format(source=run).split())
    errors = capsys.readouterr().err
    assert not canary.exists()
    if payload in READ_ALL_THE_SAME:
        assert code == 0
    else:
        assert code == 2
        assert errors.startswith("error: ")
        assert "Traceback" not in errors
        assert not Path("logs").exists()
