"""Pendulum with gravity and the pendulum's mass and length as arguments."""

from gymnasium.envs.classic_control.pendulum import PendulumEnv

from rltransfer_envs import checks


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
        super().__init__(render_mode=render_mode, g=checks.not_negative(self, "g", g))
        self.m = checks.positive(self, "mass", mass)
        self.l = checks.positive(self, "length", length)
