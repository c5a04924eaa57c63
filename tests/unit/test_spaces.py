import json

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.save_util import data_to_json

from rltransfer.errors import SourceError
from rltransfer.space_text import space_from_sb3_text
from rltransfer.spaces import describe, space_from_json, space_to_json

_EDGES = np.float32([4.8, np.inf, 0.41887903, np.inf])
KINDS = [
    spaces.Box(-1, 1, (3,)),
    spaces.Box(-np.inf, np.inf, (376,), np.float64),
    spaces.Box(0, 255, (40, 40, 3), np.uint8),
    spaces.Box(-_EDGES, _EDGES),
    spaces.Box(np.float32([0.1, 1 / 3]), np.float32([1e10, 1e-7 + 0.7])),
    spaces.Box(np.array([[0, 1], [2, 3]]), np.array([[4, 5], [6, 7]]), dtype=np.int64),
    spaces.Box(0, 1, (), np.float32),
    spaces.Discrete(4),
    spaces.Discrete(4, start=-1),
    spaces.MultiDiscrete([2, 3]),
    spaces.MultiDiscrete([[2, 3], [4, 5]]),
    spaces.MultiBinary(5),
    spaces.MultiBinary([2, 3]),
    spaces.Dict(a=spaces.Box(-1, 1, (3,)), b=spaces.Discrete(4, start=1), c=spaces.Box(0, 255, (8, 8, 3), np.uint8)),
    spaces.Dict(a=spaces.Box(np.float32([-1, -8]), np.float32([1, 8])), b=spaces.MultiDiscrete([2, 3])),
    spaces.Tuple([spaces.Discrete(2), spaces.MultiBinary(3)]),
]


@pytest.mark.parametrize("space", KINDS, ids=str)
def test_json_gives_the_same_space_back(space):
    again = space_from_json(json.loads(json.dumps(space_to_json(space), allow_nan=False)))
    assert again == space
    assert again.dtype == space.dtype


@pytest.mark.parametrize("space", KINDS, ids=str)
def test_the_text_that_sb3_writes_gives_the_same_space_back(space):
    assert space_from_sb3_text(_shadow(space)) == space


def _shadow(space):
    shadow = json.loads(data_to_json({"observation_space": space}))["observation_space"]
    del shadow[":serialized:"]
    return shadow


def test_text_of_the_old_gym():
    shadow = {
        ":type:": "<class 'gym.spaces.box.Box'>",
        "dtype": "float32",
        "shape": [4],
        "low": "[-4.8000002e+00 -3.4028235e+38 -4.1887903e-01 -3.4028235e+38]",
        "high": "[4.8000002e+00 3.4028235e+38 4.1887903e-01 3.4028235e+38]",
    }
    high = np.array([4.8, np.finfo(np.float32).max, 0.41887903, np.finfo(np.float32).max], np.float32)
    assert space_from_sb3_text(shadow) == spaces.Box(-high, high)
    discrete = {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": 2, "shape": [], "dtype": "int64"}
    assert space_from_sb3_text(discrete) == spaces.Discrete(2)


def test_bounds_that_numpy_shortened():
    shape = (2, 30, 30)
    low, high = np.zeros(shape, np.uint8), np.full(shape, 255, np.uint8)
    assert "..." in _shadow(spaces.Box(low, high, dtype=np.uint8))["low"]
    assert space_from_sb3_text(_shadow(spaces.Box(low, high, dtype=np.uint8))) == spaces.Box(0, 255, shape, np.uint8)
    ramp = np.arange(2000, dtype=np.float32)
    assert space_from_sb3_text(_shadow(spaces.Box(-ramp - 1, ramp))) is None


@pytest.mark.parametrize(
    "shadow",
    [
        None,
        "Box",
        {},
        {":type:": "<class 'gymnasium.spaces.text.Text'>"},
        {":type:": "<class 'evil.spaces.box.Box'>", "_shape": [1], "low": "0", "high": "1", "dtype": "float32"},
        {":type:": "<class 'gymnasium.spaces.box.Box'>"},
        {":type:": "<class 'gymnasium.spaces.box.Box'>", "_shape": [3], "low": "[0 1]", "high": "1", "dtype": "int8"},
        {":type:": "<class 'gymnasium.spaces.box.Box'>", "_shape": [1], "low": "exit()", "high": "1", "dtype": "int8"},
        {
            ":type:": "<class 'gymnasium.spaces.box.Box'>",
            "_shape": [10**6, 10**6],
            "low": "[0 ... 0]",
            "high": "[1 ... 1]",
            "dtype": "float64",
        },
        {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "__import__('os')"},
        {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "-3"},
        {":type:": "<class 'gymnasium.spaces.dict.Dict'>", "spaces": "{'a': open('x', 'w')}"},
        {":type:": "<class 'gymnasium.spaces.dict.Dict'>", "spaces": "{'a': Box(3,)}"},
        {":type:": "<class 'gymnasium.spaces.dict.Dict'>", "spaces": "{**{}}"},
        {":type:": "<class 'gymnasium.spaces.dict.Dict'>", "spaces": "(" * 5000},
    ],
    ids=lambda shadow: str(shadow)[:60],
)
def test_what_cannot_be_known_is_none(shadow):
    assert space_from_sb3_text(shadow) is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "Expected a space of a type among Box, Discrete, .* found None"),
        ({"type": "Box", "shape": [2]}, "The data of a Box space is wrong: KeyError"),
        ({"type": "Box", "shape": [2], "dtype": "object", "low": 0, "high": 1}, "entries of type object"),
        ({"type": "Box", "shape": [10**9], "dtype": "float32", "low": 0, "high": 1}, "a shape of"),
        ({"type": "Discrete", "n": 0}, "The data of a Discrete space is wrong"),
    ],
)
def test_wrong_data(content, message):
    with pytest.raises(SourceError, match=message):
        space_from_json(content)


def test_describe_of_an_unknown_space():
    assert describe(None) == "an unknown space"
    assert describe(spaces.Tuple([spaces.Discrete(2, start=1)])) == "Tuple (Discrete 2 from 1)"


def test_a_space_that_cannot_be_written():
    with pytest.raises(SourceError, match="A space of type Text cannot be written"):
        space_to_json(spaces.Text(5))
