"""Arguments of the environment families: each one changes what it says, and mistakes are refused by name."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import rltransfer_envs
from rltransfer_envs.acrobot import Acrobot
from rltransfer_envs.cart_pole import CartPole
from rltransfer_envs.pendulum import Pendulum

from rltransfer.errors import ConfigError, UnknownNameError

CARTPOLE = "rltransfer/CartPole-v0"
ROBOT = {
    "gravity": {"gravity": 3.7},
    "mass": {"mass": 2},
    "friction": {"friction": 0.1},
    "direction": {"direction": -1},
    "target_speed": {"target_speed": 2},
    "forward_reward_weight": {"forward_reward_weight": 2},
    "ctrl_cost_weight": {"ctrl_cost_weight": 0},
    "reset_noise_scale": {"reset_noise_scale": 0},
    "exclude_current_positions_from_observation": {"exclude_current_positions_from_observation": False},
    "frame_skip": {"frame_skip": 2},
}
WALKS = {
    "healthy_reward": {"healthy_reward": 0},
    "terminate_when_unhealthy": {"healthy_z_range": [1.3, 1.4], "terminate_when_unhealthy": False},
}
# One changed value for every argument of every family; where another argument must be set for it to matter, both.
CHANGES: dict[str, dict[str, dict[str, Any]]] = {
    CARTPOLE: {
        "length": {"length": 1.5},
        "force_mag": {"force_mag": 5},
        "gravity": {"gravity": 12},
        "masspole": {"masspole": 0.5},
        "masscart": {"masscart": 2.0},
        "swap_actions": {"swap_actions": True},
        "observation_order": {"observation_order": [1, 0, 2, 3]},
        "distractors": {"distractors": 1},
    },
    "rltransfer/Acrobot-v0": {
        "link_length_1": {"link_length_1": 0.5},
        "link_length_2": {"link_length_2": 1.5},
        "link_mass_1": {"link_mass_1": 2.0},
        "link_mass_2": {"link_mass_2": 0.5},
        "swap_actions": {"swap_actions": True},
    },
    "rltransfer/MountainCar-v0": {"force": {"force": 0.002}, "gravity": {"gravity": 0.003}},
    "rltransfer/Pendulum-v0": {"g": {"g": 5.0}, "mass": {"mass": 2.0}, "length": {"length": 0.5}},
    "rltransfer/LunarLander-v0": {
        "gravity": {"gravity": -5.0},
        "enable_wind": {"enable_wind": True},
        "wind_power": {"enable_wind": True, "wind_power": 1.0},
        "turbulence_power": {"enable_wind": True, "turbulence_power": 0.1},
        "continuous": {"continuous": True},
    },
    "rltransfer/HalfCheetah-v0": {
        **ROBOT,
        "xml_file": {"xml_file": "walker2d.xml"},
    },
    "rltransfer/Hopper-v0": {
        **ROBOT,
        **WALKS,
        "healthy_state_range": {"healthy_state_range": [-0.01, 0.01]},
        "healthy_z_range": {"healthy_z_range": [1.3, 1.4]},
        "healthy_angle_range": {"healthy_angle_range": [-0.001, 0.001]},
        "xml_file": {"xml_file": "walker2d.xml"},
    },
    "rltransfer/Walker2d-v0": {
        **ROBOT,
        **WALKS,
        "healthy_z_range": {"healthy_z_range": [1.3, 1.4]},
        "healthy_angle_range": {"healthy_angle_range": [-0.001, 0.001]},
        "xml_file": {"xml_file": "walker2d.xml"},
    },
    "rltransfer/Ant-v0": {
        **ROBOT,
        **WALKS,
        "contact_cost_weight": {"contact_cost_weight": 1},
        "main_body": {"main_body": "aux_1"},
        "healthy_z_range": {"healthy_z_range": [1.3, 1.4]},
        "contact_force_range": {"contact_force_range": [-0.1, 0.1]},
        "include_cfrc_ext_in_observation": {"include_cfrc_ext_in_observation": False},
        "xml_file": {"xml_file": "half_cheetah.xml"},
    },
    "rltransfer/Atari-v0": {
        "game": {"game": "freeway"},
        "mode": {"mode": 1},
        "difficulty": {"difficulty": 1},
        "full_action_space": {"full_action_space": True},
        "frameskip": {"frameskip": 2},
        "noop_max": {"noop_max": 0},
        "screen_size": {"screen_size": 42},
        "terminal_on_life_loss": {"game": "breakout", "terminal_on_life_loss": False},
        "clip_reward": {"game": "assault", "clip_reward": False},
        "action_repeat_probability": {"action_repeat_probability": 0.5},
    },
    "rltransfer/MiniGrid-Empty-v0": {
        "size": {"size": 5},
        "random_start": {"random_start": True},
        "max_steps": {"max_steps": 10},
        "view": {"view": "rgb"},
    },
    "rltransfer/MiniGrid-FourRooms-v0": {"max_steps": {"max_steps": 10}, "view": {"view": "rgb"}},
    "rltransfer/MiniGrid-Crossing-v0": {
        "size": {"size": 5},
        "num_crossings": {"num_crossings": 3},
        "obstacle": {"obstacle": "wall"},
        "max_steps": {"max_steps": 10},
        "view": {"view": "rgb"},
    },
    "rltransfer/MiniGrid-DoorKey-v0": {
        "size": {"size": 5},
        "max_steps": {"max_steps": 10},
        "view": {"view": "rgb"},
    },
    "rltransfer/MiniGrid-Unlock-v0": {"max_steps": {"max_steps": 10}, "view": {"view": "rgb"}},
    "rltransfer/MiniGrid-UnlockPickup-v0": {"max_steps": {"max_steps": 10}, "view": {"view": "rgb"}},
}
MISTAKES = [
    (CARTPOLE, {"length": -0.5}, "CartPole: argument 'length' must be above 0, not -0.5."),
    (CARTPOLE, {"length": True}, "CartPole: argument 'length' must be a finite number, not True."),
    (CARTPOLE, {"force_mag": "5"}, "CartPole: argument 'force_mag' must be a finite number, not '5'."),
    (CARTPOLE, {"gravity": -1}, "CartPole: argument 'gravity' must be 0 or above, not -1."),
    (CARTPOLE, {"masspole": 0}, "CartPole: argument 'masspole' must be above 0, not 0."),
    (CARTPOLE, {"masscart": float("nan")}, "CartPole: argument 'masscart' must be a finite number, not nan."),
    (CARTPOLE, {"swap_actions": "false"}, "CartPole: argument 'swap_actions' must be True or False, not 'false'."),
    (CARTPOLE, {"swap_actions": 1}, "CartPole: argument 'swap_actions' must be True or False, not 1."),
    (CARTPOLE, {"distractors": -1}, "CartPole: argument 'distractors' must be a whole number from 0 up, not -1."),
    (CARTPOLE, {"distractors": 1.5}, "CartPole: argument 'distractors' must be a whole number from 0 up, not 1.5."),
    *[
        (
            CARTPOLE,
            {"observation_order": order},
            f"CartPole: argument 'observation_order' must be a list with each of 0, 1, 2, 3 once, not {order!r}.",
        )
        for order in ([0, 1, 2], [0, 0, 1, 2], [1, 2, 3, 4], [0, 1, 2, "3"], [False, True, 2, 3], "0123", 3)
    ],
    ("rltransfer/Acrobot-v0", {"link_mass_2": -1}, "Acrobot: argument 'link_mass_2' must be above 0, not -1."),
    ("rltransfer/MountainCar-v0", {"force": 0}, "MountainCar: argument 'force' must be above 0, not 0."),
    ("rltransfer/Pendulum-v0", {"g": None}, "Pendulum: argument 'g' must be a finite number, not None."),
    (
        "rltransfer/LunarLander-v0",
        {"gravity": 9.8},
        "LunarLander: argument 'gravity' must be between -12 and 0, bounds excluded, not 9.8.",
    ),
    ("rltransfer/LunarLander-v0", {"wind_power": -1}, "LunarLander: argument 'wind_power' must be 0 or above, not -1."),
    ("rltransfer/HalfCheetah-v0", {"gravity": -9.81}, "HalfCheetah: argument 'gravity' must be 0 or above, not -9.81."),
    ("rltransfer/HalfCheetah-v0", {"mass": 0}, "HalfCheetah: argument 'mass' must be above 0, not 0."),
    ("rltransfer/Hopper-v0", {"friction": -1}, "Hopper: argument 'friction' must be above 0, not -1."),
    *[
        ("rltransfer/Hopper-v0", {"direction": value}, f"Hopper: argument 'direction' must be 1 or -1, not {value!r}.")
        for value in (0, 2, True, -1.0, "-1")
    ],
    ("rltransfer/Walker2d-v0", {"target_speed": -1}, "Walker2d: argument 'target_speed' must be 0 or above, not -1."),
    (
        "rltransfer/Walker2d-v0",
        {"terminate_when_unhealthy": 0},
        "Walker2d: argument 'terminate_when_unhealthy' must be True or False, not 0.",
    ),
    *[
        (
            "rltransfer/Ant-v0",
            {"healthy_z_range": value},
            f"Ant: argument 'healthy_z_range' must be two numbers, the smaller first, not {value!r}.",
        )
        for value in (0.5, [1], [1, 0.2], [0.2, "1"], "01")
    ],
    *[
        (
            "rltransfer/Ant-v0",
            {"main_body": value},
            f"Ant: argument 'main_body' must be the number or the name of a body, not {value!r}.",
        )
        for value in (99, "trunk", 1.5)
    ],
    ("rltransfer/Ant-v0", {"frame_skip": 0}, "Ant: argument 'frame_skip' must be a whole number from 1 up, not 0."),
    (
        "rltransfer/Ant-v0",
        {"xml_file": "cat.xml"},
        "Ant: argument 'xml_file' must be one of Gymnasium's model files or a path that begins with /, ~ or ., "
        "not 'cat.xml'.",
    ),
    ("rltransfer/Atari-v0", {"game": 3}, "Atari: argument 'game' must be the name of a game, not 3."),
    *[
        (
            "rltransfer/Atari-v0",
            {"mode": mode},
            f"Atari: argument 'mode' must be one of 0, 1, which 'pong' has, not {mode!r}.",
        )
        for mode in (2, -1, "0", True, 0.5)
    ],
    (
        "rltransfer/Atari-v0",
        {"game": "breakout", "difficulty": 2},
        "Atari: argument 'difficulty' must be one of 0, 1, which 'breakout' has, not 2.",
    ),
    (
        "rltransfer/Atari-v0",
        {"game": "backgammon"},
        "Atari: argument 'full_action_space' must be True for 'backgammon', where every action that it uses does "
        "something, not False.",
    ),
    ("rltransfer/Atari-v0", {"clip_reward": 0}, "Atari: argument 'clip_reward' must be True or False, not 0."),
    ("rltransfer/Atari-v0", {"frameskip": 0}, "Atari: argument 'frameskip' must be a whole number from 1 up, not 0."),
    ("rltransfer/Atari-v0", {"noop_max": -1}, "Atari: argument 'noop_max' must be a whole number from 0 up, not -1."),
    (
        "rltransfer/Atari-v0",
        {"action_repeat_probability": 1.5},
        "Atari: argument 'action_repeat_probability' must be from 0 to 1, not 1.5.",
    ),
    (
        "rltransfer/MiniGrid-DoorKey-v0",
        {"size": 4},
        "DoorKey: argument 'size' must be a whole number from 5 up, not 4.",
    ),
    (
        "rltransfer/MiniGrid-DoorKey-v0",
        {"view": "rbg"},
        "DoorKey: argument 'view' must be 'symbolic' or 'rgb', not 'rbg'. Did you mean 'rgb'?",
    ),
    (
        "rltransfer/MiniGrid-Crossing-v0",
        {"size": 8},
        "Crossing: argument 'size' must be an odd number from 5 up, not 8.",
    ),
    (
        "rltransfer/MiniGrid-Crossing-v0",
        {"size": 5, "num_crossings": 3},
        "Crossing: argument 'num_crossings' must be a whole number from 1 to 2, not 3.",
    ),
    (
        "rltransfer/MiniGrid-Unlock-v0",
        {"max_steps": 0},
        "Unlock: argument 'max_steps' must be a whole number from 1 up, not 0.",
    ),
]


def make(env_id: str, **kwargs: Any) -> gym.Env:
    return gym.make(f"rltransfer_envs:{env_id}", **kwargs)


def exact(observation: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """Returns what makes an observation equal to another one bit by bit."""
    return str(observation.dtype), observation.shape, observation.tobytes()


def trajectory(env: gym.Env, steps: int = 60) -> list[Any]:
    """Returns what a fixed sequence of actions shows, up to the end of the first episode."""
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    seen: list[Any] = [exact(observation)]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append((exact(observation), float(reward), terminated, truncated))
        if terminated or truncated:
            break
    return seen


def test_changes_cover_every_argument_of_every_family() -> None:
    assert {env_id: set(changes) for env_id, changes in CHANGES.items()} == {
        family.env_id: set(rltransfer_envs.arguments(family.env_id)) for family in rltransfer_envs.FAMILIES
    }


@pytest.mark.parametrize(
    ("env_id", "name"), [(env_id, name) for env_id, changes in CHANGES.items() for name in changes]
)
def test_each_argument_changes_the_task(env_id: str, name: str) -> None:
    changed = CHANGES[env_id][name]
    without = {key: value for key, value in changed.items() if key != name}
    assert trajectory(make(env_id, **changed)) != trajectory(make(env_id, **without))


@pytest.mark.parametrize("env_id", [family.env_id for family in rltransfer_envs.FAMILIES])
def test_defaults_given_by_name_change_nothing(env_id: str) -> None:
    assert trajectory(make(env_id, **rltransfer_envs.arguments(env_id))) == trajectory(make(env_id))


@pytest.mark.parametrize(("env_id", "kwargs", "message"), MISTAKES)
def test_wrong_values_are_refused_by_name(env_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(env_id, **kwargs)
    assert str(caught.value) == message


@pytest.mark.parametrize("env_id", [family.env_id for family in rltransfer_envs.FAMILIES])
def test_unknown_arguments_are_refused_with_near_misses(env_id: str) -> None:
    names = list(rltransfer_envs.arguments(env_id))
    with pytest.raises(UnknownNameError) as caught:
        make(env_id, **{f"{names[0]}x": 1})
    name = gym.spec(env_id).entry_point.rpartition(":")[2]
    message = str(caught.value)
    assert message.startswith(f"{name} has no argument '{names[0]}x'. Did you mean '{names[0]}'")
    assert message.endswith(f"Known: {', '.join(names)}.")


def test_cart_pole_recomputes_what_gymnasium_derives() -> None:
    env = CartPole(length=1.5, masspole=0.4, masscart=2.0)
    assert env.total_mass == pytest.approx(2.4)
    assert env.polemass_length == pytest.approx(0.6)


def test_cart_pole_swapped_mirrors_the_actions_and_nothing_else() -> None:
    plain, swapped = make(CARTPOLE), make(CARTPOLE, swap_actions=True)
    np.testing.assert_array_equal(plain.reset(seed=4)[0], swapped.reset(seed=4)[0])
    for action in np.random.default_rng(0).integers(0, 2, size=12):
        np.testing.assert_array_equal(plain.step(action)[0], swapped.step(1 - action)[0])


def test_acrobot_swapped_mirrors_the_torques_and_nothing_else() -> None:
    plain, swapped = make("rltransfer/Acrobot-v0"), make("rltransfer/Acrobot-v0", swap_actions=True)
    np.testing.assert_array_equal(plain.reset(seed=4)[0], swapped.reset(seed=4)[0])
    for action in np.random.default_rng(0).integers(0, 3, size=50):
        np.testing.assert_array_equal(plain.step(action)[0], swapped.step(2 - action)[0])


def test_acrobot_keeps_the_centre_of_mass_in_the_middle_of_a_link() -> None:
    env = Acrobot(link_length_1=0.6, link_length_2=3.0)
    assert (env.LINK_COM_POS_1, env.LINK_COM_POS_2) == (0.3, 1.5)


def test_pendulum_follows_the_equation_of_motion() -> None:
    env = Pendulum(g=4.0, mass=2.0, length=3.0)
    env.reset(seed=0)
    angle, speed = env.state
    env.step(np.array([1.0], dtype=np.float32))
    torque_term = 3.0 / (2.0 * 3.0**2) * 1.0
    assert env.state[1] == pytest.approx(speed + (3 * 4.0 / (2 * 3.0) * np.sin(angle) + torque_term) * 0.05)


def test_observation_order_names_the_source_of_each_place() -> None:
    order = [2, 0, 3, 1]
    plain, reordered = make(CARTPOLE), make(CARTPOLE, observation_order=order)
    np.testing.assert_array_equal(plain.reset(seed=1)[0][order], reordered.reset(seed=1)[0])
    np.testing.assert_array_equal(plain.step(1)[0][order], reordered.step(1)[0])
    np.testing.assert_array_equal(plain.observation_space.high[order], reordered.observation_space.high)
    np.testing.assert_array_equal(plain.observation_space.low[order], reordered.observation_space.low)


def observations(env: gym.Env, seed: int, steps: int = 200) -> np.ndarray:
    """Returns observations of a fixed sequence of actions over several episodes, reseeded only once."""
    seen = [env.reset(seed=seed)[0]]
    for action in np.random.default_rng(0).integers(0, 2, size=steps):
        observation, _, terminated, truncated, _ = env.step(action)
        seen.append(observation)
        if terminated or truncated:
            seen.append(env.reset()[0])
    return np.array(seen)


def test_distractors_leave_the_physics_alone_in_every_episode() -> None:
    plain = observations(make(CARTPOLE), seed=7)
    for distractors in (1, 5):
        noisy = observations(make(CARTPOLE, distractors=distractors), seed=7)
        np.testing.assert_array_equal(noisy[:, :4], plain)
        assert noisy.shape[1] == 4 + distractors


def test_distractors_are_standard_normal_and_repeat_with_the_seed_alone() -> None:
    env = make(CARTPOLE, distractors=20)
    noise = observations(env, seed=0)[:, 4:]
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert len(np.unique(noise)) > 0.99 * noise.size
    np.testing.assert_array_equal(observations(env, seed=0)[:, 4:], noise)
    assert not np.array_equal(observations(env, seed=1)[: len(noise), 4:][:50], noise[:50])


def test_distractors_go_on_over_an_unseeded_reset() -> None:
    env = make(CARTPOLE, distractors=3)
    first, second = env.reset(seed=0)[0], env.reset()[0]
    assert not np.array_equal(first[4:], second[4:])
    make(CARTPOLE, distractors=3).reset()


FORWARD, RIGHT = 2, 1


def walk(env: gym.Env, actions: list[int]) -> tuple[float, bool, bool, dict[str, Any]]:
    env.reset(seed=0)
    for action in actions[:-1]:
        _, _, terminated, truncated, info = env.step(action)
        assert not terminated
        assert not truncated
        assert "is_success" not in info
    _, reward, terminated, truncated, info = env.step(actions[-1])
    return float(reward), terminated, truncated, info


def test_success_is_reported_with_the_last_step() -> None:
    reward, terminated, _, info = walk(
        make("rltransfer/MiniGrid-Empty-v0", size=5), [FORWARD, FORWARD, RIGHT, FORWARD, FORWARD]
    )
    assert terminated
    assert reward > 0
    assert info["is_success"] is True


def test_running_out_of_time_is_no_success() -> None:
    reward, terminated, truncated, info = walk(make("rltransfer/MiniGrid-DoorKey-v0", max_steps=3), [RIGHT] * 3)
    assert (reward, terminated, truncated) == (0, False, True)
    assert info["is_success"] is False


def test_stepping_into_lava_is_no_success() -> None:
    env = make("rltransfer/MiniGrid-Crossing-v0", size=5, num_crossings=2)
    for seed in range(20):
        env.reset(seed=seed)
        _, reward, terminated, _, info = env.step(FORWARD)
        if terminated:
            assert reward == 0
            assert info["is_success"] is False
            return
    pytest.fail("no lava in front of the agent in 20 grids")
