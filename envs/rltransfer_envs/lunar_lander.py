"""LunarLander with its arguments checked; importing this module needs the extra ``box2d``."""

import warnings
from typing import Any

from gymnasium.error import DependencyNotInstalled
from gymnasium.utils import EzPickle

from rltransfer_envs import checks

try:
    with warnings.catch_warnings():
        # Where warnings are errors, a DeprecationWarning inside Box2D's import (SWIG types without a module) is not
        # raised: it crashes the interpreter.
        warnings.simplefilter("ignore", DeprecationWarning)
        from gymnasium.envs.box2d.lunar_lander import LunarLander as OriginalLunarLander
except (ImportError, DependencyNotInstalled) as error:
    raise checks.missing_extra("LunarLander", "box2d") from error


class LunarLander(OriginalLunarLander):
    """Gymnasium's ``LunarLander-v3``, discrete or continuous, with its arguments checked.

    ## Description
    A lander with a main engine and two side engines is to come to rest on a pad. The discrete and the continuous task
    share physics and observations and differ in the kind of their actions: what can move between them is an encoder
    and not a head.

    ## Observation Space
    ``Box``, float32, 8 values: position, velocity, angle, angular velocity, and for each leg whether it touches.

    ## Action Space
    ``Discrete(4)``: nothing, left engine, main engine, right engine. With ``continuous``: ``Box``, float32, 2 values
    from -1 to 1, the throttles of the main engine and of the side engines.

    ## Rewards
    For nearing the pad, slowing down and staying level; 10 for each leg that touches; a price on fuel; 100 for landing
    and -100 for crashing. 200 counts as solved. 1000 steps at most.

    ## Arguments
    Those below, with the values of ``LunarLander-v3`` as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        gravity: float = -10.0,
        enable_wind: bool = False,
        wind_power: float = 15.0,
        turbulence_power: float = 1.5,
        continuous: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            gravity: Acceleration upwards in units of Box2D, between -12 and 0, bounds excluded.
            enable_wind: Lets wind blow until a leg touches; without it the next two arguments do nothing.
            wind_power: Largest sideways force of the wind; Gymnasium recommends at most 20, and warns above.
            turbulence_power: Largest turning force of the wind; Gymnasium recommends at most 2, and warns above.
            continuous: Throttles instead of switches.
            render_mode: As in Gymnasium.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        arguments: dict[str, Any] = {
            "gravity": checks.between(self, "gravity", gravity, low=-12.0, high=0.0),
            "enable_wind": checks.flag(self, "enable_wind", enable_wind),
            "wind_power": checks.not_negative(self, "wind_power", wind_power),
            "turbulence_power": checks.not_negative(self, "turbulence_power", turbulence_power),
            "continuous": checks.flag(self, "continuous", continuous),
            "render_mode": render_mode,
        }
        super().__init__(**arguments)
        # The original notes its own positional arguments for pickling; ours are given by name.
        EzPickle.__init__(self, **arguments)
