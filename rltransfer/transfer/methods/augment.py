"""Changes observations at random while an agent learns (RAD, Laskin et al. 2020; DrQ, Kostrikov et al. 2021)."""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from jaxtyping import Shaped, UInt8
from stable_baselines3.common.preprocessing import is_image_space
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, unwrap_vec_wrapper

from rltransfer.anatomy import Anatomy
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.spaces import describe, parts_by_key
from rltransfer.strategies import IMAGE_OPERATIONS, VECTOR_OPERATIONS, Augment
from rltransfer.transfer.held_callback import HeldCallback
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method
from rltransfer.transfer.minibatches import Minibatches, remove_minibatches
from rltransfer.transfer.overlay import lay_over, lift
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair

_WHITE = 255.0
_SAMPLED = 64
_METHODS = ("reset", "step_wait")

Images = UInt8[torch.Tensor, "batch channels height width"]
Vectors = Shaped[torch.Tensor, "batch ..."]


class AugmentMethod(Method[Augment]):
    """Changes observations where an agent learns from them; evaluation changes nothing."""

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules as they are."""
        return rules

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if an operation does not fit the observations."""
        augmentation_of(self.settings, agent)

    def prepare(self, plan: Plan, agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Makes the operations."""
        self._augmentation = augmentation_of(self.settings, agent)

    def install(self, installation: "Installation") -> None:
        """Changes what an on-policy agent sees, and what an off-policy one draws."""
        agent = installation.agent
        if getattr(agent, "replay_buffer", None) is None:
            installation.add(AugmentedViews(agent, self._augmentation))
        else:
            installation.minibatches().augmentation = self._augmentation

    @classmethod
    def release(cls, agent: "BaseAlgorithm") -> None:
        """Gives the agent its own observations and minibatches back."""
        remove_views(agent)
        remove_minibatches(agent)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that two looks at the same observations show the same."""
        views, minibatches = run.callback(AugmentedViews), run.callback(Minibatches)
        augmentation = views.augmentation if views else minibatches.augmentation if minibatches else None
        if augmentation is None:
            yield "nothing changes observations"
            return
        buffer: Any = getattr(run.agent, "replay_buffer", None) or getattr(run.agent, "rollout_buffer", None)
        stored = {row.tobytes() for part in _parts(buffer.observations) for row in part.reshape(-1, *part.shape[2:])}
        if views is not None:
            assert run.agent.env is not None
            seen = [row for part in _parts(views.inside().reset()) for row in np.asarray(part)]
            if any(row.astype(part.dtype).tobytes() in stored for part in _parts(buffer.observations) for row in seen):
                yield "the agent stored observations as the environments gave them"
            return
        drawn = [part.cpu().numpy() for part in _parts(buffer.sample(_SAMPLED).observations)]
        kinds = [part.dtype for part in _parts(buffer.observations)]
        same = sum(
            row.astype(kind).tobytes() in stored for part, kind in zip(drawn, kinds, strict=True) for row in part
        )
        if same == sum(map(len, drawn)):
            yield "observations in minibatches are those of the buffer"


class Augmentation:
    """Draws changes of observations, each of its own, from one generator.

    All channels of an image are changed alike, the frames that are stacked in them included. Of stacked vectors each
    frame gets the same noise.
    """

    def __init__(self, part: Augment, space: spaces.Space[Any], *, seed: int, n_frames: int = 1) -> None:
        self._part = part
        self._kinds = {key: _kind_of(subspace) for key, subspace in parts_by_key(space).items()}
        self._n_frames = n_frames
        self._rng = np.random.default_rng([seed, 17])
        _refuse_misfit(part, space, self._kinds)

    def changed(self, observations: Any) -> Any:
        """Returns a batch of tensors or arrays as it is seen this time, by key where it has keys."""
        if isinstance(observations, Mapping):
            return {key: self._change(key, value) for key, value in observations.items()}
        return self._change("", observations)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the generator."""
        return dict(self._rng.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the generator."""
        self._rng.bit_generator.state = state

    def _change(self, key: str, values: Any) -> Any:
        steps = [name for name in self._part.operations if name in _OPERATIONS.get(self._kinds[key], ())]
        if not steps:
            return values
        changed = values if isinstance(values, torch.Tensor) else torch.tensor(values)
        for name in steps:
            changed = self._operation(name)(changed, getattr(self._part, name), self._rng)
        return changed if isinstance(values, torch.Tensor) else changed.numpy()

    def _operation(self, name: str) -> Callable[[torch.Tensor, Any, np.random.Generator], torch.Tensor]:
        return functools.partial(with_noise, n_frames=self._n_frames) if name == "noise" else _BY_NAME[name]


def flipped(images: Images, probability: float, rng: np.random.Generator) -> Images:
    """Returns images of which some are mirrored, left to right."""
    is_mirrored = torch.from_numpy(rng.random(len(images)) < probability).to(images.device)
    return torch.where(is_mirrored[:, None, None, None], images.flip(-1), images)


def shifted(images: Images, pixels: int, rng: np.random.Generator) -> Images:
    """Returns images moved by up to some pixels in each direction; their edges are repeated (DrQ, section 3.1)."""
    batch, _, height, width = images.shape
    rows, columns = (
        (torch.arange(side) + torch.from_numpy(rng.integers(-pixels, pixels + 1, size=(batch, 1)))).clamp(0, side - 1)
        for side in (height, width)
    )
    return _picked(images, rows, columns)


def cropped(images: Images, least: float, rng: np.random.Generator) -> Images:
    """Returns parts of images at full size: a share of both sides, at least ``least``, from a random place."""
    batch, _, height, width = images.shape
    share = rng.uniform(least, 1.0, size=batch)
    places = rng.uniform(-1.0, 1.0, size=(batch, 2)) * (1.0 - share[:, None])
    view = np.zeros((batch, 2, 3), dtype=np.float32)
    view[:, 0, 0] = view[:, 1, 1] = share
    view[:, :, 2] = places
    grid = torch.nn.functional.affine_grid(torch.from_numpy(view), [batch, 1, height, width], align_corners=False)
    resized = torch.nn.functional.grid_sample(
        images.float(), grid.to(images.device), padding_mode="border", align_corners=False
    )
    return _as_bytes(resized)


def cut_out(images: Images, side: int, rng: np.random.Generator) -> Images:
    """Returns images with a black square of ``side`` pixels at a random place."""
    batch, _, height, width = images.shape
    inside = []
    for length in (height, width):
        first = torch.from_numpy(rng.integers(0, length - side + 1, size=(batch, 1)))
        place = torch.arange(length)
        inside.append((place >= first) & (place < first + side))
    black = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
    return images.masked_fill(black.to(images.device), 0)


def brightened(images: Images, bounds: tuple[float, float], rng: np.random.Generator) -> Images:
    """Returns images times a factor each."""
    return _as_bytes(images.float() * _factors(images, bounds, rng))


def contrasted(images: Images, bounds: tuple[float, float], rng: np.random.Generator) -> Images:
    """Returns images of which the distance to their own mean is multiplied by a factor each."""
    values = images.float()
    mean = values.mean(dim=(1, 2, 3), keepdim=True)
    return _as_bytes(mean + (values - mean) * _factors(images, bounds, rng))


def scaled(vectors: Vectors, bounds: tuple[float, float], rng: np.random.Generator) -> Vectors:
    """Returns vectors times a factor each."""
    return vectors * _factors(vectors, bounds, rng).to(vectors.dtype)


def with_noise(vectors: Vectors, deviation: float, rng: np.random.Generator, *, n_frames: int = 1) -> Vectors:
    """Returns vectors plus normal noise; the frames of a stacked one, side by side in its last axis, get the same."""
    shape = list(vectors.shape)
    shape[-1] //= n_frames
    noise = torch.from_numpy(rng.standard_normal(shape)).to(vectors.device, vectors.dtype)
    return vectors + deviation * noise.repeat(*[1] * (len(shape) - 1), n_frames)


_OPERATIONS = {"image": IMAGE_OPERATIONS, "vector": VECTOR_OPERATIONS}
_BY_NAME: Mapping[str, Callable[[torch.Tensor, Any, np.random.Generator], torch.Tensor]] = {
    "flip": flipped,
    "crop": cropped,
    "shift": shifted,
    "cutout": cut_out,
    "brightness": brightened,
    "contrast": contrasted,
    "amplitude": scaled,
}


def _picked(images: Images, rows: torch.Tensor, columns: torch.Tensor) -> Images:
    batch, channels = images.shape[:2]
    each, channel = torch.arange(batch)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    return images[each, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _factors(values: torch.Tensor, bounds: tuple[float, float], rng: np.random.Generator) -> torch.Tensor:
    drawn = rng.uniform(*bounds, size=(len(values), *[1] * (values.dim() - 1)))
    return torch.from_numpy(drawn).to(values.device, torch.float32)


def _as_bytes(values: torch.Tensor) -> Images:
    return values.round().clamp(0.0, _WHITE).to(torch.uint8)


class AugmentedViews(HeldCallback):
    """Shows an on-policy agent changed observations in its training environments: what it sees is what SB3 stores.

    They are changed outside all wrappers, once for each time they are seen, the last one of an episode included.
    SB3 compares the wrappers of training and evaluation one by one, so that none is added: two methods of the outermost
    one are laid over.
    """

    def __init__(self, agent: "BaseAlgorithm", augmentation: Augmentation) -> None:
        super().__init__()
        assert agent.env is not None
        self.augmentation = augmentation
        self._agent, self._env = agent, agent.env
        lay_over(
            agent.env,
            {
                "reset": functools.partial(self._reset, agent.env.reset),
                "step_wait": functools.partial(self._step_wait, agent.env.step_wait),
            },
        )

    def inside(self) -> VecEnv:
        """Returns the environments below all wrappers, whose observations nothing has changed."""
        env = self._env
        while isinstance(env, VecEnvWrapper):
            env = env.venv
        return env

    def environment_checks(self) -> tuple[Check, ...]:
        """Returns the self-check: whoever gives the agent other environments shows it unchanged observations."""
        env = self._agent.env
        while env is not self._env and isinstance(env, VecEnvWrapper):
            env = env.venv
        is_there = env is self._env
        detail = "" if is_there else "other environments were set: call hold_plan again"
        return (Check(name="observations changed in the agent's environments", passed=is_there, detail=detail),)

    def state_dict(self) -> dict[str, Any]:
        """Returns the generator's state."""
        return self.augmentation.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads the state of the generator."""
        self.augmentation.load_state_dict(state)

    def _reset(self, reset: Callable[[], Any]) -> Any:
        return self.augmentation.changed(reset())

    def _step_wait(self, step_wait: Callable[[], Any]) -> Any:
        observations, rewards, dones, infos = step_wait()
        for info in infos:
            if "terminal_observation" in info:
                info["terminal_observation"] = self._alone(info["terminal_observation"])
        return self.augmentation.changed(observations), rewards, dones, infos

    def _alone(self, observation: Any) -> Any:
        if isinstance(observation, Mapping):
            changed = self.augmentation.changed({key: np.asarray(value)[None] for key, value in observation.items()})
            return {key: value[0] for key, value in changed.items()}
        return self.augmentation.changed(np.asarray(observation)[None])[0]


def _parts(observations: Any) -> list[Any]:
    return list(observations.values()) if isinstance(observations, Mapping) else [observations]


def remove_views(agent: "BaseAlgorithm") -> None:
    """Gives an agent's environments their own methods back."""
    if agent.env is not None:
        lift(agent.env, _METHODS)


def augmentation_of(part: Augment, agent: "BaseAlgorithm") -> Augmentation:
    """Returns the augmentation of what an agent sees.

    Raises:
        IncompatibleError: An operation does not fit the observations.
    """
    return Augmentation(part, agent.observation_space, seed=int(agent.seed or 0), n_frames=_n_frames(agent.env))


def _n_frames(env: VecEnv | None) -> int:
    stack = None if env is None else unwrap_vec_wrapper(env, VecFrameStack)
    return 1 if stack is None else int(stack.stacked_obs.n_stack)


def _kind_of(space: spaces.Space[Any]) -> str:
    if not isinstance(space, spaces.Box):
        return "other"
    if is_image_space(space):
        return "image"
    return "vector" if np.dtype(space.dtype).kind == "f" else "other"


def _refuse_misfit(part: Augment, space: spaces.Space[Any], kinds: Mapping[str, str]) -> None:
    for names, kind, words, others in (
        (IMAGE_OPERATIONS, "image", "images (uint8 from 0 to 255)", VECTOR_OPERATIONS),
        (VECTOR_OPERATIONS, "vector", "vectors of floats", IMAGE_OPERATIONS),
    ):
        wrong = [name for name in part.operations if name in names]
        if wrong and kind not in kinds.values():
            raise IncompatibleError(
                f"augment: {' and '.join(map(repr, wrong))} {'is' if len(wrong) == 1 else 'are'} for {words}, and the "
                f"agent sees {describe(space)}. What there is for others: {', '.join(others)}."
            )
    for image in _images(space):
        smallest = min(image.shape[1:])
        if part.cutout is not None and part.cutout > smallest:
            raise IncompatibleError(
                f"augment: 'cutout' of {part.cutout} pixels, and a side of the image has {smallest}."
            )


def _images(space: spaces.Space[Any]) -> Iterator[spaces.Box]:
    yield from (part for part in parts_by_key(space).values() if isinstance(part, spaces.Box) and is_image_space(part))
