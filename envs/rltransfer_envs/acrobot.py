"""Acrobot with the lengths and masses of its links, and the direction of its torque, as arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from jaxtyping import Bool, Float32, Float64

from rltransfer_envs import checks
from rltransfer_envs.vector_env import NumpyVectorEnv, scalar_square

# Gymnasium has it inside of its equations alone.
_GRAVITY = 9.8


class Acrobot(AcrobotEnv):
    """Gymnasium's ``Acrobot-v1`` with its links and actions as arguments.

    ## Description
    Two links hang in a chain from a fixed joint; a motor between them is to swing the free end up. The equations of
    motion are Gymnasium's own, with other constants in them:

    - the centre of mass of a link stays in its middle;
    - the moment of inertia of each link stays at 1 kg m², which Gymnasium sets whatever the link's size;
    - the goal stays Gymnasium's condition on the angles, ``-cos(θ1) - cos(θ1 + θ2) > 1``, which is a height only where
      both links are 1 m long. It can be reached with any lengths, and the task differs in its dynamics alone.

    ## Observation Space
    ``Box``, float32, 6 values: cosine and sine of both joint angles, both angular velocities.

    ## Action Space
    ``Discrete(3)``: torque of -1, 0 or 1 N m on the middle joint; 1, 0 or -1 with ``swap_actions``.

    ## Rewards
    -1 for every step that does not reach the goal, 0 for the one that does. 500 steps at most.

    ## Arguments
    Those below, with the values of ``Acrobot-v1`` as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        link_length_1: float = 1.0,
        link_length_2: float = 1.0,
        link_mass_1: float = 1.0,
        link_mass_2: float = 1.0,
        swap_actions: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            link_length_1: Length of the upper link in metres.
            link_length_2: Length of the lower link in metres.
            link_mass_1: Mass of the upper link in kilograms.
            link_mass_2: Mass of the lower link in kilograms.
            swap_actions: Action 0 turns as action 2 did, and the other way round.
            render_mode: As in Gymnasium.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(render_mode=render_mode)
        self._set_arguments(
            link_length_1=link_length_1,
            link_length_2=link_length_2,
            link_mass_1=link_mass_1,
            link_mass_2=link_mass_2,
            swap_actions=swap_actions,
        )

    def _set_arguments(
        self, *, link_length_1: float, link_length_2: float, link_mass_1: float, link_mass_2: float, swap_actions: bool
    ) -> None:
        """Sets the arguments that leave the spaces alone."""
        self.LINK_LENGTH_1 = checks.positive(self, "link_length_1", link_length_1)
        self.LINK_LENGTH_2 = checks.positive(self, "link_length_2", link_length_2)
        self.LINK_MASS_1 = checks.positive(self, "link_mass_1", link_mass_1)
        self.LINK_MASS_2 = checks.positive(self, "link_mass_2", link_mass_2)
        self.LINK_COM_POS_1 = self.LINK_LENGTH_1 / 2
        self.LINK_COM_POS_2 = self.LINK_LENGTH_2 / 2
        self._swap_actions = checks.flag(self, "swap_actions", swap_actions)

    def step(self, action: Any) -> tuple[Float32[np.ndarray, "6"], float, bool, bool, dict[str, Any]]:
        """Applies the torque for one step."""
        if self._swap_actions and self.action_space.contains(action):
            action = 2 - action
        state, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return state, reward, terminated, truncated, info


class AcrobotVector(NumpyVectorEnv[Acrobot]):
    """``Acrobot`` for ``gym.make_vec``: all sub-environments are stepped together."""

    single_env = Acrobot

    def constants(self, env: Acrobot) -> tuple[float, ...]:
        """Returns the products of lengths and masses in the equations of motion, and whether actions are swapped."""
        m1, m2, l1, i2 = env.LINK_MASS_1, env.LINK_MASS_2, env.LINK_LENGTH_1, env.LINK_MOI
        lc1, lc2 = env.LINK_COM_POS_1, env.LINK_COM_POS_2
        return (
            m1 * lc1**2,
            m2,
            l1**2 + lc2**2,
            lc2**2,
            l1 * lc2,
            2 * l1 * lc2,
            m2 * lc2 * _GRAVITY,
            m2 * l1 * lc2,
            2 * m2 * l1 * lc2,
            (m1 * lc1 + m2 * l1) * _GRAVITY,
            m2 * lc2**2 + i2,
            env._swap_actions,
        )

    def advance(
        self, state: Float64[np.ndarray, "4 envs"], constants: Float64[np.ndarray, "12 envs"], actions: Any
    ) -> tuple[Sequence[Float64[np.ndarray, " envs"]], Float64[np.ndarray, " envs"], Bool[np.ndarray, " envs"]]:
        """Applies the torques for one step: Gymnasium's ``rk4``, with one step, for all sub-environments."""
        env = self._env
        *physics, is_swapped = constants
        torque = np.array(env.AVAIL_TORQUE)[np.where(is_swapped, 2 - actions, actions)]
        dt = env.dt
        k1 = self._derivatives(state, physics, torque)
        k2 = self._derivatives(state + dt / 2.0 * k1, physics, torque)
        k3 = self._derivatives(state + dt / 2.0 * k2, physics, torque)
        k4 = self._derivatives(state + dt * k3, physics, torque)
        theta1, theta2, dtheta1, dtheta2 = state + dt / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
        theta1, theta2 = _wrap(theta1), _wrap(theta2)
        dtheta1 = np.clip(dtheta1, -env.MAX_VEL_1, env.MAX_VEL_1)
        dtheta2 = np.clip(dtheta2, -env.MAX_VEL_2, env.MAX_VEL_2)
        terminated = -np.cos(theta1) - np.cos(theta2 + theta1) > 1.0
        return (theta1, theta2, dtheta1, dtheta2), np.where(terminated, 0.0, -1.0), terminated

    def observe(self, state: Float64[np.ndarray, "4 envs"]) -> Float32[np.ndarray, "envs 6"]:
        """Returns cosine and sine of both angles, and both velocities."""
        theta1, theta2, dtheta1, dtheta2 = state
        seen = np.stack([np.cos(theta1), np.sin(theta1), np.cos(theta2), np.sin(theta2), dtheta1, dtheta2])
        return super().observe(seen)

    def _derivatives(
        self,
        state: Float64[np.ndarray, "4 envs"],
        physics: Sequence[Float64[np.ndarray, " envs"]],
        torque: Float64[np.ndarray, " envs"],
    ) -> Float64[np.ndarray, "4 envs"]:
        """Returns Gymnasium's ``_dsdt``, operation by operation; its products of constants alone are ``physics``."""
        theta1, theta2, dtheta1, dtheta2 = state
        (
            m1_lc1_2,
            m2,
            l1_2_lc2_2,
            lc2_2,
            l1_lc2,
            l1_lc2_twice,
            m2_lc2_g,
            m2_l1_lc2,
            m2_l1_lc2_twice,
            m_g,
            m2_lc2_2_i2,
        ) = physics
        moi = self._env.LINK_MOI
        cos2, sin2 = np.cos(theta2), np.sin(theta2)
        d1 = m1_lc1_2 + m2 * (l1_2_lc2_2 + l1_lc2_twice * cos2) + moi + moi
        d2 = m2 * (lc2_2 + l1_lc2 * cos2) + moi
        phi2 = m2_lc2_g * np.cos(theta1 + theta2 - np.pi / 2.0)
        phi1 = (
            -m2_l1_lc2 * scalar_square(dtheta2) * sin2
            - m2_l1_lc2_twice * dtheta2 * dtheta1 * sin2
            + m_g * np.cos(theta1 - np.pi / 2)
            + phi2
        )
        ddtheta2 = (torque + d2 / d1 * phi1 - m2_l1_lc2 * scalar_square(dtheta1) * sin2 - phi2) / (
            m2_lc2_2_i2 - scalar_square(d2) / d1
        )
        ddtheta1 = -(d2 * ddtheta2 + phi1) / d1
        return np.stack([dtheta1, dtheta2, ddtheta1, ddtheta2])


def _wrap(angle: Float64[np.ndarray, " envs"]) -> Float64[np.ndarray, " envs"]:
    """Returns angles from -π to π: Gymnasium's ``wrap``, which takes whole turns off one by one."""
    turn = np.pi - -np.pi
    while (over := angle > np.pi).any():
        angle = np.where(over, angle - turn, angle)
    while (under := angle < -np.pi).any():
        angle = np.where(under, angle + turn, angle)
    return angle
