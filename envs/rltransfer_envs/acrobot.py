"""Acrobot with the lengths and masses of its links, and the direction of its torque, as arguments."""

from typing import Any

import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv
from jaxtyping import Float32

from rltransfer_envs import checks


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
