"""CartPole with the pole, the push, gravity, the actions and the observations as arguments."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box
from jaxtyping import Float32

from rltransfer_envs import checks

STATE_SIZE = 4


class CartPole(CartPoleEnv):
    """Gymnasium's ``CartPole-v1`` with its physics, actions and observations as arguments.

    ## Description
    A pole stands on a cart that is pushed left or right in every step; the task is to keep it upright. The equations
    of motion are Gymnasium's own, with other constants in them.

    ## Observation Space
    ``Box``, float32, 4 values: cart position, cart velocity, pole angle, pole angular velocity; in another order with
    ``observation_order``, followed by as many unbounded noise values as ``distractors`` says.

    ## Action Space
    ``Discrete(2)``: 0 pushes to the left, 1 to the right; the other way round with ``swap_actions``.

    ## Rewards
    1 for every step, the last one included. 500 steps at most.

    ## Arguments
    Those below, with the values of ``CartPole-v1`` as defaults, and ``render_mode`` (``human``, ``rgb_array``).
    """

    @checks.refuses_unknown
    def __init__(
        self,
        *,
        length: float = 0.5,
        force_mag: float = 10.0,
        gravity: float = 9.8,
        masspole: float = 0.1,
        masscart: float = 1.0,
        swap_actions: bool = False,
        observation_order: Sequence[int] | None = None,
        distractors: int = 0,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            length: **Half** the length of the pole in metres, which is what Gymnasium calls ``length``.
            force_mag: Size of the push in newtons.
            gravity: Acceleration towards the ground in m/s²; 0 is allowed.
            masspole: Mass of the pole in kilograms.
            masscart: Mass of the cart in kilograms.
            swap_actions: 0 pushes to the right and 1 to the left.
            observation_order: Which of the four observations stands at each place: ``[2, 3, 0, 1]`` shows the pole
                before the cart. None keeps the order.
            distractors: How many standard normal values, drawn anew in each step, follow the observations.
            render_mode: As in Gymnasium.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        super().__init__(render_mode=render_mode)
        self.length = checks.positive(self, "length", length)
        self.force_mag = checks.positive(self, "force_mag", force_mag)
        self.gravity = checks.not_negative(self, "gravity", gravity)
        self.masspole = checks.positive(self, "masspole", masspole)
        self.masscart = checks.positive(self, "masscart", masscart)
        # Gymnasium computes these two once, from its constants.
        self.total_mass = self.masspole + self.masscart
        self.polemass_length = self.masspole * self.length

        self._swap_actions = checks.flag(self, "swap_actions", swap_actions)
        self._order = list(range(STATE_SIZE))
        if observation_order is not None:
            self._order = checks.permutation(self, "observation_order", observation_order, STATE_SIZE)
        self._distractors = checks.whole(self, "distractors", distractors, least=0)
        self._noise: np.random.Generator | None = None
        self.observation_space = self._box()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, " values"], dict[str, Any]]:
        """Starts an episode; a seed also seeds the distractors."""
        state, info = super().reset(seed=seed, options=options)
        if self._distractors:
            # A spawned generator draws nothing from its parent: the physics does not depend on the distractors.
            self._noise = self.np_random.spawn(1)[0]
        return self._observe(state), info

    def step(self, action: Any) -> tuple[Float32[np.ndarray, " values"], float, bool, bool, dict[str, Any]]:
        """Pushes the cart once."""
        if self._swap_actions and self.action_space.contains(action):
            action = 1 - action
        state, reward, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return self._observe(state), reward, terminated, truncated, info

    def _observe(self, state: Float32[np.ndarray, "4"]) -> Float32[np.ndarray, " values"]:
        observation = state[self._order]
        if self._noise is None:
            return observation
        return np.concatenate([observation, self._noise.standard_normal(self._distractors, dtype=np.float32)])

    def _box(self) -> Box:
        original = self.observation_space
        assert isinstance(original, Box)
        unbounded = np.full(self._distractors, np.inf, dtype=np.float32)
        low = np.concatenate([original.low[self._order], -unbounded])
        high = np.concatenate([original.high[self._order], unbounded])
        return Box(low, high, dtype=np.float32)
