"""The table of environment ids, and what can be asked about an id without making its environment."""

import dataclasses
import inspect
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator

from rltransfer.errors import unknown

PACKAGE = "rltransfer_envs"


@dataclasses.dataclass(frozen=True)
class Family:
    """One row: an id, the class behind it, the original's limit and threshold, the extra that it needs.

    Attributes:
        vector: The class behind ``gym.make_vec`` where the family has one; elsewhere Gymnasium makes scalar ones.
    """

    env_id: str
    entry_point: str
    max_episode_steps: int | None = None
    reward_threshold: float | None = None
    extra: str | None = None
    vector: str | None = None


# MiniGrid's and Atari's environments end their own episodes, so their rows have no limit, as in the original.
FAMILIES = (
    Family("rltransfer/CartPole-v0", "cart_pole:CartPole", 500, 475.0, vector="cart_pole:CartPoleVector"),
    Family("rltransfer/Acrobot-v0", "acrobot:Acrobot", 500, -100.0, vector="acrobot:AcrobotVector"),
    Family(
        "rltransfer/MountainCar-v0", "mountain_car:MountainCar", 200, -110.0, vector="mountain_car:MountainCarVector"
    ),
    Family("rltransfer/Pendulum-v0", "pendulum:Pendulum", 200, vector="pendulum:PendulumVector"),
    Family("rltransfer/LunarLander-v0", "lunar_lander:LunarLander", 1000, 200.0, extra="box2d"),
    Family("rltransfer/HalfCheetah-v0", "mujoco_robots:HalfCheetah", 1000, 4800.0, extra="mujoco"),
    Family("rltransfer/Hopper-v0", "mujoco_robots:Hopper", 1000, 3800.0, extra="mujoco"),
    Family("rltransfer/Walker2d-v0", "mujoco_robots:Walker2d", 1000, extra="mujoco"),
    Family("rltransfer/Ant-v0", "mujoco_robots:Ant", 1000, 6000.0, extra="mujoco"),
    Family("rltransfer/Atari-v0", "atari:Atari", extra="atari"),
    Family("rltransfer/MiniGrid-Empty-v0", "minigrid_tasks:Empty", extra="minigrid"),
    Family("rltransfer/MiniGrid-FourRooms-v0", "minigrid_tasks:FourRooms", extra="minigrid"),
    Family("rltransfer/MiniGrid-Crossing-v0", "minigrid_tasks:Crossing", extra="minigrid"),
    Family("rltransfer/MiniGrid-DoorKey-v0", "minigrid_tasks:DoorKey", extra="minigrid"),
    Family("rltransfer/MiniGrid-Unlock-v0", "minigrid_tasks:Unlock", extra="minigrid"),
    Family("rltransfer/MiniGrid-UnlockPickup-v0", "minigrid_tasks:UnlockPickup", extra="minigrid"),
)

# No families: made from the user's own files, which are an argument without a default, they equal no original.
OWN_FILES = (Family("rltransfer/ImageFolder-v0", "image_folder:ImageFolder"),)


def register_families() -> None:
    """Registers every row of the tables with Gymnasium."""
    for family in (*FAMILIES, *OWN_FILES):
        gym.register(
            id=family.env_id,
            entry_point=f"{PACKAGE}.{family.entry_point}",
            vector_entry_point=family.vector and f"{PACKAGE}.{family.vector}",
            max_episode_steps=family.max_episode_steps,
            reward_threshold=family.reward_threshold,
        )


def arguments(env_id: str) -> dict[str, Any]:
    """Returns the arguments of an environment with their defaults, those of drawing apart, without making it.

    An argument that has to be given has the default ``inspect.Parameter.empty``.

    >>> arguments("rltransfer_envs:rltransfer/MountainCar-v0")
    {'force': 0.001, 'gravity': 0.0025}

    Args:
        env_id: An id of this package, with or without ``rltransfer_envs:`` in front.

    Raises:
        UnknownNameError: No environment of this package has that id.
        MissingExtraError: The extra that the environment needs is not installed.
    """
    creator = load_env_creator(f"{PACKAGE}.{_family(env_id).entry_point}")
    parameters = inspect.signature(creator).parameters
    return {
        name: parameter.default
        for name, parameter in parameters.items()
        if name != "render_mode" and parameter.kind is not parameter.VAR_KEYWORD
    }


def extra(env_id: str) -> str | None:
    """Returns the extra of rltransfer that an environment needs, installed or not; None where it needs none.

    >>> extra("rltransfer/LunarLander-v0")
    'box2d'

    Args:
        env_id: An id of this package, with or without ``rltransfer_envs:`` in front.

    Raises:
        UnknownNameError: No environment of this package has that id.
    """
    return _family(env_id).extra


def _family(env_id: str) -> Family:
    name = env_id.removeprefix(f"{PACKAGE}:")
    rows = {family.env_id: family for family in (*FAMILIES, *OWN_FILES)}
    if name not in rows:
        raise unknown("environment", name, rows)
    return rows[name]
