"""CartPole with the pole, the push, gravity, the actions and the observations as arguments."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box
from jaxtyping import Bool, Float32, Float64

from rltransfer_envs import checks
from rltransfer_envs.vector_env import NumpyVectorEnv, generator_state, restored_generator

STATE_SIZE = 4
# For as many steps a sub-environment draws its distractors at once; that gives what drawing them singly gives.
_NOISE_STEPS = 32


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
        self._set_arguments(
            length=length,
            force_mag=force_mag,
            gravity=gravity,
            masspole=masspole,
            masscart=masscart,
            swap_actions=swap_actions,
        )
        order = list(range(STATE_SIZE))
        if observation_order is not None:
            order = checks.permutation(self, "observation_order", observation_order, STATE_SIZE)
        # An array is a quicker index than a list.
        self._order = np.array(order)
        self._distractors = checks.whole(self, "distractors", distractors, least=0)
        self._noise: np.random.Generator | None = None
        self.observation_space = self._box()

    def _set_arguments(
        self,
        *,
        length: float,
        force_mag: float,
        gravity: float,
        masspole: float,
        masscart: float,
        swap_actions: bool,
    ) -> None:
        """Sets the arguments that leave the spaces alone."""
        self.length = checks.positive(self, "length", length)
        self.force_mag = checks.positive(self, "force_mag", force_mag)
        self.gravity = checks.not_negative(self, "gravity", gravity)
        self.masspole = checks.positive(self, "masspole", masspole)
        self.masscart = checks.positive(self, "masscart", masscart)
        # Gymnasium computes these two once, from its constants.
        self.total_mass = self.masspole + self.masscart
        self.polemass_length = self.masspole * self.length
        self._swap_actions = checks.flag(self, "swap_actions", swap_actions)

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
        observation: np.ndarray = state[self._order]
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


class CartPoleVector(NumpyVectorEnv[CartPole]):
    """``CartPole`` for ``gym.make_vec``: all sub-environments are stepped together."""

    single_env = CartPole

    def __init__(self, num_envs: int = 1, **arguments: Any) -> None:
        """Builds the sub-environments; see ``NumpyVectorEnv``."""
        super().__init__(num_envs, **arguments)
        self._noise: list[np.random.Generator | None] = [None] * self.num_envs
        self._drawn = np.zeros((self.num_envs, _NOISE_STEPS, self._env._distractors), dtype=np.float32)
        self._shown_steps = np.full(self.num_envs, _NOISE_STEPS)

    def constants(self, env: CartPole) -> tuple[float, ...]:
        """Returns the pushes of both actions and the constants of the equations of motion."""
        left, right = (env.force_mag, -env.force_mag) if env._swap_actions else (-env.force_mag, env.force_mag)
        return left, right, env.gravity, env.length, env.masspole, env.total_mass, env.polemass_length

    def advance(
        self, state: Float64[np.ndarray, "4 envs"], constants: Float64[np.ndarray, "7 envs"], actions: Any
    ) -> tuple[Sequence[Float64[np.ndarray, " envs"]], Float64[np.ndarray, " envs"], Bool[np.ndarray, " envs"]]:
        """Pushes every cart once."""
        x, x_dot, theta, theta_dot = state
        left, right, gravity, length, masspole, total_mass, polemass_length = constants
        force = np.where(actions == 1, right, left)
        costheta, sintheta = np.cos(theta), np.sin(theta)
        temp = (force + polemass_length * np.square(theta_dot) * sintheta) / total_mass
        thetaacc = (gravity * sintheta - costheta * temp) / (
            length * (4.0 / 3.0 - masspole * np.square(costheta) / total_mass)
        )
        xacc = temp - polemass_length * thetaacc * costheta / total_mass
        tau = self._env.tau
        x, x_dot = x + tau * x_dot, x_dot + tau * xacc
        theta, theta_dot = theta + tau * theta_dot, theta_dot + tau * thetaacc
        terminated = (np.abs(x) > self._env.x_threshold) | (np.abs(theta) > self._env.theta_threshold_radians)
        return (x, x_dot, theta, theta_dot), np.ones(self.num_envs), terminated

    def observe(self, state: Float64[np.ndarray, "4 envs"]) -> Float32[np.ndarray, "envs values"]:
        """Returns the states in the order of ``observation_order``, followed by the distractors."""
        observations = np.empty(self._observations.shape, dtype=np.float32)
        observations[:, :STATE_SIZE] = state[self._env._order].T
        if self._env._distractors:
            observations[:, STATE_SIZE:] = self._distract()
        return observations

    def get_state(self) -> dict[str, Any]:
        """Returns all that the coming steps depend on, the generators of distractors among it."""
        return super().get_state() | {
            "noise": [generator_state(noise) for noise in self._noise],
            "drawn": self._drawn.copy(),
            "shown_steps": self._shown_steps.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Puts back what ``get_state`` returned.

        Raises:
            ConfigError: The state is that of environments that were made with something else.
        """
        super().set_state(state)
        self._noise = [restored_generator(noise) for noise in state["noise"]]
        self._drawn, self._shown_steps = state["drawn"].copy(), state["shown_steps"].copy()

    def _begin(self, index: int, seed: int | None, options: dict[str, Any] | None) -> None:
        super()._begin(index, seed, options)
        self._noise[index] = self._env._noise
        self._shown_steps[index] = _NOISE_STEPS

    def _distract(self) -> Float32[np.ndarray, "envs distractors"]:
        for index in np.flatnonzero(self._shown_steps == _NOISE_STEPS).tolist():
            noise = self._noise[index]
            assert noise is not None
            noise.standard_normal(dtype=np.float32, out=self._drawn[index])
            self._shown_steps[index] = 0
        values: Float32[np.ndarray, "envs distractors"] = self._drawn[np.arange(self.num_envs), self._shown_steps]
        self._shown_steps += 1
        return values
