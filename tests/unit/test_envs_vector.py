"""Vector environments in NumPy: bit for bit what Gymnasium's SyncVectorEnv gives with the scalar environments."""

import copy
import functools
import pickle
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rltransfer_envs
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from rltransfer_envs.vector_env import NumpyVectorEnv, scalar_square

from rltransfer.domain_randomisation import Draw, Randomised
from rltransfer.errors import ConfigError, UnknownNameError

CARTPOLE, ACROBOT, CAR, PENDULUM = (
    f"rltransfer/{name}-v0" for name in ("CartPole", "Acrobot", "MountainCar", "Pendulum")
)
NUM_ENVS, STEPS = 14, 500
# Per family 21,000 steps and more.
CASES: list[tuple[str, dict[str, Any]]] = [
    (CARTPOLE, {}),
    (CARTPOLE, {"length": 1.5, "force_mag": 5, "gravity": 12, "masspole": 0.3, "masscart": 2.5}),
    (CARTPOLE, {"swap_actions": True, "observation_order": [2, 3, 0, 1], "gravity": 0}),
    (CARTPOLE, {"distractors": 3, "length": 1, "max_episode_steps": 40}),
    (ACROBOT, {}),
    (ACROBOT, {"link_length_1": 0.7, "link_length_2": 1.3, "link_mass_1": 1.1, "link_mass_2": 0.6}),
    (ACROBOT, {"swap_actions": True, "link_length_2": 0.9, "max_episode_steps": 90}),
    (CAR, {}),
    (CAR, {"force": 0.0017}),
    (CAR, {"gravity": 0.0019, "max_episode_steps": 130}),
    (PENDULUM, {}),
    (PENDULUM, {"g": 3.7, "mass": 1.3, "length": 0.7}),
    (PENDULUM, {"g": 0, "max_episode_steps": -1}),
]


def native(env_id: str, num_envs: int = NUM_ENVS, **kwargs: Any) -> Any:
    env = gym.make_vec(
        f"rltransfer_envs:{env_id}", num_envs=num_envs, vectorization_mode="vector_entry_point", **kwargs
    )
    assert isinstance(env, NumpyVectorEnv)
    return env


def scalar(env_id: str, num_envs: int = NUM_ENVS, **kwargs: Any) -> Any:
    return gym.make_vec(
        f"rltransfer_envs:{env_id}",
        num_envs=num_envs,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        disable_env_checker=True,
        **kwargs,
    )


def exact(value: Any) -> Any:
    """Returns what makes a value equal to another one bit by bit, whatever it is made of."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(exact(item) for item in value)
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [exact(item) for item in value]
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return value


def act(env: VectorEnv, observations: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns random actions; where those hardly end an episode, most swing up, in every second one the other way."""
    if isinstance(env.single_action_space, gym.spaces.Box):
        return rng.uniform(-2.5, 2.5, (env.num_envs, 1)).astype(np.float32)
    n = env.single_action_space.n
    random = rng.integers(n, size=env.num_envs)
    speed = {6: 4, 2: 1}.get(observations.shape[1])
    if speed is None:
        return random
    is_forward = (observations[:, speed] > 0) == (np.arange(env.num_envs) % 2 == 0)
    return np.where(rng.random(env.num_envs) < 0.2, random, np.where(is_forward, n - 1, 0))


def follow(env: VectorEnv, observations: np.ndarray, steps: int, seed: int = 0) -> list[Any]:
    """Returns what some steps give, bit by bit."""
    rng = np.random.default_rng(seed)
    seen = []
    for _ in range(steps):
        result = env.step(act(env, observations, rng))
        observations = result[0]
        seen.append(exact(result))
    return seen


def assert_same_steps(first: Any, second: Any, steps: int = STEPS, seed: Any = 7) -> tuple[int, int]:
    """Steps both side by side; returns how many episodes were terminated and truncated.

    Observations show 32 bits of what they are computed from. Of scalar environments all 64 are compared.
    """
    observations, infos = first.reset(seed=seed)
    assert exact((observations, infos)) == exact(second.reset(seed=seed))
    rng = np.random.default_rng(0)
    terminated = truncated = 0
    for step in range(steps):
        actions = act(first, observations, rng)
        result = first.step(actions)
        assert exact(result) == exact(second.step(actions))
        observations = result[0]
        if isinstance(second, SyncVectorEnv) and step % 10 == 9:
            states = np.array([env.unwrapped.state for env in second.envs], dtype=np.float64)
            assert exact(first.get_state()["state"]) == exact(states.T.copy())
        terminated, truncated = terminated + int(result[2].sum()), truncated + int(result[3].sum())
    return terminated, truncated


@pytest.mark.parametrize(("env_id", "kwargs"), CASES, ids=str)
def test_every_step_equals_that_of_scalar_environments(env_id: str, kwargs: dict[str, Any]) -> None:
    env, reference = native(env_id, **kwargs), scalar(env_id, **kwargs)
    assert (env.observation_space, env.action_space) == (reference.observation_space, reference.action_space)
    assert env.single_observation_space == reference.single_observation_space
    assert env.single_action_space == reference.single_action_space
    terminated, truncated = assert_same_steps(env, reference)
    assert (terminated > 0) == (env_id != PENDULUM)
    assert truncated > 0 or not 0 < kwargs.get("max_episode_steps", gym.spec(env_id).max_episode_steps) < STEPS


def test_cases_have_every_argument_of_every_vectorised_family() -> None:
    families = [family for family in rltransfer_envs.FAMILIES if family.vector is not None]
    assert {family.env_id for family in families} == {env_id for env_id, _ in CASES}
    for family in families:
        given = {name for env_id, kwargs in CASES if env_id == family.env_id for name in kwargs}
        assert given - {"max_episode_steps"} == set(rltransfer_envs.arguments(family.env_id))


@pytest.mark.parametrize("env_id", dict(CASES))
def test_it_is_the_usual_vector_environment_of_its_family(env_id: str) -> None:
    env = gym.make_vec(f"rltransfer_envs:{env_id}", num_envs=3)
    assert isinstance(env, NumpyVectorEnv)
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    again = gym.make_vec(env.spec)
    assert exact(again.reset(seed=1)) == exact(env.reset(seed=1))


LISTS: list[tuple[str, dict[str, Any]]] = [
    (CARTPOLE, {"length": [0.5, 1.5, 0.7], "swap_actions": (True, False, True), "gravity": 5, "distractors": 2}),
    (ACROBOT, {"link_mass_2": np.array([0.5, 1.0, 1.7]), "swap_actions": [False, True, False]}),
    (CAR, {"force": [0.001, 0.002, 0.003]}),
    (PENDULUM, {"length": [0.5, 1, 2.5], "g": [9, 10.0, 0]}),
]


@pytest.mark.parametrize(("env_id", "kwargs"), LISTS, ids=str)
def test_a_list_gives_each_sub_environment_its_own_argument(env_id: str, kwargs: dict[str, Any]) -> None:
    def take(index: int) -> dict[str, Any]:
        lists = {name: list(value) for name, value in kwargs.items() if np.ndim(value)}
        return kwargs | {
            name: value[index].item() if isinstance(value[index], np.generic) else value[index]
            for name, value in lists.items()
        }

    def reference() -> VectorEnv:
        made = [functools.partial(gym.make, f"rltransfer_envs:{env_id}", **take(index)) for index in range(3)]
        return SyncVectorEnv(made, autoreset_mode=AutoresetMode.SAME_STEP)

    assert_same_steps(native(env_id, 3, **kwargs), reference(), 100)
    # The others stay as they are where the first of them is set.
    name = next(iter(kwargs))
    env = native(env_id, 3, **kwargs | {name: 9.0})
    for index in range(3):
        env.set_arguments(index, **{name: take(index)[name]})
    assert_same_steps(env, reference(), 100)


DRAWS: list[tuple[str, dict[str, Any], dict[str, Draw]]] = [
    (CARTPOLE, {"distractors": 1}, {"length": Draw((0.2, 3.0)), "swap_actions": Draw((True, False))}),
    (ACROBOT, {"max_episode_steps": 40}, {"link_length_2": Draw((0.5, 2.0)), "link_mass_1": Draw((1.0, 2.0, 5.0))}),
    (CAR, {"max_episode_steps": 40}, {"force": Draw((0.001, 0.01)), "gravity": Draw((0.0, 0.003))}),
    (PENDULUM, {"max_episode_steps": 30}, {"mass": Draw((1, 3), is_whole=True), "g": Draw((0, 20))}),
]


class RandomisedArguments:
    """What a trainer does for domain randomisation: the draws of ``Randomised``, in the same order."""

    def __init__(self, env: NumpyVectorEnv, draws: dict[str, Draw]) -> None:
        self.env, self.draws = env, draws

    def reset(self, seed: int) -> np.ndarray:
        self.rngs = [np.random.default_rng(seed + index) for index in range(self.env.num_envs)]
        return self._begin(np.ones(self.env.num_envs, dtype=bool), {})

    def step(self, actions: np.ndarray) -> tuple[Any, ...]:
        observations, rewards, terminated, truncated, infos = self.env.step(actions)
        ended = terminated | truncated
        if ended.any():
            observations = self._begin(ended, {"reset_mask": ended})
        return observations, rewards, terminated, truncated, infos

    def _begin(self, mask: np.ndarray, options: dict[str, Any]) -> np.ndarray:
        seeds: list[int | None] = [None] * self.env.num_envs
        for index in np.flatnonzero(mask):
            rng = self.rngs[index]
            self.env.set_arguments(int(index), **{name: draw.draw(rng) for name, draw in self.draws.items()})
            seeds[index] = int(rng.integers(2**31))
        return self.env.reset(seed=seeds, options=options)[0]


@pytest.mark.parametrize(("env_id", "kwargs", "draws"), DRAWS, ids=str)
def test_domain_randomisation_equals_that_of_scalar_environments(
    env_id: str, kwargs: dict[str, Any], draws: dict[str, Draw]
) -> None:
    make = functools.partial(gym.make, f"rltransfer_envs:{env_id}")
    reference = SyncVectorEnv(
        [functools.partial(Randomised, make, kwargs, draws)] * 4, autoreset_mode=AutoresetMode.SAME_STEP
    )
    env = RandomisedArguments(native(env_id, 4, **kwargs), draws)
    observations = env.reset(3)
    assert exact(observations) == exact(reference.reset(seed=3)[0])
    rng, ended = np.random.default_rng(0), 0
    for _ in range(130):
        actions = act(env.env, observations, rng)
        result = env.step(actions)
        assert exact(result) == exact(reference.step(actions))
        observations, ended = result[0], ended + int((result[2] | result[3]).sum())
    assert ended >= 8


@pytest.mark.parametrize(("env_id", "kwargs", "bounds"), [
    (CARTPOLE, {"distractors": 2}, {"low": -0.01, "high": 0.02}),
    (ACROBOT, {}, {"low": 6, "high": 7}),
    (CAR, {}, {"low": -1, "high": 0}),
    (PENDULUM, {}, {"x_init": 0.5}),
])  # fmt: skip
def test_masks_seeds_and_options_of_a_reset(env_id: str, kwargs: dict[str, Any], bounds: dict[str, Any]) -> None:
    env, reference = native(env_id, 4, **kwargs), scalar(env_id, 4, **kwargs)
    assert_same_steps(env, reference, 5, seed=[5, None, 2**40, 0][:1] * 4)
    mask = np.array([True, False, False, True])
    for seed in (None, 9, [None, 3, 3, 11]):
        for options in (None, {}, bounds, {"reset_mask": mask}, bounds | {"reset_mask": mask}):
            # SyncVectorEnv takes the mask out of what it is given.
            results = [made.reset(seed=seed, options=copy.copy(options)) for made in (env, reference)]
            assert exact(results[0]) == exact(results[1])
            assert follow(env, results[0][0], 12) == follow(reference, results[0][0], 12)
        assert env.np_random_seed == reference.np_random_seed
    assert [rng.random() for rng in env.np_random] == [rng.random() for rng in reference.np_random]
    options = {"reset_mask": mask}
    env.reset(options=options)
    assert options == {"reset_mask": mask}


def test_the_second_link_of_acrobot_has_the_scalar_top_speed() -> None:
    env, reference = native(ACROBOT, 1), scalar(ACROBOT, 1)
    env.reset(seed=0), reference.reset(seed=0)
    fast = np.array([0.1, 0.2, 0.3, -28.6])
    env.set_state(env.get_state() | {"state": fast[:, np.newaxis]})
    reference.envs[0].unwrapped.state = fast
    result = env.step(np.array([0]))
    assert exact(result) == exact(reference.step(np.array([0])))
    assert result[0][0, 5] == np.float32(-9 * np.pi)


def test_a_sub_environment_without_a_seed_is_drawn_anew() -> None:
    first, second = native(CARTPOLE, 2), native(CARTPOLE, 2)
    observations = [env.reset(seed=[4, None])[0] for env in (first, second)]
    np.testing.assert_array_equal(observations[0][0], observations[1][0])
    assert not np.array_equal(observations[0][1], observations[1][1])


def test_what_is_returned_is_the_callers() -> None:
    env, twin = native(CARTPOLE, 3), native(CARTPOLE, 3)
    mask = np.array([True, False, False])
    for made in (env, twin):
        made.reset(seed=0)
    for _ in range(60):
        results = [made.step(np.ones(3, dtype=int)) for made in (env, twin)]
        assert exact(results[0]) == exact(results[1])
        for array in (*results[0][:4], *[item for item in results[0][4].get("final_obs", []) if item is not None]):
            array[...] = 1
        for _ in range(2):
            seen = [made.reset(options={"reset_mask": mask})[0] for made in (env, twin)]
            assert exact(seen[0]) == exact(seen[1])
            seen[0][...] = 1


@pytest.mark.parametrize(("env_id", "kwargs"), LISTS, ids=str)
def test_a_state_that_is_put_back_goes_on_bit_for_bit(env_id: str, kwargs: dict[str, Any]) -> None:
    kwargs = kwargs | {"max_episode_steps": 60}
    env = native(env_id, 3, **kwargs)
    observations = env.reset()[0]
    name = next(iter(kwargs))
    env.set_arguments(1, **{name: 0.0013})
    follow(env, observations, 77)
    state = pickle.dumps(env.get_state())
    held = env.get_state()
    follow(env, env.reset(seed=5)[0], 3)
    assert pickle.dumps(held) == state, "what comes later changes nothing in it"
    env.set_state(held)
    observations = held["observations"]
    after = follow(env, observations, 150)
    assert pickle.dumps(held) == state
    for other in (native(env_id, 3, **kwargs), env):
        for _ in range(2):
            other.set_state(held)
            assert follow(other, observations, 150) == after
            assert pickle.dumps(held) == state
    env.set_state(pickle.loads(state))
    assert follow(env, observations, 150) == after


def test_a_state_from_before_the_first_reset_can_be_put_back() -> None:
    env = native(CARTPOLE, 2)
    env.set_state(env.get_state())
    with pytest.raises(ResetNeeded):
        env.step(np.zeros(2, dtype=int))
    twin = copy.deepcopy(env)
    assert exact(twin.reset(seed=0)) == exact(env.reset(seed=0))


def test_states_hold_plain_types() -> None:
    env = native(CARTPOLE, 2, distractors=1)
    env.reset(seed=0)

    def types(value: Any) -> set[type]:
        if isinstance(value, dict):
            return set().union(*map(types, [*value, *value.values()]))
        if isinstance(value, list | tuple):
            return set().union(*map(types, value)) if value else set()
        return {type(value)}

    assert types(env.get_state()) <= {str, int, float, bool, type(None), np.ndarray}


def test_states_of_other_environments_are_refused() -> None:
    state = native(CARTPOLE, 2).get_state()
    native(CARTPOLE, 2, distractors=0, length=3).set_state(state)
    for other in (native(CARTPOLE, 3), native(CARTPOLE, 2, distractors=1), native(CARTPOLE, 2, max_episode_steps=7)):
        with pytest.raises(ConfigError, match="CartPole: the state is that of environments made with .*'num_envs': 2"):
            other.set_state(state)


MISTAKES: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: native(CARTPOLE, lenght=1.0),
        UnknownNameError,
        "CartPole has no argument 'lenght'. Did you mean 'length'? Known: length, force_mag, gravity, masspole, "
        "masscart, swap_actions, observation_order, distractors.",
    ),
    (
        lambda: native(CARTPOLE, 2, length=[0.5, -1]),
        ConfigError,
        "CartPole: argument 'length' must be above 0, not -1.",
    ),
    (
        lambda: native(CARTPOLE, 2, length=[0.5]),
        ConfigError,
        "CartPole: argument 'length' must be one value or a list of 2, one for each sub-environment, not [0.5].",
    ),
    (
        lambda: native(CARTPOLE, 2, distractors=[1, 1]),
        ConfigError,
        "CartPole: argument 'distractors' must be a whole number from 0 up, not [1, 1].",
    ),
    (
        lambda: native(PENDULUM, 2, render_mode="rgb_array"),
        ConfigError,
        "Pendulum: argument 'render_mode' must be None, not 'rgb_array'. To draw, make the environments with "
        'vectorization_mode="sync".',
    ),
    (
        lambda: native(PENDULUM, 2, max_episode_steps=0),
        ConfigError,
        "Pendulum: argument 'max_episode_steps' must be a whole number from 1 up, or -1 for no limit, not 0.",
    ),
    (
        lambda: native(PENDULUM, 0),
        ConfigError,
        "Pendulum: argument 'num_envs' must be a whole number from 1 up, not 0.",
    ),
    (
        lambda: native(ACROBOT, 2).set_arguments(0, link_mass_3=1.0),
        UnknownNameError,
        "Acrobot has no argument 'link_mass_3'. Did you mean 'link_mass_2' or 'link_mass_1'? Can be set: "
        "link_length_1, link_length_2, link_mass_1, link_mass_2, swap_actions.",
    ),
    (
        lambda: native(CARTPOLE, 2).set_arguments(0, distractors=1),
        ConfigError,
        "CartPole: argument 'distractors' is the same for all sub-environments and stays as it was given when they "
        "were made. Can be set: length, force_mag, gravity, masspole, masscart, swap_actions.",
    ),
    (
        lambda: native(CARTPOLE, 2).set_arguments(0, swap_actions=1),
        ConfigError,
        "CartPole: argument 'swap_actions' must be True or False, not 1.",
    ),
    (
        lambda: native(CARTPOLE, 2).set_arguments(2, length=1.0),
        ConfigError,
        "CartPole: argument 'index' must be a whole number from 0 to 1, not 2.",
    ),
    (
        lambda: native(CAR, 2).reset(seed=[1]),
        ValueError,
        "MountainCar: reset needs a seed for each of 2 sub-environments, not [1]",
    ),
    (
        lambda: native(CAR, 2).reset(seed=[]),
        ValueError,
        "MountainCar: reset needs a seed for each of 2 sub-environments, not []",
    ),
    (
        lambda: native(CAR, 2).reset(options={"reset_mask": [True, False]}),
        TypeError,
        "MountainCar: options['reset_mask'] must be a NumPy array of booleans, not [True, False]",
    ),
    (
        lambda: native(CAR, 2).reset(options={"reset_mask": np.zeros(2, dtype=bool)}),
        ValueError,
        "MountainCar: options['reset_mask'] must have 2 entries, of which at least one is True, not "
        "array([False, False])",
    ),
    (
        lambda: native(CAR, 2).reset(options={"reset_mask": np.ones(2, dtype=bool)}),
        ResetNeeded,
        "MountainCar: call reset without a mask first.",
    ),
    (lambda: native(CAR, 2).step(np.zeros(2, dtype=int)), ResetNeeded, "MountainCar: call reset before step."),
]


@pytest.mark.parametrize(("mistake", "error", "message"), MISTAKES, ids=[message for _, _, message in MISTAKES])
def test_mistakes_are_refused_by_name(mistake: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        mistake()
    assert str(caught.value) == message


def test_arguments_that_are_refused_change_nothing() -> None:
    env, twin = native(CARTPOLE, 2), native(CARTPOLE, 2)
    with pytest.raises(ConfigError):
        env.set_arguments(0, length=3.0, gravity=-1.0)
    env.set_arguments(0, masscart=1.0)
    assert_same_steps(env, twin, 50)


@pytest.mark.parametrize(
    ("env_id", "actions"),
    [
        (CARTPOLE, np.array([0, 2])),
        (CARTPOLE, np.array([-1, 0])),
        (ACROBOT, np.array([0])),
        (ACROBOT, np.array([0.0, 1.0])),
        (CAR, np.array([[0], [1]])),
        (PENDULUM, np.zeros(2, dtype=np.float32)),
    ],
)
def test_actions_that_do_not_fit_are_refused(env_id: str, actions: np.ndarray) -> None:
    env = native(env_id, 2)
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"actions must be an array of 2 of .*, one for each sub-environment"):
        env.step(actions)


def test_actions_of_other_types_mean_the_same() -> None:
    for kind in (np.uint8, np.int32, list):
        env, twin = native(CAR, 3), native(CAR, 3)
        env.reset(seed=0), twin.reset(seed=0)
        actions = np.array([0, 1, 2])
        assert exact(env.step(actions.tolist() if kind is list else actions.astype(kind))) == exact(twin.step(actions))
    # Gymnasium's Pendulum computes with as many bits as the action has.
    env, reference = native(PENDULUM, 3), scalar(PENDULUM, 3)
    env.reset(seed=0), reference.reset(seed=0)
    wide = np.random.default_rng(0).uniform(-2, 2, (3, 1))
    assert exact(env.step(wide)) == exact(reference.step(wide))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_squares_are_those_of_scalars(dtype: type) -> None:
    values = np.random.default_rng(0).normal(0, 3, 20_000).astype(dtype)
    assert exact(scalar_square(values)) == exact(np.array([value**2 for value in values]))
