"""Replay buffers made to do harm, or damaged: each is refused with one message, and nothing in it runs."""

import contextlib
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from rltransfer.errors import SourceError
from rltransfer.replay_file import read_replay_buffer

CANARY = "canary"
CALLS = [
    ("os", "system", ["touch canary"]),
    ("posix", "system", ["touch canary"]),
    ("builtins", "eval", ["open('canary', 'w')"]),
    ("builtins", "getattr", ["a", "join"]),
    ("pathlib", "Path.touch", ["canary"]),
    ("subprocess", "Popen", [["touch", "canary"]]),
    ("torch", "load", ["canary"]),
    ("torch.serialization", "load", ["canary"]),
    ("numpy", "load", ["canary"]),
    ("stable_baselines3.common.buffers", "th.load", ["canary"]),
    ("stable_baselines3.common.buffers", "np.save", ["canary", 1]),
    ("stable_baselines3.common.save_util", "load_from_pkl", ["canary"]),
    ("stable_baselines3.her.her_replay_buffer", "copy.copy", ["canary"]),
    ("cloudpickle.cloudpickle", "_make_function", []),
]


def buffer(size: int = 8) -> ReplayBuffer:
    made = ReplayBuffer(size, spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,)), device="cpu")
    for _ in range(5):
        made.add(np.ones((1, 2)), np.zeros((1, 2)), np.ones((1, 1)), np.ones(1), np.zeros(1), [{}])
    return made


def pickled_call(module: str, name: str, arguments: list[Any]) -> bytes:
    """Returns a pickle that calls ``module.name(*arguments)`` when it is loaded."""
    content = b"\x80\x04" + b"".join(pickle.dumps(text, 4)[2:-1] for text in (module, name)) + b"\x93("
    return content + b"".join(pickle.dumps(argument, 4)[2:-1] for argument in arguments) + b"tR."


class _Payload:
    """Unpickles as a call; stands inside a real buffer."""

    def __reduce__(self) -> Any:
        return eval, ("open('canary', 'w')",)


@pytest.fixture(autouse=True)
def _in_a_folder_that_stays_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path / CANARY).exists()


@pytest.mark.parametrize(("module", "name", "arguments"), CALLS)
def test_a_pickle_that_names_something_else_is_refused_by_that_name(
    module: str, name: str, arguments: list[Any]
) -> None:
    Path("a.pkl").write_bytes(pickled_call(module, name, arguments))
    with pytest.raises(SourceError) as error:
        read_replay_buffer("a.pkl")
    assert f"a.pkl is refused: it names {module}.{name}, which the transitions" in str(error.value)


@pytest.mark.parametrize("place", ["infos", "observation_space", "device", "rewards"])
def test_a_payload_inside_a_real_buffer_is_refused(place: str) -> None:
    hostile = buffer()
    setattr(hostile, place, _Payload())
    Path("a.pkl").write_bytes(pickle.dumps(hostile))
    with pytest.raises(SourceError, match=r"a\.pkl is refused: it names builtins\.eval"):
        read_replay_buffer("a.pkl")


@pytest.mark.parametrize(
    "change",
    [
        {"dones": None},
        {"dones": np.zeros(8)},
        {"rewards": np.zeros((7, 1))},
        {"rewards": np.array([[object()]] * 8)},
        {"observations": {"a": np.zeros((8, 1, 2))}},
        {"pos": -1},
        {"pos": 9},
        {"pos": "five"},
        {"full": True, "pos": 99},
        {"actions": [[1.0]]},
    ],
)
def test_buffers_whose_arrays_do_not_belong_together_are_refused(change: dict[str, Any]) -> None:
    broken = buffer()
    vars(broken).update(change)
    Path("a.pkl").write_bytes(pickle.dumps(broken))
    with pytest.raises(
        SourceError,
        match=r"a\.pkl is (not the pickle of a replay buffer, or it is damaged|refused: it names builtins\.object)",
    ):
        read_replay_buffer("a.pkl")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"words",
        b"\x80\x04N.",
        b"\x80\x04]r\xff\xff\xff\x7f.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",
        b"\x80\x04" + b"]" * 100 + b".",
        pickle.dumps({"observations": 1}),
        pickle.dumps(np.zeros(3)),
    ],
)
def test_pickles_that_are_none(content: bytes) -> None:
    Path("a.pkl").write_bytes(content)
    with pytest.raises(SourceError, match=r"a\.pkl is (not the pickle of a replay buffer|refused)"):
        read_replay_buffer("a.pkl")


def test_damaged_buffers_never_do_worse_than_one_message() -> None:
    content = pickle.dumps(buffer())
    rng = random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        Path("a.pkl").write_bytes(damaged if rng.random() < 0.5 else damaged[: rng.randrange(len(damaged))])
        with contextlib.suppress(SourceError):
            read_replay_buffer("a.pkl")
