import copy
import pickle
from typing import Any

import cloudpickle
import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer

from rltransfer.transfer.overlay import lay_over, lift


def made() -> ReplayBuffer:
    return ReplayBuffer(5, spaces.Box(-1, 1, (2,)), spaces.Discrete(2), device="cpu")


def test_methods_are_laid_over_one_object_and_lifted() -> None:
    buffer, other = made(), made()
    lay_over(buffer, {"size": lambda: 7})
    assert (buffer.size(), other.size()) == (7, 0)
    lift(buffer, ["size", "never_laid"])
    assert buffer.size() == 0
    assert vars(buffer).keys() == vars(other).keys()


def test_what_was_there_before_comes_back() -> None:
    buffer = made()
    buffer.__dict__["size"] = lambda: 1
    earlier = buffer.size
    lay_over(buffer, {"size": lambda: 1 + earlier()})
    lay_over(buffer, {"size": lambda: 5, "reset": lambda: None})
    assert buffer.size() == 5
    lift(buffer, ["size", "reset"])
    assert buffer.size() == 1
    assert "reset" not in vars(buffer)


@pytest.mark.parametrize(
    "again",
    [
        lambda buffer: pickle.loads(pickle.dumps(buffer)),
        lambda buffer: pickle.loads(pickle.dumps(buffer, protocol=pickle.HIGHEST_PROTOCOL)),
        lambda buffer: pickle.loads(pickle._dumps(buffer)),  # type: ignore[attr-defined]
        lambda buffer: cloudpickle.loads(cloudpickle.dumps(buffer)),
        copy.deepcopy,
    ],
)
def test_what_is_pickled_or_copied_is_the_object_alone(again: Any) -> None:
    buffer = made()
    buffer.add(np.ones(2), np.zeros(2), np.array([1]), np.array([2.0]), np.array([0.0]), [{}])
    lay_over(buffer, {"size": lambda: 7, "sample": lambda *_: None})
    result = again(buffer)
    assert type(result) is ReplayBuffer
    assert vars(result).keys() == vars(made()).keys()
    assert result.size() == 1
    assert result.rewards[0, 0] == 2.0
    assert b"rltransfer" not in pickle.dumps(buffer)
    assert buffer.size() == 7
