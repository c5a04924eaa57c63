"""The families as Gymnasium and SB3 see them: registered from one table, equal to their originals by default."""

import copy
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pytest
import rltransfer_envs
from gymnasium.utils.env_checker import check_env as gymnasium_check_env
from rltransfer_envs import atari, lunar_lander, minigrid_tasks  # noqa: F401  (imports that register or that warn)
from stable_baselines3.common.atari_wrappers import AtariWrapper
from stable_baselines3.common.env_checker import check_env as sb3_check_env
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import SubprocVecEnv

from rltransfer.errors import UnknownNameError

CARTPOLE = "rltransfer/CartPole-v0"
# Each family with the original that it equals, and the arguments that select it; no arguments: its defaults.
TWINS = [
    (CARTPOLE, {}, "CartPole-v1"),
    ("rltransfer/Acrobot-v0", {}, "Acrobot-v1"),
    ("rltransfer/MountainCar-v0", {}, "MountainCar-v0"),
    ("rltransfer/Pendulum-v0", {}, "Pendulum-v1"),
    ("rltransfer/LunarLander-v0", {}, "LunarLander-v3"),
    ("rltransfer/LunarLander-v0", {"continuous": True}, "LunarLanderContinuous-v3"),
    ("rltransfer/HalfCheetah-v0", {}, "HalfCheetah-v5"),
    ("rltransfer/Hopper-v0", {}, "Hopper-v5"),
    ("rltransfer/Walker2d-v0", {}, "Walker2d-v5"),
    ("rltransfer/Ant-v0", {}, "Ant-v5"),
    ("rltransfer/Atari-v0", {}, "ALE/Pong-v5"),
    ("rltransfer/MiniGrid-Empty-v0", {}, "MiniGrid-Empty-8x8-v0"),
    ("rltransfer/MiniGrid-Empty-v0", {"size": 5, "random_start": True}, "MiniGrid-Empty-Random-5x5-v0"),
    ("rltransfer/MiniGrid-FourRooms-v0", {}, "MiniGrid-FourRooms-v0"),
    ("rltransfer/MiniGrid-Crossing-v0", {}, "MiniGrid-LavaCrossingS9N1-v0"),
    (
        "rltransfer/MiniGrid-Crossing-v0",
        {"size": 11, "num_crossings": 5, "obstacle": "wall"},
        "MiniGrid-SimpleCrossingS11N5-v0",
    ),
    ("rltransfer/MiniGrid-DoorKey-v0", {}, "MiniGrid-DoorKey-8x8-v0"),
    ("rltransfer/MiniGrid-DoorKey-v0", {"size": 5}, "MiniGrid-DoorKey-5x5-v0"),
    ("rltransfer/MiniGrid-Unlock-v0", {}, "MiniGrid-Unlock-v0"),
    ("rltransfer/MiniGrid-UnlockPickup-v0", {}, "MiniGrid-UnlockPickup-v0"),
]
# Variants with other spaces than their original's.
RESHAPED = [
    (CARTPOLE, {"distractors": 3, "observation_order": [3, 1, 0, 2], "swap_actions": True}, "CartPole-v1"),
    ("rltransfer/MiniGrid-DoorKey-v0", {"size": 5, "view": "rgb"}, "MiniGrid-DoorKey-5x5-v0"),
]
VARIANTS = [*TWINS, *RESHAPED]
# The worlds of Box2D, MuJoCo and ALE are not copied: a copy of the original starts anew as well.
COPIED = [(env_id, kwargs) for env_id, kwargs, _ in VARIANTS if rltransfer_envs.extra(env_id) in (None, "minigrid")]
ANEW = [
    (
        "rltransfer/LunarLander-v0",
        {"continuous": True, "gravity": -3.0, "enable_wind": True, "wind_power": 4.0},
    ),
    (
        "rltransfer/Hopper-v0",
        {"gravity": 3.0, "mass": 2.0, "friction": 0.5, "direction": -1, "target_speed": 1.0, "healthy_reward": 0.5},
    ),
    (
        "rltransfer/Atari-v0",
        {"game": "ms_pacman", "mode": 1, "frameskip": 2, "screen_size": 40, "clip_reward": False, "noop_max": 5},
    ),
]
# MuJoCo draws with OpenGL alone, which a machine without a screen need not have.
UNDRAWN = {
    env_id
    for variant, _, original in TWINS
    for env_id in (variant, original)
    if rltransfer_envs.extra(variant) == "mujoco"
}


def make(env_id: str, **kwargs: Any) -> gym.Env:
    return gym.make(f"rltransfer_envs:{env_id}", **kwargs)


def make_original(env_id: str, view: str | None = None, **kwargs: Any) -> gym.Env:
    if env_id.startswith("ALE/"):
        return AtariWrapper(gym.make(env_id, frameskip=1, repeat_action_probability=0))
    env = gym.make(env_id, **kwargs)
    if not env_id.startswith("MiniGrid"):
        return env
    from minigrid.wrappers import ImgObsWrapper, RGBImgPartialObsWrapper

    return ImgObsWrapper(RGBImgPartialObsWrapper(env) if view == "rgb" else env)


def exact(observation: np.ndarray) -> tuple[str, tuple[int, ...], bytes]:
    """Returns what makes an observation equal to another one bit by bit."""
    return str(observation.dtype), observation.shape, observation.tobytes()


def rollout(env: gym.Env, seed: int, steps: int) -> list[tuple[Any, ...]]:
    """Returns what ``steps`` steps of seeded random actions show, over as many episodes as they take."""
    env.action_space.seed(seed)
    observation, _ = env.reset(seed=seed)
    seen: list[tuple[Any, ...]] = [(exact(observation),)]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        seen.append((exact(observation), float(reward), terminated, truncated))
        if terminated or truncated:
            observation, _ = env.reset()
            seen.append((exact(observation),))
    env.close()
    return seen


@pytest.mark.parametrize(("env_id", "kwargs", "original"), TWINS, ids=str)
def test_family_equals_its_original_step_for_step(env_id: str, kwargs: dict[str, Any], original: str) -> None:
    steps = 150 if original.startswith("ALE/") else 600
    for seed in (0, 1, 2):
        assert rollout(make(env_id, **kwargs), seed, steps) == rollout(make_original(original), seed, steps)


def test_every_family_has_a_twin_with_its_limits_spaces_and_threshold() -> None:
    defaults = {env_id: original for env_id, kwargs, original in TWINS if not kwargs}
    assert set(defaults) == {family.env_id for family in rltransfer_envs.FAMILIES}
    for env_id, original in defaults.items():
        variant, reference = make(env_id), make_original(original)
        assert (variant.observation_space, variant.action_space) == (
            reference.observation_space,
            reference.action_space,
        )
        variant_spec, original_spec = gym.spec(env_id), gym.spec(original)
        assert variant_spec.max_episode_steps == original_spec.max_episode_steps
        assert variant_spec.reward_threshold == original_spec.reward_threshold


def test_rgb_view_equals_minigrids_own() -> None:
    variant = rollout(make("rltransfer/MiniGrid-DoorKey-v0", size=5, view="rgb"), 0, 60)
    assert variant == rollout(make_original("MiniGrid-DoorKey-5x5-v0", view="rgb"), 0, 60)
    assert variant[0][0][:2] == ("uint8", (56, 56, 3))


def checker_warnings(env: gym.Env) -> set[str]:
    assert env.spec is not None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        gymnasium_check_env(env.unwrapped, skip_render_check=env.spec.id in UNDRAWN)
        sb3_check_env(env)
    return {str(warning.message) for warning in caught}


@pytest.mark.parametrize(("env_id", "kwargs", "original"), VARIANTS, ids=str)
def test_both_checkers_pass_without_a_warning_that_the_original_does_not_raise(
    env_id: str, kwargs: dict[str, Any], original: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Gymnasium's checker draws in every mode, also in a window.
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.setenv("SDL_AUDIODRIVER", "dummy")
    variant, reference = make(env_id, **kwargs), make_original(original, view=kwargs.get("view"))
    assert checker_warnings(variant) <= checker_warnings(reference)


@pytest.mark.parametrize(
    "env_id", [family.env_id for family in rltransfer_envs.FAMILIES if family.env_id not in UNDRAWN]
)
def test_frames_are_drawn(env_id: str) -> None:
    env = make(env_id, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    env.close()
    assert isinstance(frame, np.ndarray)
    assert frame.ndim == 3
    assert frame.std() > 0


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: cloudpickle.loads(cloudpickle.dumps(env))])
@pytest.mark.parametrize(("env_id", "kwargs"), COPIED, ids=str)
def test_copies_go_on_from_the_middle_of_an_episode(env_id: str, kwargs: dict[str, Any], duplicate: Any) -> None:
    env = make(env_id, **kwargs)
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())
    twin = duplicate(env)
    for _ in range(40):
        action = env.action_space.sample()
        variant, reference = env.step(action), twin.step(action)
        assert variant[0].tolist() == reference[0].tolist()
        assert variant[1:4] == reference[1:4]
        if variant[2] or variant[3]:
            assert env.reset()[0].tolist() == twin.reset()[0].tolist()


@pytest.mark.parametrize(("env_id", "kwargs"), ANEW, ids=str)
def test_what_starts_anew_is_copied_with_its_arguments(env_id: str, kwargs: dict[str, Any]) -> None:
    env = make(env_id, **kwargs)
    for twin in (copy.deepcopy(env), cloudpickle.loads(cloudpickle.dumps(env))):
        assert rollout(twin, 3, 50) == rollout(env, 3, 50)


def test_subprocesses_and_specs_make_the_same_environment() -> None:
    kwargs = {"length": 1.5, "distractors": 2}
    vec_env = make_vec_env(
        f"rltransfer_envs:{CARTPOLE}",
        seed=0,
        env_kwargs=kwargs,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": "forkserver"},
    )
    try:
        observations = vec_env.reset()
    finally:
        vec_env.close()
    env = make(CARTPOLE, **kwargs)
    assert env.spec is not None
    again = gym.make(gym.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    for made in (env, again):
        np.testing.assert_array_equal(made.reset(seed=0)[0], observations[0])


def test_without_extras_ids_are_registered_and_the_error_says_what_to_install() -> None:
    program = """
        import sys
        sys.modules["Box2D"] = sys.modules["minigrid"] = sys.modules["mujoco"] = sys.modules["ale_py"] = None
        import gymnasium as gym
        import rltransfer_envs
        from rltransfer.errors import MissingExtraError

        assert "torch" not in sys.modules
        assert all(family.env_id in gym.registry for family in rltransfer_envs.FAMILIES)
        gym.make("rltransfer_envs:rltransfer/CartPole-v0").reset(seed=0)
        for name in ("LunarLander", "Ant", "Atari", "MiniGrid-DoorKey"):
            for ask in (gym.make, rltransfer_envs.arguments):
                try:
                    ask(f"rltransfer/{name}-v0")
                except MissingExtraError as error:
                    print(error)
            print(rltransfer_envs.extra(f"rltransfer/{name}-v0"))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    need = "{} needs the extra '{}', which is not installed. Install it with: pip install \"rltransfer[{}]\""
    missing = [("LunarLander", "box2d"), ("MuJoCo", "mujoco"), ("Atari", "atari"), ("MiniGrid", "minigrid")]
    assert done.stdout.splitlines() == [
        line for what, extra in missing for line in (*[need.format(what, extra, extra)] * 2, extra)
    ]


def test_no_extra_is_imported_for_a_family_that_needs_none() -> None:
    program = """
        import sys
        import gymnasium as gym
        gym.make("rltransfer_envs:rltransfer/CartPole-v0")
        assert not {"Box2D", "minigrid", "mujoco", "ale_py", "cv2"} & sys.modules.keys()
    """
    subprocess.run([sys.executable, "-W", "error", "-c", textwrap.dedent(program)], check=True)


def test_lunar_lander_can_be_imported_where_warnings_are_errors() -> None:
    # Box2D's own import crashes the interpreter there.
    program = "import gymnasium as gym; gym.make('rltransfer_envs:rltransfer/LunarLander-v0').reset(seed=0)"
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)


def test_arguments_are_listed_without_making_an_environment() -> None:
    listed = rltransfer_envs.arguments(f"rltransfer_envs:{CARTPOLE}")
    assert listed == {
        "length": 0.5,
        "force_mag": 10.0,
        "gravity": 9.8,
        "masspole": 0.1,
        "masscart": 1.0,
        "swap_actions": False,
        "observation_order": None,
        "distractors": 0,
    }
    assert rltransfer_envs.arguments(CARTPOLE) == listed
    assert rltransfer_envs.extra(CARTPOLE) is None


def test_unknown_ids_get_near_misses() -> None:
    for ask in (rltransfer_envs.arguments, rltransfer_envs.extra):
        with pytest.raises(UnknownNameError, match=r"'rltransfer/CartPol-v0'\. Did you mean 'rltransfer/CartPole-v0'"):
            ask("rltransfer_envs:rltransfer/CartPol-v0")


def test_the_documented_table_holds_every_argument_default_and_extra() -> None:
    page = (Path(__file__).parents[2] / "docs/environments.md").read_text()
    for family in rltransfer_envs.FAMILIES:
        name = family.env_id.partition("/")[2]
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        _, _, _, arguments, extra, _ = (cell.strip().strip("`") for cell in row.split("|"))
        defaults = rltransfer_envs.arguments(family.env_id)
        assert arguments == " ".join(
            f"{key}={value:g}" if type(value) is float else f"{key}={value}" for key, value in defaults.items()
        )
        assert extra == (family.extra or "")
