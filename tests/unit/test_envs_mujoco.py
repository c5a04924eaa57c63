"""The MuJoCo robots: each argument changes the model or the reward as it says, and nothing else."""

from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import pytest
from gymnasium.envs.mujoco.mujoco_env import expand_model_path

from rltransfer.errors import UnknownNameError

ROBOTS = ("HalfCheetah", "Hopper", "Walker2d", "Ant")
# What MuJoCo derives from masses and inertias when it compiles a model.
DERIVED = ("body_mass", "body_inertia", "body_subtreemass", "body_invweight0", "dof_invweight0", "dof_M0")


def make(robot: str, **kwargs: Any) -> gym.Env:
    return gym.make(f"rltransfer_envs:rltransfer/{robot}-v0", **kwargs)


def model(robot: str, **kwargs: Any) -> Any:
    return make(robot, **kwargs).unwrapped.model


def arrays(of: Any) -> dict[str, np.ndarray]:
    names = (name for name in dir(of) if isinstance(getattr(of, name, None), np.ndarray))
    return {name: getattr(of, name).copy() for name in names}


def walk(env: gym.Env, steps: int = 40) -> list[tuple[np.ndarray, np.ndarray, float, dict[str, Any]]]:
    """Returns observation, action, reward and info of each step of fixed random actions, beyond any fall."""
    env.reset(seed=3)
    rng = np.random.default_rng(3)
    seen = []
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, _, _, info = env.step(action)
        seen.append((observation, action, reward, info))
    return seen


@pytest.mark.parametrize("robot", ROBOTS)
def test_infos_and_types_are_the_originals(robot: str) -> None:
    variant, reference = make(robot), gym.make(f"{robot}-v5")
    assert variant.reset(seed=5)[1] == reference.reset(seed=5)[1]
    variant.action_space.seed(5)
    for _ in range(1000):
        action = variant.action_space.sample()
        actual, original = variant.step(action), reference.step(action)
        assert actual[0].tobytes() == original[0].tobytes()
        assert actual[1:] == original[1:]
        assert list(map(type, actual)) == list(map(type, original))
        if actual[2] or actual[3]:
            assert variant.reset()[1] == reference.reset()[1]


@pytest.mark.parametrize("robot", ROBOTS)
def test_defaults_leave_the_model_alone(robot: str) -> None:
    variant, reference = model(robot), gym.make(f"{robot}-v5").unwrapped.model
    for name, values in arrays(reference).items():
        assert getattr(variant, name).tobytes() == values.tobytes()
    for name, values in arrays(reference.opt).items():
        assert getattr(variant.opt, name).tobytes() == values.tobytes()


@pytest.mark.parametrize("robot", ROBOTS)
@pytest.mark.parametrize(
    ("kwargs", "changed"),
    [
        ({"gravity": 3.7}, set()),
        ({"friction": 0.5}, {"geom_friction"}),
        ({"direction": -1, "target_speed": 1.0}, set()),
        ({"mass": 2.0}, set(DERIVED)),
    ],
    ids=lambda value: str(next(iter(value), "")) if isinstance(value, dict) else "",
)
def test_each_argument_changes_its_own_part_of_the_model(robot: str, kwargs: dict[str, Any], changed: set[str]) -> None:
    before, after = arrays(model(robot)), arrays(model(robot, **kwargs))
    different = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    # MuJoCo derives more from masses than is listed here: lengths and forces of the tree, dense and sparse.
    assert changed <= different
    if "mass" not in kwargs:
        assert different == changed


@pytest.mark.parametrize("robot", ROBOTS)
def test_gravity_makes_a_falling_robot_faster(robot: str) -> None:
    def drop(**kwargs: Any) -> float:
        env = make(robot, **kwargs).unwrapped
        env.reset(seed=0)
        position, velocity = env.init_qpos.copy(), np.zeros_like(env.init_qvel)
        height = 2 if robot == "Ant" else 1
        position[height] += 5
        env.set_state(position, velocity)
        # The centre of mass of the whole robot: its joints move while it falls.
        start = env.data.subtree_com[1, 2]
        for _ in range(5):
            env.step(np.zeros(env.action_space.shape, dtype=np.float32))
        mujoco.mj_forward(env.model, env.data)
        return 2 * (start - env.data.subtree_com[1, 2]) / (5 * env.dt) ** 2

    assert drop() == pytest.approx(9.81, rel=0.05)
    assert drop(gravity=3.7) == pytest.approx(3.7, rel=0.05)
    assert drop(gravity=0) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("robot", ROBOTS)
def test_mass_equals_a_model_compiled_with_scaled_masses(robot: str) -> None:
    env = make(robot, mass=2.5).unwrapped
    spec = mujoco.MjSpec.from_file(expand_model_path(env.fullpath))
    spec.compiler.settotalmass = -1
    plain = model(robot)
    compiled = spec.compile()
    scale = 2.5 * plain.body_mass.sum() / compiled.body_mass.sum()
    for geom in spec.geoms:
        geom.density *= scale
    compiled = spec.compile()
    np.testing.assert_allclose(env.model.body_mass, 2.5 * plain.body_mass)
    np.testing.assert_allclose(env.model.body_inertia, 2.5 * plain.body_inertia)
    for name in DERIVED:
        np.testing.assert_allclose(getattr(env.model, name), getattr(compiled, name), rtol=1e-9, atol=1e-12)


def test_mass_makes_the_same_torques_do_less() -> None:
    light, heavy = (walk(make("HalfCheetah", gravity=0, mass=mass)) for mass in (1, 20))
    assert np.abs(heavy[10][0][8:]).mean() < np.abs(light[10][0][8:]).mean()


@pytest.mark.parametrize("robot", ROBOTS)
def test_friction_scales_sliding_alone(robot: str) -> None:
    plain, slippery = model(robot).geom_friction, model(robot, friction=0.25).geom_friction
    np.testing.assert_array_equal(slippery[:, 0], 0.25 * plain[:, 0])
    np.testing.assert_array_equal(slippery[:, 1:], plain[:, 1:])


def test_friction_decides_how_far_a_robot_slides() -> None:
    def slide(friction: float) -> float:
        env = make("HalfCheetah", friction=friction).unwrapped
        env.reset(seed=0)
        velocity = np.zeros_like(env.init_qvel)
        velocity[0] = 5
        env.set_state(env.init_qpos.copy(), velocity)
        for _ in range(40):
            env.step(np.zeros(6, dtype=np.float32))
        return float(env.data.qpos[0])

    assert slide(0.1) > slide(1.0) > slide(3.0)


@pytest.mark.parametrize("robot", ROBOTS)
def test_direction_flips_the_forward_reward_and_nothing_else(robot: str) -> None:
    forwards, backwards = walk(make(robot)), walk(make(robot, direction=-1))
    for (seen, _, reward, info), (seen_back, _, reward_back, info_back) in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(seen, seen_back)
        assert info_back["reward_forward"] == -info["reward_forward"]
        assert reward_back == pytest.approx(reward - 2 * info["reward_forward"])
        assert {**info_back, "reward_forward": None} == {**info, "reward_forward": None}


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("robot", ROBOTS)
def test_target_speed_follows_its_formula(robot: str, direction: int) -> None:
    env = make(robot, target_speed=0.7, direction=direction, forward_reward_weight=3.0, ctrl_cost_weight=0.2)
    for (seen, action, reward, info), (same, *_) in zip(walk(env), walk(make(robot)), strict=True):
        np.testing.assert_array_equal(seen, same)
        forward = -3.0 * abs(info["x_velocity"] * direction - 0.7)
        assert info["reward_forward"] == pytest.approx(forward)
        control = -0.2 * np.square(action).sum()
        assert info["reward_ctrl"] == pytest.approx(control)
        others = info.get("reward_survive", 0) + info.get("reward_contact", 0)
        assert reward == pytest.approx(forward + control + others)


def test_target_speed_zero_is_a_speed() -> None:
    info = walk(make("HalfCheetah", target_speed=0))[-1][3]
    assert info["reward_forward"] == pytest.approx(-abs(info["x_velocity"]))


def test_arguments_of_drawing_reach_the_renderer_and_are_suggested() -> None:
    camera = {"distance": 9.0}
    renderer = make("Hopper", width=64, height=32, camera_id=0, default_camera_config=camera).unwrapped.mujoco_renderer
    assert (renderer.width, renderer.height, renderer.camera_id) == (64, 32, 0)
    assert renderer.default_cam_config == camera
    with pytest.raises(UnknownNameError, match=r"Hopper has no argument 'widht'\. Did you mean 'width'\? Known: grav"):
        make("Hopper", widht=64)
