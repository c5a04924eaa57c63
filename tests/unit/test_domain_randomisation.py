import pickle
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.config import Task, parse_randomise
from rltransfer.domain_randomisation import Draw, Randomised
from rltransfer.errors import BrokenEnvironmentError, ConfigError, RLTransferError, UnknownNameError
from rltransfer.hyperparams import Hyperparameters


class Arguments(gym.Env[np.ndarray, Any]):
    """Tells its arguments in place of observations; three steps."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, *, gravity: float = 9.8, size: int = 5, shape: str = "round", width: int = 2) -> None:
        if gravity <= 0:
            raise ValueError(f"gravity must be above 0, not {gravity}")
        self.gravity, self.size, self.shape = gravity, size, shape
        self.observation_space = gym.spaces.Box(-100.0, 100.0, (width,), np.float64)
        self._width, self._step = width, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._step = 0
        return self._show(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._step += 1
        return self._show(), 0.0, self._step == 3, False, {}

    def _show(self) -> np.ndarray:
        # The second tells episodes of one gravity apart.
        return np.array([self.gravity, self.np_random.random()])[: self._width]


if "Arguments-v0" not in gym.registry:
    gym.register("Arguments-v0", entry_point=Arguments, max_episode_steps=100)

TASK = Task(env="Arguments-v0")


def vec_env(randomise: Any, *, vec_env: Any = "dummy", seed: int = 0, n_envs: int = 2, **kwargs: Any) -> VecEnv:
    settings = Hyperparameters(policy="MlpPolicy", n_envs=n_envs, env_wrapper=())
    task = Task(env="Arguments-v0", kwargs=kwargs)
    env = tasks.make_train_env(
        task, settings, seed=seed, monitor_folder=None, vec_env=vec_env, randomise=parse_randomise(randomise)
    )
    env.seed(seed)
    return env


def episodes(env: VecEnv, n: int) -> np.ndarray:
    """Returns what the first observations of episodes tell: [episodes, environments, 2]."""
    results = [env.reset()]
    for _ in range(n - 1):
        for _ in range(3):
            seen, _, dones, _ = env.step(np.zeros(env.num_envs, dtype=int))
        assert dones.all()
        results.append(seen)
    return np.array(results)


@pytest.mark.parametrize("kind", ["dummy", "subproc"])
def test_each_episode_draws_its_own_arguments_by_the_seed(kind: str) -> None:
    ranges = {"gravity": [5, 15]}
    envs = [vec_env(ranges, vec_env=kind, seed=seed) for seed in (3, 3, 4)]
    first, same, other = (episodes(env, 20) for env in envs)
    for env in envs:
        env.close()
    gravities = first[..., 0]
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
    assert len(np.unique(gravities)) == 40, "of each environment and episode"
    assert gravities.min() >= 5.0
    assert gravities.max() <= 15.0
    assert len(np.unique(first[..., 1])) == 40, "what the environment itself draws is new each time"


def test_an_episode_keeps_its_arguments() -> None:
    env = vec_env({"gravity": [5, 15]}, n_envs=1)
    first = env.reset()[0, 0]
    assert env.step(np.zeros(1, dtype=int))[0][0, 0] == first
    assert env.step(np.zeros(1, dtype=int))[0][0, 0] == first
    assert env.get_attr("gravity") == [first]


def test_numbers_are_drawn_uniformly_and_lists_are_chosen_from() -> None:
    rng = np.random.default_rng(0)
    drawn = np.array([Draw((5, 15)).draw(rng) for _ in range(20_000)])
    assert np.abs(np.histogram(drawn, bins=10, range=(5, 15))[0] / 2000 - 1).max() < 0.1
    assert {Draw((5, 8), is_whole=True).draw(rng) for _ in range(100)} == {5, 6, 7, 8}
    assert {Draw((1.0, 2.0, 7.0)).draw(rng) for _ in range(100)} == {1.0, 2.0, 7.0}
    assert {Draw(("round", "square")).draw(rng) for _ in range(100)} == {"round", "square"}
    assert {Draw((True, False)).draw(rng) for _ in range(100)} == {True, False}


@pytest.mark.parametrize(
    ("name", "values", "kwargs", "whole"),
    [
        ("size", [5, 8], {}, True),
        ("gravity", [5, 8], {}, False),
        ("gravity", [5, 8], {"gravity": 6}, False),
        ("size", [5.0, 8.0], {}, False),
    ],
)
def test_whole_numbers_stay_whole_where_the_argument_is_one(
    name: str, values: Any, kwargs: dict[str, Any], whole: bool
) -> None:
    env = vec_env({name: values}, n_envs=1, **kwargs)
    results = set()
    for _ in range(30):
        env.reset()
        results.add(env.get_attr(name)[0])
    env.close()
    assert all(isinstance(item, int) for item in results) is whole
    assert results == {5, 6, 7, 8} if whole else len(results) == 30


def test_other_arguments_are_the_usual_ones_and_evaluation_draws_nothing() -> None:
    env = vec_env({"gravity": [5, 15]}, n_envs=1, size=7)
    env.reset()
    assert env.get_attr("size") == [7]
    assert env.get_attr("shape") == ["round"]
    settings = Hyperparameters(policy="MlpPolicy", env_wrapper=())
    evaluation = tasks.make_eval_env(Task(env="Arguments-v0", kwargs={"gravity": 3.0}), settings, seed=0, n_envs=2)
    assert episodes(evaluation, 5)[..., 0].tolist() == [[3.0, 3.0]] * 5


def test_monitors_and_time_limits_go_on(tmp_path: Any) -> None:
    settings = Hyperparameters(policy="MlpPolicy", env_wrapper=("gymnasium.wrappers.FlattenObservation",))
    env = tasks.make_train_env(
        Task(env="ShortCartPole-v0"),
        settings,
        seed=0,
        monitor_folder=tmp_path,
        vec_env="dummy",
        randomise={"length": (0.5, 5.0)},
    )
    env.seed(0)
    env.reset()
    for _ in range(40):
        _, _, dones, infos = env.step(np.zeros(1, dtype=int))
        if dones[0]:
            assert infos[0]["episode"]["l"] <= 5
    env.close()
    rows = (tmp_path / "0.monitor.csv").read_text().splitlines()[2:]
    assert len(rows) >= 8


if "ShortCartPole-v0" not in gym.registry:
    gym.register("ShortCartPole-v0", entry_point="rltransfer_envs.cart_pole:CartPole", max_episode_steps=5)


def test_it_can_be_sent_to_another_process_and_closes_what_it_leaves() -> None:
    closed = []

    class Closing(Arguments):
        def close(self) -> None:
            closed.append(self.gravity)

    env = Randomised(Closing, {"size": 3}, {"gravity": Draw((5.0, 15.0))})
    env.reset(seed=0)
    assert closed == [9.8]
    first = env.drawn["gravity"]
    env.reset()
    assert closed == [9.8, first]
    again = pickle.loads(cloudpickle.dumps(Randomised(Arguments, {"size": 3}, {"gravity": Draw((5.0, 15.0))})))
    assert again.reset(seed=0)[0][0] == first


@pytest.mark.parametrize(
    ("randomise", "error", "words"),
    [
        (
            {"gravty": [5, 15]},
            UnknownNameError,
            r"randomise: Arguments-v0 has no argument 'gravty'. Did you mean 'grav",
        ),
        ({"gravity": [-1, 15]}, ConfigError, "randomise: Arguments-v0 cannot be made with gravity=-1: gravity must be"),
        (
            {"width": [1, 2]},
            ConfigError,
            r"randomise: with width=1 the observation space is Box \(1,\) float64 in \[-100, 100\] instead of Box \(2",
        ),
    ],
)
def test_arguments_that_cannot_be_drawn_are_refused_at_once(
    randomise: Any, error: type[RLTransferError], words: str
) -> None:
    with pytest.raises(error, match=words):
        tasks.check_randomise(TASK, randomise)
    tasks.check_randomise(TASK, {"gravity": (5, 15), "shape": ("round", "square")})


def test_other_spaces_are_refused_at_the_episode_too() -> None:
    env = vec_env({"width": [1, 2]}, n_envs=1)
    with pytest.raises(BrokenEnvironmentError, match="an agent has one of each"):
        episodes(env, 20)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"gravity": 5}, r"key 'gravity': expected \[low, high\], or a list to choose from, found 5"),
        ({"gravity": [5]}, r"expected \[low, high\]"),
        ({"shape": "round"}, r"expected \[low, high\]"),
        ({"gravity": [15, 5]}, "key 'gravity': the smaller number comes first"),
        ({"gravity": [5, 5]}, "key 'gravity': the smaller number comes first"),
        (["gravity"], "expected an argument's name with its values"),
    ],
)
def test_values_that_are_none_are_refused_by_name(value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_randomise(value)
    assert parse_randomise(None) is None
    assert parse_randomise({}) is None
