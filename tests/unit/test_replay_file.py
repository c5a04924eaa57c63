import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import DictReplayBuffer, NStepReplayBuffer, ReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

from rltransfer.errors import SourceError
from rltransfer.replay_file import read_replay_buffer

BOX = spaces.Box(-10, 10, (2,), np.float32)
GOALS = spaces.Dict(observation=BOX, achieved_goal=BOX, desired_goal=BOX)
ACTIONS = spaces.Box(-3, 3, (1,), np.float32)
STEPS_PER_EPISODE = 4


def fill(buffer: Any, moments: int) -> Any:
    """Adds transitions that tell when and where they were; each fourth ends, each eighth since time runs out."""
    envs = buffer.n_envs
    for moment in range(moments):
        names = np.arange(envs) + 10.0 * moment
        ends = (moment + 1) % STEPS_PER_EPISODE == 0
        runs_out = (moment + 1) % (2 * STEPS_PER_EPISODE) == 0
        sides = [np.stack([names, names + shift], axis=1).astype(np.float32) for shift in (0.0, 0.5)]
        if isinstance(buffer.observation_space, spaces.Dict):
            sides = [{key: side.copy() for key in GOALS.spaces} for side in sides]  # type: ignore[misc]
        infos = [{"TimeLimit.truncated": runs_out} for _ in range(envs)]
        buffer.add(*sides, names[:, None] / 1000, names, np.full(envs, ends), infos)
    return buffer


def written(folder: Path, buffer: Any, protocol: int = pickle.HIGHEST_PROTOCOL) -> Path:
    path = folder / "replay_buffer.pkl"
    path.write_bytes(pickle.dumps(buffer, protocol=protocol))
    return path


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize(("moments", "kept"), [(3, range(3)), (6, range(6)), (9, range(3, 9)), (14, range(8, 14))])
@pytest.mark.parametrize("kind", [ReplayBuffer, NStepReplayBuffer])
def test_every_transition_is_read_exactly_the_latest_last(
    kind: Any, moments: int, kept: range, protocol: int, tmp_path: Path
) -> None:
    buffer = fill(kind(12, BOX, ACTIONS, device="cpu", n_envs=2), moments)
    transitions = read_replay_buffer(written(tmp_path, buffer, protocol))
    names = np.array([10.0 * moment + env for moment in kept for env in range(2)])
    assert transitions.rewards.tolist() == names.tolist()
    assert transitions.observations[""].tolist() == [[name, name] for name in names]
    assert transitions.next_observations[""].tolist() == [[name, name + 0.5] for name in names]
    np.testing.assert_array_equal(transitions.actions, (names[:, None] / 1000).astype(np.float32))
    ends = [float((moment + 1) % 4 == 0 and (moment + 1) % 8 != 0) for moment in kept for _ in range(2)]
    assert transitions.dones.tolist() == ends
    assert transitions.has_last
    assert len(transitions) == len(names)


@pytest.mark.parametrize("moments", [4, 6, 9])
def test_a_memory_optimised_buffer_gives_only_whole_transitions(moments: int, tmp_path: Path) -> None:
    space = spaces.Discrete(2)
    settings: dict[str, Any] = {"optimize_memory_usage": True, "handle_timeout_termination": False, "device": "cpu"}
    buffer = ReplayBuffer(6, BOX, space, **settings)
    for moment in range(moments):
        first, other = np.full(2, moment, np.float32), np.full(2, moment + 1, np.float32)
        buffer.add(first[None], other[None], np.array([moment % 2]), np.array([float(moment)]), np.array([0.0]), [{}])
    transitions = read_replay_buffer(written(tmp_path, buffer))
    # Of a full one, the oldest observation gave way to the latest.
    kept = list(range(moments)) if moments < 6 else list(range(moments - 5, moments))
    assert transitions.rewards.tolist() == kept
    assert transitions.observations[""][:, 0].tolist() == kept
    assert transitions.next_observations[""][:, 0].tolist() == [moment + 1 for moment in kept]
    assert not transitions.has_last


@pytest.mark.parametrize("kind", [DictReplayBuffer, HerReplayBuffer])
def test_dictionaries_are_read_by_key(kind: Any, tmp_path: Path) -> None:
    settings = {"env": None} if kind is HerReplayBuffer else {}
    buffer = fill(kind(20, GOALS, ACTIONS, device="cpu", n_envs=2, **settings), 5)
    transitions = read_replay_buffer(written(tmp_path, buffer))
    assert set(transitions.observations) == set(GOALS.spaces)
    for key in GOALS.spaces:
        assert transitions.observations[key][:, 0].tolist() == transitions.rewards.tolist()
        assert (transitions.next_observations[key] - transitions.observations[key])[:, 1].tolist() == [0.5] * 10


def test_images_keep_their_type(tmp_path: Path) -> None:
    buffer = ReplayBuffer(3, spaces.Box(0, 255, (3, 8, 8), np.uint8), spaces.Discrete(2), device="cpu")
    image = np.random.default_rng(0).integers(0, 256, (1, 3, 8, 8), np.uint8)
    buffer.add(image, image, np.array([1]), np.array([0.0]), np.array([0.0]), [{}])
    transitions = read_replay_buffer(written(tmp_path, buffer))
    assert transitions.observations[""].dtype == np.uint8
    assert np.array_equal(transitions.observations[""], image)
    assert (transitions.actions.dtype.kind, transitions.actions.tolist()) == ("i", [[1]])


@pytest.mark.parametrize(("size", "moments"), [(1, 1), (2, 1), (5, 2), (6, 3), (100, 7)])
def test_only_the_latest_are_read_where_a_number_is_named(size: int, moments: int, tmp_path: Path) -> None:
    buffer = fill(ReplayBuffer(20, BOX, ACTIONS, device="cpu", n_envs=2), 7)
    transitions = read_replay_buffer(written(tmp_path, buffer), size)
    assert transitions.rewards[::2].tolist() == [10.0 * moment for moment in range(7 - moments, 7)]


def test_a_buffer_from_a_gpu_needs_none(tmp_path: Path) -> None:
    buffer = fill(ReplayBuffer(6, BOX, ACTIONS, device="cpu"), 2)
    buffer.device = torch.device("cuda", 3)
    assert len(read_replay_buffer(written(tmp_path, buffer))) == 2


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    empty = ReplayBuffer(6, BOX, ACTIONS, device="cpu")
    with pytest.raises(SourceError, match="holds no transition"):
        read_replay_buffer(written(tmp_path, empty))
    for name in ("rewards", "actions", "observations", "next_observations"):
        poisoned = fill(ReplayBuffer(6, BOX, ACTIONS, device="cpu"), 4)
        getattr(poisoned, name)[2] = np.nan
        with pytest.raises(SourceError, match=f"the {name.replace('_', ' ')} hold NaN"):
            read_replay_buffer(written(tmp_path, poisoned))
        assert len(read_replay_buffer(tmp_path / "replay_buffer.pkl", 1)) == 1
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read_replay_buffer(tmp_path / "none.pkl")


def test_reading_imports_neither_torch_nor_sb3(tmp_path: Path) -> None:
    path = written(tmp_path, fill(ReplayBuffer(6, BOX, ACTIONS, device="cpu"), 4))
    code = (
        "import sys; from rltransfer.replay_file import read_replay_buffer; read_replay_buffer(sys.argv[1]);"
        "assert not {'torch', 'stable_baselines3', 'gymnasium'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
