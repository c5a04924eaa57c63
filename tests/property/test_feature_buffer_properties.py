"""A replay buffer that holds each feature vector once gives what SB3's gives, whatever was written into it."""

import copy
import pickle
import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.buffers import ReplayBuffer

from rltransfer.transfer.feature_buffer import replay_buffer_of_features

FEATURES = 2
SPACE = spaces.Box(-np.inf, np.inf, (FEATURES,), np.float32)
ACTIONS = spaces.Box(-1.0, 1.0, (2,), np.float32)
# Few, so that what follows by chance is what was expected; equal numbers of different bits among them.
NUMBERS = np.array([0.0, -0.0, 1.0, np.nan], np.float32)


def buffers(rows: int, n_envs: int, *, timeouts: bool = True) -> tuple[Any, Any]:
    """Returns a replay buffer of SB3's and one of ours."""
    size, places = rows * n_envs, {"device": "cpu", "n_envs": n_envs, "handle_timeout_termination": timeouts}
    return ReplayBuffer(size, SPACE, ACTIONS, **places), replay_buffer_of_features(size, SPACE, ACTIONS, **places)


class Episodes:
    """Transitions of some environments, as SB3's off-policy algorithms store them."""

    def __init__(self, n_envs: int, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._n_envs = n_envs
        self.begin()

    def begin(self) -> None:
        """Begins new episodes, whatever became of the old ones."""
        self._seen = self._features()

    def transition(self) -> tuple[Any, ...]:
        n_envs, rng = self._n_envs, self._rng
        dones, cut = rng.random((2, n_envs)) < np.array([[0.2], [0.5]])
        seen, self._seen = self._seen, self._features()
        following = np.where(dones[:, None], self._features(), self._seen)
        infos = [{"TimeLimit.truncated": bool(both)} for both in dones & cut]
        return seen, following, rng.random((n_envs, 2)), rng.random(n_envs), dones, infos

    def _features(self) -> np.ndarray:
        return self._rng.choice(NUMBERS, (self._n_envs, FEATURES))


def bits(samples: Any) -> list[bytes]:
    return [part.numpy().tobytes() for part in samples if isinstance(part, torch.Tensor)]


def assert_same(stock: Any, ours: Any, seed: int) -> None:
    """Asserts that two buffers hold the same, that they draw the same, and leave NumPy's generator the same."""
    size = stock.size()
    assert (ours.size(), ours.pos, ours.full) == (size, stock.pos, stock.full)
    if size == 0:
        return
    rows, envs = (axis.ravel() for axis in np.mgrid[:size, : stock.n_envs])
    places = rows, envs, slice(None)
    assert ours.next_observations[places].tobytes() == stock.next_observations[places].tobytes()
    drawn = []
    for buffer in (stock, ours):
        np.random.seed(seed)
        drawn.append((bits(buffer.sample(16)), np.random.random()))
    assert drawn[0] == drawn[1]


def resumed(ours: Any, rows: int, n_envs: int) -> Any:
    """Returns a new buffer with what exact resume takes out of another one."""
    _, other = buffers(rows, n_envs)
    for name in ("observations", "actions", "rewards", "dones", "timeouts"):
        getattr(other, name)[:] = getattr(ours, name)
    other.pos, other.full = ours.pos, ours.full
    other.next_observations.load_state_dict(pickle.loads(pickle.dumps(ours.next_observations.state_dict())))
    return other


@settings(deadline=None, max_examples=150)
@given(
    rows=st.integers(1, 7),
    n_envs=st.integers(1, 3),
    timeouts=st.booleans(),
    seed=st.integers(0, 10_000),
    events=st.lists(
        st.sampled_from(["add"] * 8 + ["extend", "begin", "reset", "resume", "pickle", "copy"]), max_size=40
    ),
)
def test_batches_are_those_of_sb3_bit_for_bit(
    rows: int, n_envs: int, timeouts: bool, seed: int, events: list[str]
) -> None:
    stock, ours = buffers(rows, n_envs, timeouts=timeouts)
    episodes = Episodes(n_envs, seed)
    for event in events:
        if event == "add":
            transition = episodes.transition()
            stock.add(*transition)
            ours.add(*transition)
        elif event == "extend":
            transitions = list(zip(*(episodes.transition() for _ in range(3)), strict=True))
            stock.extend(*transitions)
            ours.extend(*transitions)
        elif event == "begin":
            # As ``learn`` does, or a run that cannot go on exactly.
            episodes.begin()
        elif event == "reset":
            stock.reset()
            ours.reset()
        elif event == "resume":
            ours = resumed(ours, rows, n_envs)
            ours.handle_timeout_termination = timeouts
        elif event == "pickle":
            ours = pickle.loads(pickle.dumps(ours))
        else:
            ours = copy.deepcopy(ours)
        assert_same(stock, ours, seed)
    assert len(ours.next_observations.state_dict()["apart"]) <= rows * n_envs


def test_what_was_written_may_change_and_is_kept() -> None:
    stock, ours = buffers(4, 2)
    episodes = Episodes(2, 0)
    for _ in range(6):
        transition = episodes.transition()
        for buffer in (stock, ours):
            given_now = copy.deepcopy(transition)
            buffer.add(*given_now)
            for part in given_now[:2]:
                part[:] = 7.0
        assert_same(stock, ours, 0)


def test_numbers_of_other_types_are_kept_as_sb3_keeps_them() -> None:
    stock, ours = buffers(4, 2)
    rng = np.random.default_rng(0)
    seen = rng.random((2, FEATURES))
    for _ in range(6):
        following = rng.random((2, FEATURES))
        for buffer in (stock, ours):
            buffer.add(seen, following, np.zeros((2, 2)), np.zeros(2), np.zeros(2), [{}, {}])
        seen = following
        assert_same(stock, ours, 0)
    assert len(ours.next_observations.state_dict()["apart"]) == 2


@pytest.mark.parametrize(("share_of_ends", "most"), [(0.02, 1.05), (1.0, 2.0)])
def test_each_vector_takes_its_place_once_and_terminal_ones_beside_it(share_of_ends: float, most: float) -> None:
    wide = spaces.Box(-np.inf, np.inf, (256,), np.float32)
    tracemalloc.start()
    try:
        ours: Any = replay_buffer_of_features(1000, wide, ACTIONS, device="cpu", n_envs=2)
        _, at_most = tracemalloc.get_traced_memory()
        rows = ours.observations.nbytes
        assert at_most < 1.05 * rows
        rng = np.random.default_rng(0)
        seen = rng.random((2, 256), np.float32)
        for _ in range(1700):
            dones = rng.random(2) < share_of_ends
            following = rng.random((2, 256), np.float32)
            last = np.where(dones[:, None], rng.random((2, 256), np.float32), following)
            ours.add(seen, last, np.zeros((2, 2)), np.zeros(2), dones, [{}, {}])
            seen = following
        now, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows + ours.next_observations.nbytes <= most * rows
    # With what Python needs for each that is kept apart.
    assert now < 1.25 * most * rows
