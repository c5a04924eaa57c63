"""Pendulum with gravity and the pendulum's mass and length as arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.pendulum import PendulumEnv, angle_normalize
from jaxtyping import Bool, Float32, Float64

from rltransfer_envs import checks
from rltransfer_envs.vector_env import NumpyVectorEnv, scalar_square


class Pendulum(PendulumEnv):
    """Gymnasium's ``Pendulum-v1`` with its physics as arguments.

    ## Description
    A pendulum is to be swung up and held upright by a motor at its joint that is too weak to lift it in one go. The
    torque that holds it level grows with ``g * mass * length``, while the motor's limit stays at 2 N m.

    ## Observation Space
    ``Box``, float32, 3 values: cosine and sine of the angle (upright is 0), angular velocity.

    ## Action Space
    ``Box``, float32, 1 value: the torque, from -2 to 2 N m.

    ## Rewards
    Minus the squared angle, with small prices on speed and torque; 0 at best. 200 steps.

    ## Arguments
    Those below, with the values of ``Pendulum-v1`` as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    @checks.refuses_unknown
    def __init__(
        self, *, g: float = 10.0, mass: float = 1.0, length: float = 1.0, render_mode: str | None = None
    ) -> None:
        """Builds the environment.

        Args:
            g: Acceleration towards the ground in m/s²; 0 is allowed.
            mass: Mass of the pendulum in kilograms.
            length: Length of the pendulum in metres.
            render_mode: As in Gymnasium.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(render_mode=render_mode)
        self._set_arguments(g=g, mass=mass, length=length)

    def _set_arguments(self, *, g: float, mass: float, length: float) -> None:
        """Sets the arguments that leave the spaces alone."""
        self.g = checks.not_negative(self, "g", g)
        self.m = checks.positive(self, "mass", mass)
        self.l = checks.positive(self, "length", length)


class PendulumVector(NumpyVectorEnv[Pendulum]):
    """``Pendulum`` for ``gym.make_vec``: all sub-environments are stepped together."""

    single_env = Pendulum

    def constants(self, env: Pendulum) -> tuple[float, ...]:
        """Returns the factors of gravity and of the torque in the equation of motion."""
        return 3 * env.g / (2 * env.l), 3.0 / (env.m * env.l**2)

    def advance(
        self, state: Float64[np.ndarray, "2 envs"], constants: Float64[np.ndarray, "2 envs"], actions: Any
    ) -> tuple[Sequence[Float64[np.ndarray, " envs"]], Float64[np.ndarray, " envs"], Bool[np.ndarray, " envs"]]:
        """Turns every pendulum for one step."""
        env = self._env
        theta, speed = state
        pull, push = constants
        torque = np.clip(actions, -env.max_torque, env.max_torque)[:, 0]
        # A scalar torque is a float32, and stays one when it is multiplied by a Python number.
        push = push.astype(torque.dtype)
        costs = (
            scalar_square(angle_normalize(theta)) + 0.1 * scalar_square(speed) + 0.001 * scalar_square(torque)  # type: ignore[no-untyped-call]
        )
        speed = speed + (pull * np.sin(theta) + push * torque) * env.dt
        speed = np.clip(speed, -env.max_speed, env.max_speed)
        return (theta + speed * env.dt, speed), -costs, np.zeros(self.num_envs, dtype=bool)

    def observe(self, state: Float64[np.ndarray, "2 envs"]) -> Float32[np.ndarray, "envs 3"]:
        """Returns cosine and sine of the angle, and the velocity."""
        theta, speed = state
        return super().observe(np.stack([np.cos(theta), np.sin(theta), speed]))
