"""The state of environments: taken, put back, and believed only after a try."""

import copy
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import runs  # noqa: F401 - registers environments
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.config import Task
from rltransfer.hyperparams import Hyperparameters

with warnings.catch_warnings():
    # SWIG's classes have no __module__; Python crashes where this warning is an error.
    warnings.simplefilter("ignore")
    import Box2D  # noqa: F401

ATTRIBUTES = (
    "CartPole-v1",
    "Acrobot-v1",
    "MountainCarContinuous-v0",
    "Pendulum-v1",
    "minigrid:MiniGrid-DoorKey-5x5-v0",
    "Hopper-v5",
    "Ant-v5",
    "rltransfer_envs:rltransfer/CartPole-v0",
)
EPISODES = ("LunarLander-v3", "LunarLanderContinuous-v3")


class HiddenCounter(gym.Wrapper[Any, Any, Any, Any]):
    """Has a state that is nowhere in its attributes, and that does not begin anew with an episode."""

    steps = 0

    def step(self, action: Any) -> Any:
        HiddenCounter.steps += 1
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, float(reward) + HiddenCounter.steps, terminated, truncated, info


class Unpicklable(gym.Wrapper[Any, Any, Any, Any]):
    """Comes to hold a generator in the middle of an episode, which cannot be pickled."""

    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.left = 100

    def step(self, action: Any) -> Any:
        self.left -= 1
        if self.left == 0:
            self.held = (number for number in range(3))
        return self.env.step(action)


def make(env_id: str, *, n_envs: int = 2, vec_env: Any = "dummy", wrapper: str | None = None) -> VecEnv:
    hyperparams = Hyperparameters(policy="MlpPolicy", n_envs=n_envs, env_wrapper=(wrapper,) if wrapper else ())
    if "MiniGrid" in env_id:
        hyperparams = hyperparams.model_copy(update={"env_wrapper": ("minigrid.wrappers.FlatObsWrapper",)})
    return tasks.make_train_env(Task(env=env_id), hyperparams, seed=3, monitor_folder=None, vec_env=vec_env)


def play(env: VecEnv, steps: int, space: spaces.Space[Any]) -> list[Any]:
    seen = []
    for _ in range(steps):
        observations, rewards, dones, _ = env.step(np.array([space.sample() for _ in range(env.num_envs)]))
        seen.append((np.asarray(observations).tobytes(), rewards.tobytes(), dones.tobytes()))
    return seen


def goes_on_alike(env_id: str, history: int, **settings: Any) -> tuple[bool, str]:
    """Returns whether others go on as the first environments after these gave them their state, and how it is kept."""
    first, second = make(env_id, **settings), make(env_id, **settings)
    try:
        keeping = tasks.find_keeping(first)
        assert tasks.find_keeping(second) == keeping
        space = copy.deepcopy(first.action_space)
        space.seed(5)
        first.reset()
        play(first, history, space)
        second.seed(99)
        second.reset()
        states = tasks.dump_states(first)
        assert states is not None
        tasks.load_states(second, states)
        later = copy.deepcopy(space)
        return play(first, 250, space) == play(second, 250, later), keeping.kind
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize("env_id", ATTRIBUTES)
@pytest.mark.parametrize("history", [0, 7, 120])
def test_all_attributes_are_the_state(env_id: str, history: int) -> None:
    assert goes_on_alike(env_id, history) == (True, "attributes")


@pytest.mark.parametrize("env_id", EPISODES)
@pytest.mark.parametrize("history", [0, 7, 120])
def test_where_a_simulator_cannot_be_pickled_the_episode_is_played_again(env_id: str, history: int) -> None:
    assert goes_on_alike(env_id, history) == (True, "episode")


@pytest.mark.parametrize("env_id", ["CartPole-v1", "LunarLander-v3"])
def test_in_processes_of_their_own_too(env_id: str) -> None:
    assert goes_on_alike(env_id, 40, vec_env="subproc")[0]


@pytest.mark.parametrize("env_id", ["BipedalWalker-v3", "CarRacing-v3", "ale_py:ALE/Pong-v5"])
def test_what_neither_way_brings_back_is_not_called_exact(env_id: str) -> None:
    env = make(env_id, n_envs=1)
    assert not tasks.find_keeping(env).is_exact
    assert tasks.dump_states(env) is None
    env.close()


def test_a_state_outside_of_the_attributes_is_noticed() -> None:
    module = HiddenCounter.__module__
    env = make("CartPole-v1", n_envs=1, wrapper=f"{module}.HiddenCounter")
    assert not tasks.find_keeping(env).is_exact


def test_an_environment_that_breaks_in_the_trial_is_left_to_the_run() -> None:
    env = make("CartPole-v1", n_envs=1, wrapper="runs.BreaksAtStep")
    assert not tasks.find_keeping(env).is_exact
    env.reset()
    play(env, 10, env.action_space)


def test_what_cannot_be_pickled_any_more_is_no_state() -> None:
    env = make("CartPole-v1", n_envs=1, wrapper=f"{Unpicklable.__module__}.Unpicklable")
    assert tasks.find_keeping(env).kind == "attributes"
    env.reset()
    play(env, 99, env.action_space)
    assert tasks.dump_states(env) is not None
    play(env, 1, env.action_space)
    assert tasks.dump_states(env) is None


def test_the_trial_leaves_the_environments_alone() -> None:
    first, second = make("CartPole-v1"), make("CartPole-v1")
    tasks.find_keeping(first)
    space = copy.deepcopy(first.action_space)
    assert np.array_equal(first.reset(), second.reset())
    assert play(first, 30, copy.deepcopy(space)) == play(second, 30, copy.deepcopy(space))


def test_the_space_that_an_agent_samples_from_stays_the_same_object() -> None:
    first, second = make("CartPole-v1", n_envs=1), make("CartPole-v1", n_envs=1)
    for env in (first, second):
        tasks.find_keeping(env)
        env.reset()
    space = second.action_space
    first.action_space.sample()
    states = tasks.dump_states(first)
    assert states is not None
    tasks.load_states(second, states)
    assert second.get_attr("action_space")[0] is space
    assert [first.action_space.sample() for _ in range(20)] == [space.sample() for _ in range(20)]


def test_generators_of_parts_of_a_space_are_copied() -> None:
    def space(seed: int) -> spaces.Dict:
        inner = spaces.Tuple([spaces.Discrete(1000), spaces.Box(0.0, 1.0, (2,))])
        made = spaces.Dict({"a": inner, "b": spaces.MultiBinary(8)})
        made.seed(seed)
        return made

    first, second = space(1), space(2)
    first.sample()
    tasks.copy_generators(copy.deepcopy(first), second)
    assert str([first.sample() for _ in range(5)]) == str([second.sample() for _ in range(5)])
