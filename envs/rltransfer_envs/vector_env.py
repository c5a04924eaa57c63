"""The base of vector environments that NumPy steps together, each sub-environment bit for bit as its scalar one."""

import inspect
import math
from collections.abc import Mapping, Sequence
from itertools import repeat
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Discrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Bool, Float32, Float64

from rltransfer.errors import ConfigError, UnknownNameError, did_you_mean
from rltransfer_envs import checks

EnvT = TypeVar("EnvT", bound=Any)

NO_LIMIT = -1
"""What ``gym.make`` and ``gym.make_vec`` take for episodes without a limit."""


class NumpyVectorEnv(VectorEnv[Any, Any, Any], Generic[EnvT]):
    """Steps all sub-environments of one family at once; an episode that ends is followed by the next in the same step.

    What comes back equals, bit for bit, what ``SyncVectorEnv`` gives with the family's scalar environments and
    ``AutoresetMode.SAME_STEP``. Each sub-environment has a generator of its own, and may have arguments of its own.

    A family says in a subclass what it is made of: ``single_env``, ``constants``, ``advance`` and, where the state is
    not what is observed, ``observe``. Everything else comes from the scalar environment: its ``_set_arguments`` names
    and checks the arguments that sub-environments may have for themselves, its ``__init__`` takes all, and its
    ``reset`` draws the first ``state`` of an episode.

    Attributes:
        single_env: The family's scalar environment.
    """

    metadata: dict[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - as Gymnasium has it
    single_env: ClassVar[type[Any]]

    def __init__(
        self, num_envs: int = 1, *, max_episode_steps: int = NO_LIMIT, render_mode: None = None, **arguments: Any
    ) -> None:
        """Builds the sub-environments.

        Args:
            num_envs: How many.
            max_episode_steps: Where episodes are cut off, -1 for nowhere. ``gym.make_vec`` fills in the family's limit.
            render_mode: Nothing is drawn: None.
            arguments: Those of the scalar environment. A number or a flag that leaves the spaces alone may be a list
                with a value for each sub-environment.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work.
        """
        self._name = self.single_env.__name__
        self.num_envs = checks.whole(self._name, "num_envs", num_envs, least=1)
        self._limit = self._checked_limit(max_episode_steps)
        if render_mode is not None:
            refusal = checks.refusal(self._name, "render_mode", "None", render_mode)
            raise ConfigError(f'{refusal} To draw, make the environments with vectorization_mode="sync".')
        self._settable_names = list(inspect.signature(self.single_env._set_arguments).parameters)[1:]
        by_name = {name: self._one_each(name, arguments[name]) for name in self._settable_names if name in arguments}
        self._env: EnvT = self.single_env(**arguments | {name: values[0] for name, values in by_name.items()})

        self.single_observation_space = self._env.observation_space
        self.single_action_space = self._env.action_space
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

        self._generators: list[np.random.Generator | None] = [None] * self.num_envs
        self._seeds: list[int | None] = [None] * self.num_envs
        self._elapsed_steps = np.zeros(self.num_envs, dtype=np.int64)
        self._observations = np.zeros(self.observation_space.shape or (), dtype=np.float32)
        self._state: Float64[np.ndarray, "values envs"] | None = None
        self._constants = np.zeros((len(self.constants(self._env)), self.num_envs))
        given = {name: parameter.default for name, parameter in inspect.signature(self.single_env).parameters.items()}
        given |= arguments
        self._shared = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in given.items()
            if name not in self._settable_names
        }
        self._settable = [{name: given[name] for name in self._settable_names} for _ in range(self.num_envs)]
        for index in range(self.num_envs):
            self.set_arguments(index, **{name: values[index] for name, values in by_name.items()})

    def constants(self, env: EnvT) -> tuple[float, ...]:
        """Returns what ``advance`` needs of the arguments of one sub-environment.

        Whatever the scalar environment computes of Python numbers is computed here, of Python numbers as well: the
        square of a NumPy array can differ from theirs in the last bit.

        Args:
            env: The scalar environment with those arguments.
        """
        raise NotImplementedError

    def advance(
        self, state: Float64[np.ndarray, "values envs"], constants: Float64[np.ndarray, "constants envs"], actions: Any
    ) -> tuple[Sequence[Float64[np.ndarray, " envs"]], Float64[np.ndarray, " envs"], Bool[np.ndarray, " envs"]]:
        """Returns the next state, the rewards and which episodes are terminated, in the scalar order of operations.

        Args:
            state: Of all sub-environments; is not written to.
            constants: What ``constants`` returned for each sub-environment.
            actions: One of the action space for each sub-environment.
        """
        raise NotImplementedError

    def observe(self, state: Float64[np.ndarray, "values envs"]) -> Float32[np.ndarray, "envs ..."]:
        """Returns a new array of what is seen of the state; the state itself if a family does not say otherwise."""
        return np.array(state.T, dtype=np.float32, order="C")

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32[np.ndarray, "envs ..."], dict[str, Any]]:
        """Starts an episode in all sub-environments, or in those of a mask.

        Args:
            seed: ``s`` seeds sub-environment ``i`` with ``s + i``; a list has a seed or None for each. Where there is
                no seed, the sub-environment's generator goes on.
            options: Those of the scalar environment, and ``reset_mask``: a boolean array ``[num_envs]`` of which
                sub-environments start an episode. The others go on, and their last observations come back.

        Raises:
            TypeError: The mask is no boolean array.
            ValueError: The mask or the list of seeds has another length, or the mask selects none.
            ResetNeeded: A mask is given and there was no reset without one.
        """
        seeds = self._one_seed_each(seed)
        indices: Sequence[int] = range(self.num_envs)
        if options is not None and "reset_mask" in options:
            indices = self._masked(options["reset_mask"])
        for index in indices:
            self._begin(index, seeds[index], options)
        return self._observations.copy(), {}

    def step(
        self, actions: Any
    ) -> tuple[
        Float32[np.ndarray, "envs ..."],
        Float64[np.ndarray, " envs"],
        Bool[np.ndarray, " envs"],
        Bool[np.ndarray, " envs"],
        dict[str, Any],
    ]:
        """Steps every sub-environment, and starts the next episode where one has ended.

        Returns:
            Observations, those of the new episode where one has ended; rewards; which episodes were terminated; which
            were truncated; and, only where episodes have ended, infos with their last observations (``final_obs``) and
            infos (``final_info``), and masks of where they are (``_final_obs``, ``_final_info``).

        Raises:
            InvalidAction: There is not one action of the action space for each sub-environment.
            ResetNeeded: There was no reset.
        """
        if self._state is None:
            raise ResetNeeded(f"{self._name}: call reset before step.")
        state, rewards, terminated = self.advance(self._state, self._constants, self._checked_actions(actions))
        self._state = np.stack(state)
        self._observations = self.observe(self._state)
        self._elapsed_steps += 1
        truncated = self._elapsed_steps >= self._limit
        ended = terminated | truncated
        infos: dict[str, Any] = {}
        if ended.any():
            infos = self._final_infos(ended)
            for index in np.flatnonzero(ended).tolist():
                self._begin(index, None, None)
        return self._observations.copy(), rewards, terminated, truncated, infos

    def set_arguments(self, index: int, **arguments: Any) -> None:
        """Gives one sub-environment other arguments, which hold from its next step on, whatever the episode.

        For domain randomisation set them and reset the sub-environment, with its new seed and a mask.

        Args:
            index: Which sub-environment.
            arguments: Numbers and flags that leave the spaces alone, by name. Those not given stay as they are.

        Raises:
            UnknownNameError: There is no such argument.
            ConfigError: An argument has a value that cannot work, or is the same for all sub-environments.
        """
        checks.whole(self._name, "index", index, least=0, most=self.num_envs - 1)
        for name in arguments:
            self._refuse_shared(name)
        changed = self._settable[index] | arguments
        self._env._set_arguments(**changed)
        self._constants[:, index] = self.constants(self._env)
        self._settable[index] = changed

    def get_state(self) -> dict[str, Any]:
        """Returns all that the coming steps depend on, as plain types and NumPy arrays that ``pickle`` takes."""
        return {
            "made_with": self._made_with(),
            "arguments": [dict(settable) for settable in self._settable],
            "seeds": list(self._seeds),
            "generators": [generator_state(generator) for generator in self._generators],
            "elapsed_steps": self._elapsed_steps.copy(),
            "observations": self._observations.copy(),
            "state": None if self._state is None else self._state.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Puts back what ``get_state`` returned; the steps that follow equal, bit for bit, those that followed then.

        Raises:
            ConfigError: The state is that of environments that were made with something else.
        """
        if state["made_with"] != self._made_with():
            raise ConfigError(
                f"{self._name}: the state is that of environments made with {state['made_with']}, while these were "
                f"made with {self._made_with()}. Make them with the same."
            )
        for index, arguments in enumerate(state["arguments"]):
            self.set_arguments(index, **arguments)
        self._seeds = list(state["seeds"])
        self._generators = [restored_generator(generator) for generator in state["generators"]]
        self._elapsed_steps = state["elapsed_steps"].copy()
        self._observations = state["observations"].copy()
        self._state = None if state["state"] is None else state["state"].copy()

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]
        """The generator of each sub-environment, as ``SyncVectorEnv`` has them."""
        return tuple(self._generator(index) for index in range(self.num_envs))

    @property
    def np_random_seed(self) -> tuple[int | None, ...]:  # type: ignore[override]
        """The seed of each sub-environment's generator, as ``SyncVectorEnv`` has them."""
        return tuple(self._seeds[index] for index, _ in enumerate(self.np_random))

    def _begin(self, index: int, seed: int | None, options: dict[str, Any] | None) -> None:
        """Starts an episode of one sub-environment: the scalar environment draws, from that one's generator."""
        self._env.np_random = self._generator(index, seed)
        self._observations[index] = self._env.reset(options=options)[0]
        if self._state is None:
            self._state = np.zeros((len(self._env.state), self.num_envs))
        self._state[:, index] = self._env.state
        self._elapsed_steps[index] = 0

    def _generator(self, index: int, seed: int | None = None) -> np.random.Generator:
        generator = self._generators[index]
        if generator is None or seed is not None:
            generator, self._seeds[index] = seeding.np_random(seed)
            self._generators[index] = generator
        return generator

    def _final_infos(self, ended: Bool[np.ndarray, " envs"]) -> dict[str, Any]:
        observations = np.full(self.num_envs, None, dtype=object)
        for index in np.flatnonzero(ended).tolist():
            observations[index] = self._observations[index].copy()
        # The scalar environments have empty infos, of which SyncVectorEnv makes one empty dictionary.
        return {
            "final_obs": observations,
            "_final_obs": ended.copy(),
            "final_info": {},
            "_final_info": ended,
        }

    def _one_seed_each(self, seed: int | Sequence[int | None] | None) -> Sequence[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int):
            return [seed + index for index in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(
                f"{self._name}: reset needs a seed for each of {self.num_envs} sub-environments, not {seed!r}"
            )
        return seed

    def _masked(self, mask: Any) -> list[int]:
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"{self._name}: options['reset_mask'] must be a NumPy array of booleans, not {mask!r}")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"{self._name}: options['reset_mask'] must have {self.num_envs} entries, of which at least one is "
                f"True, not {mask!r}"
            )
        if self._state is None:
            raise ResetNeeded(f"{self._name}: call reset without a mask first.")
        indices: list[int] = np.flatnonzero(mask).tolist()
        return indices

    def _checked_actions(self, actions: Any) -> np.ndarray:
        given: np.ndarray = np.asarray(actions)
        space = self.single_action_space
        fits = given.shape == self.action_space.shape
        if fits and isinstance(space, Discrete):
            fits = given.dtype.kind in "iu" and given.min() >= 0 and given.max() < space.n
        if not fits:
            raise InvalidAction(
                f"{self._name}: actions must be an array of {self.num_envs} of {space}, one for each sub-environment, "
                f"not {given!r}"
            )
        # Of small unsigned actions, one below 0 would be the largest.
        return given.astype(np.int64) if isinstance(space, Discrete) else given

    def _checked_limit(self, max_episode_steps: int) -> float:
        if max_episode_steps == NO_LIMIT:
            return math.inf
        if isinstance(max_episode_steps, bool) or not isinstance(max_episode_steps, int) or max_episode_steps < 1:
            wanted = "a whole number from 1 up, or -1 for no limit"
            raise checks.refusal(self._name, "max_episode_steps", wanted, max_episode_steps)
        return max_episode_steps

    def _one_each(self, name: str, value: Any) -> list[Any]:
        values = value.tolist() if isinstance(value, np.ndarray) else value
        if not isinstance(values, list | tuple):
            return [values] * self.num_envs
        if len(values) != self.num_envs:
            wanted = f"one value or a list of {self.num_envs}, one for each sub-environment"
            raise checks.refusal(self._name, name, wanted, value)
        return list(values)

    def _refuse_shared(self, name: str) -> None:
        names = self._settable_names
        if name in names:
            return
        if name in inspect.signature(self.single_env).parameters:
            raise ConfigError(
                f"{self._name}: argument {name!r} is the same for all sub-environments and stays as it was given when "
                f"they were made. Can be set: {', '.join(names)}."
            )
        raise UnknownNameError(
            f"{self._name} has no argument {name!r}.{did_you_mean(name, names)} Can be set: {', '.join(names)}."
        )

    def _made_with(self) -> dict[str, Any]:
        return {"env": self._name, "num_envs": self.num_envs, "max_episode_steps": self._limit, **self._shared}


def scalar_square(values: np.ndarray) -> np.ndarray:
    """Returns ``values**2`` as NumPy computes it of scalars: with C's ``pow``, which may differ from ``x * x``.

    Of an array NumPy computes ``x * x``: about one of a thousand values differs in its last bit.

    >>> scalar_square(np.array([3.0, -0.5])).tolist()
    [9.0, 0.25]
    """
    if values.dtype == np.float64:
        # Python's floats take the same pow, and are quicker.
        return np.fromiter(map(math.pow, values.tolist(), repeat(2.0)), np.float64, len(values))
    return np.array([value**2 for value in values], dtype=values.dtype)


def generator_state(generator: np.random.Generator | None) -> dict[str, Any] | None:
    """Returns all of a generator that its draws and its spawned generators depend on; None for None."""
    if generator is None:
        return None
    bits = generator.bit_generator
    # Draws alone do not need the sequence. How many generators were spawned from it stands nowhere else.
    return {"bits": bits.state, "seed_sequence": bits.seed_seq.state}  # type: ignore[attr-defined]


def restored_generator(state: Mapping[str, Any] | None) -> np.random.Generator | None:
    """Returns a generator that goes on where the one whose state was taken was.

    >>> generator = np.random.Generator(np.random.PCG64(0))
    >>> twin = restored_generator(generator_state(generator))
    >>> generator.random() == twin.random(), generator.spawn(1)[0].random() == twin.spawn(1)[0].random()
    (True, True)
    """
    if state is None:
        return None
    bits = np.random.PCG64(np.random.SeedSequence(**state["seed_sequence"]))
    bits.state = state["bits"]
    return np.random.Generator(bits)
