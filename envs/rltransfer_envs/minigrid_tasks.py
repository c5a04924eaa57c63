"""MiniGrid tasks whose observation is one image; importing this module needs the extra ``minigrid``."""

from typing import Any, Literal

import numpy as np
from gymnasium.spaces import Box
from jaxtyping import UInt8

from rltransfer_envs import checks

try:
    from minigrid.core.world_object import Lava, Wall
    from minigrid.envs.crossing import CrossingEnv
    from minigrid.envs.doorkey import DoorKeyEnv
    from minigrid.envs.empty import EmptyEnv
    from minigrid.envs.fourrooms import FourRoomsEnv
    from minigrid.envs.unlock import UnlockEnv
    from minigrid.envs.unlockpickup import UnlockPickupEnv
    from minigrid.minigrid_env import MiniGridEnv
except ImportError as error:
    raise checks.missing_extra("MiniGrid", "minigrid") from error

View = Literal["symbolic", "rgb"]
VIEWS = ("symbolic", "rgb")
VIEW_TILES = 7
TILE_PIXELS = 8
OBSTACLES = {"lava": Lava, "wall": Wall}
Image = UInt8[np.ndarray, "width height 3"]


class ImageTask(MiniGridEnv):
    """What all tasks share: MiniGrid's grid world, seen as one image and reporting success.

    ## Description
    The agent walks and turns on a grid and sees the 7x7 tiles before it. The mission text and the compass direction of
    MiniGrid's observation are left out.

    ## Observation Space
    ``Box(0, 255)``, uint8. ``view="symbolic"``: 7x7x3, for each tile its kind, colour and state as small numbers (at
    most 10), which a network should scale itself. ``view="rgb"``: 56x56x3, the same tiles drawn with 8x8 pixels each.

    ## Action Space
    ``Discrete(7)``: turn left, turn right, go forward, pick up, drop, toggle, done.

    ## Rewards
    ``1 - 0.9 * steps / max_steps`` on success, 0 otherwise. The last step's info holds ``is_success``.

    ## Arguments
    Those of each task, with the original's defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    _rgb: bool

    # MiniGrid leaves the type of its observation open, which type checkers take for "whatever the caller asks for".
    def reset(  # type: ignore[override]
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Image, dict[str, Any]]:
        """Starts an episode on a new grid."""
        observation, info = super().reset(seed=seed, options=options)
        return self._observe(observation), info

    def step(  # type: ignore[override]
        self, action: Any
    ) -> tuple[Image, float, bool, bool, dict[str, Any]]:
        """Does one action."""
        observation, raw_reward, terminated, truncated, info = super().step(action)
        reward = float(raw_reward)
        if terminated or truncated:
            info["is_success"] = terminated and reward > 0
        return self._observe(observation), reward, terminated, truncated, info

    def _show(self, view: View) -> None:
        self._rgb = checks.choice(self, "view", view, VIEWS) == "rgb"
        side = VIEW_TILES * (TILE_PIXELS if self._rgb else 1)
        self.observation_space = Box(0, 255, (side, side, 3), np.uint8)

    def _observe(self, observation: dict[str, Any]) -> Image:
        image: Image = observation["image"]
        if self._rgb:
            image = self.get_frame(tile_size=TILE_PIXELS, agent_pov=True)
        return image

    def _checked_max_steps(self, max_steps: int | None) -> int | None:
        return None if max_steps is None else checks.whole(self, "max_steps", max_steps, least=1)


class Empty(ImageTask, EmptyEnv):
    """MiniGrid's ``Empty``: walk to the goal in the far corner of an empty room.

    The headings of ``ImageTask`` hold.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        size: int = 8,
        random_start: bool = False,
        max_steps: int | None = None,
        view: View = "symbolic",
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            size: Side of the room in tiles, walls included, from 4 up.
            random_start: Starts anywhere in any direction instead of in the corner; MiniGrid's ``Empty-Random``.
            max_steps: Length of an episode at most; None for ``4 * size**2``.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            size=checks.whole(self, "size", size, least=4),
            agent_start_pos=None if checks.flag(self, "random_start", random_start) else (1, 1),
            max_steps=self._checked_max_steps(max_steps),
            render_mode=render_mode,
        )
        self._show(view)


class FourRooms(ImageTask, FourRoomsEnv):
    """MiniGrid's ``FourRooms``: find the goal somewhere in four connected rooms.

    The headings of ``ImageTask`` hold.
    """

    @checks.refuses_unknown
    def __init__(self, *, max_steps: int = 100, view: View = "symbolic", render_mode: str | None = None) -> None:
        """Builds the environment.

        Args:
            max_steps: Length of an episode at most.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        max_steps = checks.whole(self, "max_steps", max_steps, least=1)
        super().__init__(max_steps=max_steps, render_mode=render_mode)  # type: ignore[no-untyped-call]
        self._show(view)


class Crossing(ImageTask, CrossingEnv):
    """MiniGrid's ``LavaCrossing`` and ``SimpleCrossing``: reach the far corner through openings in lava or walls.

    The headings of ``ImageTask`` hold. Stepping into lava ends the episode without success.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        size: int = 9,
        num_crossings: int = 1,
        obstacle: Literal["lava", "wall"] = "lava",
        max_steps: int | None = None,
        view: View = "symbolic",
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            size: Side of the room in tiles, walls included; odd, from 5 up.
            num_crossings: How many obstacles cross the room, from 1 to the ``size - 3`` that fit.
            obstacle: ``lava`` for ``LavaCrossing``, ``wall`` for ``SimpleCrossing``.
            max_steps: Length of an episode at most; None for ``4 * size**2``.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        size = checks.odd(self, "size", size, least=5)
        super().__init__(
            size=size,
            num_crossings=checks.whole(self, "num_crossings", num_crossings, least=1, most=size - 3),
            obstacle_type=OBSTACLES[checks.choice(self, "obstacle", obstacle, tuple(OBSTACLES))],
            max_steps=self._checked_max_steps(max_steps),
            render_mode=render_mode,
        )
        self._show(view)


class DoorKey(ImageTask, DoorKeyEnv):
    """MiniGrid's ``DoorKey``: take the key, open the door, reach the goal behind it.

    The headings of ``ImageTask`` hold.
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        size: int = 8,
        max_steps: int | None = None,
        view: View = "symbolic",
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            size: Side of the room in tiles, walls included, from 5 up.
            max_steps: Length of an episode at most; None for ``10 * size**2``.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(
            size=checks.whole(self, "size", size, least=5),
            max_steps=self._checked_max_steps(max_steps),
            render_mode=render_mode,
        )
        self._show(view)


class Unlock(ImageTask, UnlockEnv):
    """MiniGrid's ``Unlock``: take the key, open the door.

    The headings of ``ImageTask`` hold.
    """

    @checks.refuses_unknown
    def __init__(
        self, *, max_steps: int | None = None, view: View = "symbolic", render_mode: str | None = None
    ) -> None:
        """Builds the environment.

        Args:
            max_steps: Length of an episode at most; None for 288.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(max_steps=self._checked_max_steps(max_steps), render_mode=render_mode)
        self._show(view)


class UnlockPickup(ImageTask, UnlockPickupEnv):
    """MiniGrid's ``UnlockPickup``: take the key, open the door, drop the key, take the box behind it.

    The headings of ``ImageTask`` hold. It extends ``Unlock`` and shares its rooms and view.
    """

    @checks.refuses_unknown
    def __init__(
        self, *, max_steps: int | None = None, view: View = "symbolic", render_mode: str | None = None
    ) -> None:
        """Builds the environment.

        Args:
            max_steps: Length of an episode at most; None for 288.
            view: ``symbolic`` or ``rgb``.
            render_mode: As in MiniGrid.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(max_steps=self._checked_max_steps(max_steps), render_mode=render_mode)
        self._show(view)
