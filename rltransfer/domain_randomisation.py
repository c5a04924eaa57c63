"""Draws arguments of an environment anew for each episode: domain randomisation (Tobin et al. 2017)."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from rltransfer.errors import ConfigError
from rltransfer.spaces import describe

_BOUNDS = 2


@dataclasses.dataclass(frozen=True)
class Draw:
    """What an argument is drawn from.

    Attributes:
        values: Two numbers: any between them, both included; else one of the values.
        is_whole: Whether only whole numbers are drawn between two.
    """

    values: tuple[Any, ...]
    is_whole: bool = False

    def draw(self, rng: np.random.Generator) -> Any:
        """Returns one value, all equally likely.

        >>> Draw((2.0, 2.0)).draw(np.random.default_rng(0)), Draw(("a", "a", "a")).draw(np.random.default_rng(0))
        (2.0, 'a')
        """
        if not are_bounds(self.values):
            return self.values[int(rng.integers(len(self.values)))]
        low, high = self.values
        return int(rng.integers(low, high + 1)) if self.is_whole else float(rng.uniform(low, high))


def are_bounds(values: tuple[Any, ...]) -> bool:
    """Returns whether values are two numbers, between which any other may be drawn."""
    return len(values) == _BOUNDS and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in values
    )


class Randomised(gym.Wrapper[Any, Any, Any, Any]):
    """An environment that is made anew for each episode, with arguments drawn by a generator that ``reset`` seeds.

    Which episode gets which arguments depends on the seed and on how many episodes came before.

    Attributes:
        drawn: The arguments of this episode that were drawn.
    """

    def __init__(
        self, make: Callable[..., gym.Env[Any, Any]], kwargs: Mapping[str, Any], draws: Mapping[str, Draw]
    ) -> None:
        super().__init__(make(**kwargs))
        self._make = make
        self._kwargs = dict(kwargs)
        self._draws = dict(draws)
        self._rng = np.random.default_rng()
        self.drawn: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Starts an episode with other arguments.

        Raises:
            ConfigError: With them the environment has other spaces.
        """
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self.drawn = {name: draw.draw(self._rng) for name, draw in self._draws.items()}
        made = self._make(**self._kwargs | self.drawn)
        refuse_other_spaces(self.env, made, self.drawn)
        self.env.close()
        self.env = made
        # Its own generator is as new as the environment is.
        return self.env.reset(seed=int(self._rng.integers(2**31)), options=options)


def refuse_other_spaces(usual: gym.Env[Any, Any], made: gym.Env[Any, Any], drawn: Mapping[str, Any]) -> None:
    """Raises ConfigError if an environment has other spaces with the arguments that were drawn."""
    for name in ("observation_space", "action_space"):
        usual_space, made_space = getattr(usual, name), getattr(made, name)
        if usual_space != made_space:
            arguments = ", ".join(f"{key}={value!r}" for key, value in drawn.items())
            raise ConfigError(
                f"randomise: with {arguments} the {name.replace('_', ' ')} is {describe(made_space)} instead of "
                f"{describe(usual_space)}: an agent has one of each. Draw from values that leave them alike."
            )
