"""MountainCar with the car's force and gravity as arguments."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.mountain_car import MountainCarEnv
from jaxtyping import Bool, Float64

from rltransfer_envs import checks
from rltransfer_envs.vector_env import NumpyVectorEnv


class MountainCar(MountainCarEnv):
    """Gymnasium's ``MountainCar-v0`` with its physics as arguments.

    ## Description
    A car in a valley is too weak to drive up the right hill and has to swing. The stronger the car against gravity,
    the fewer swings; from a force of about gravity up it needs none.

    ## Observation Space
    ``Box``, float32, 2 values: position and velocity.

    ## Action Space
    ``Discrete(3)``: accelerate to the left, not at all, to the right.

    ## Rewards
    -1 for every step. 200 steps at most.

    ## Arguments
    Those below, with the values of ``MountainCar-v0`` as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    @checks.refuses_unknown
    def __init__(self, *, force: float = 0.001, gravity: float = 0.0025, render_mode: str | None = None) -> None:
        """Builds the environment.

        Args:
            force: What an action adds to the velocity in one step.
            gravity: What the steepest slope takes from the velocity in one step; 0 is allowed.
            render_mode: As in Gymnasium.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(render_mode=render_mode)
        self._set_arguments(force=force, gravity=gravity)

    def _set_arguments(self, *, force: float, gravity: float) -> None:
        """Sets the arguments that leave the spaces alone."""
        self.force = checks.positive(self, "force", force)
        self.gravity = checks.not_negative(self, "gravity", gravity)


class MountainCarVector(NumpyVectorEnv[MountainCar]):
    """``MountainCar`` for ``gym.make_vec``: all sub-environments are stepped together."""

    single_env = MountainCar

    def constants(self, env: MountainCar) -> tuple[float, ...]:
        """Returns force and gravity."""
        return env.force, env.gravity

    def advance(
        self, state: Float64[np.ndarray, "2 envs"], constants: Float64[np.ndarray, "2 envs"], actions: Any
    ) -> tuple[Sequence[Float64[np.ndarray, " envs"]], Float64[np.ndarray, " envs"], Bool[np.ndarray, " envs"]]:
        """Accelerates every car once."""
        env = self._env
        position, velocity = state
        force, gravity = constants
        # NumPy's cosine of an array may differ from math.cos, which Gymnasium takes here, in the last bit.
        slope = np.fromiter(map(math.cos, (3 * position).tolist()), np.float64, self.num_envs)
        velocity = velocity + ((actions - 1) * force + slope * -gravity)
        velocity = np.clip(velocity, -env.max_speed, env.max_speed)
        position = np.clip(position + velocity, env.min_position, env.max_position)
        velocity = np.where((position == env.min_position) & (velocity < 0), 0.0, velocity)
        terminated = (position >= env.goal_position) & (velocity >= env.goal_velocity)
        return (position, velocity), np.full(self.num_envs, -1.0), terminated
