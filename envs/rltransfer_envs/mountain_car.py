"""MountainCar with the car's force and gravity as arguments."""

from gymnasium.envs.classic_control.mountain_car import MountainCarEnv

from rltransfer_envs import checks


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
        self.force = checks.positive(self, "force", force)
        self.gravity = checks.not_negative(self, "gravity", gravity)
