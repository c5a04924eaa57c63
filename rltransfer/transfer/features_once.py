"""Has an agent learn on the features of its frozen image encoder, which are computed once per observation.

The agent keeps its policy, its plan and its optimizers. What changes is what it sees: its environments give features in
place of images, its buffers hold these, and its features extractors pass them on. Afterwards, and in every file, it is
an agent of raw observations.
"""

import contextlib
import functools
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer, RolloutBuffer
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv

from rltransfer.anatomy import features_extractors, within
from rltransfer.errors import IncompatibleError
from rltransfer.transfer.feature_buffer import replay_buffer_of_features
from rltransfer.transfer.feature_encoder import CACHE_MB, FeatureEncoder, FeatureWrapper, image_parts
from rltransfer.transfer.methods import acting_methods
from rltransfer.transfer.plan import Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

# With the names of sb3-contrib's, which need not be installed.
_BUFFERS = (
    "RolloutBuffer",
    "DictRolloutBuffer",
    "MaskableRolloutBuffer",
    "MaskableDictRolloutBuffer",
    "ReplayBuffer",
    "DictReplayBuffer",
    "NStepReplayBuffer",
)
_LIBRARIES = ("stable_baselines3", "sb3_contrib")


def has_frozen_image_encoder(plan: Plan, agent: "BaseAlgorithm") -> bool:
    """Returns whether all features extractors of an agent encode images, and are frozen from start to end."""
    extractors = features_extractors(agent, targets=True)
    if not all(image_parts(module, agent.observation_space) for module in extractors.values()):
        return False
    entries = [entry for entry in plan.entries if any(within(entry.tensor, path) for path in extractors)]
    return bool(entries) and all(entry.frozen and not entry.trains for entry in entries)


def obstacle_to_features_once(plan: Plan, agent: "BaseAlgorithm") -> str:
    """Returns why the features of an agent's frozen image encoder cannot be computed once; empty if they can."""
    off_policy = getattr(agent, "replay_buffer", None) is not None
    buffer: Any = agent.replay_buffer if off_policy else getattr(agent, "rollout_buffer", None)  # type: ignore[attr-defined]
    for method in acting_methods(plan.strategy):
        if not method.works_on_features:
            return f"{method.settings.kind!r} needs the observations themselves"
    if type(buffer).__name__ not in _BUFFERS or type(buffer).__module__.partition(".")[0] not in _LIBRARIES:
        return f"the agent's {type(buffer).__name__} holds more than observations"
    if type(agent.policy).__module__.partition(".")[0] not in _LIBRARIES:
        return f"the policy class {type(agent.policy).__name__} may read the images elsewhere, too"
    if off_policy and agent.get_vec_normalize_env() is not None:
        return "VecNormalize normalises what is drawn from the replay buffer"
    return ""


def features_words(agent: "BaseAlgorithm") -> str:
    """Returns what computing features once means for an agent, in words."""
    # Those of target networks are alike. Whether others are is known when the plan is applied.
    widths = [module.features_dim for module in set(features_extractors(agent, targets=False).values())]
    count = f"{'up to ' if len(widths) > 1 else ''}{sum(widths):,}"
    return (
        "the features of the frozen encoder are computed once per observation, in front of the policy: buffers hold "
        f"{count} numbers in place of {_size(agent.observation_space)}, and up to {CACHE_MB} MB those of images seen "
        "before (--features recompute has the policy compute them in every pass)"
    )


def _size(space: spaces.Space[Any]) -> str:
    parts = space.spaces.values() if isinstance(space, spaces.Dict) else [space]
    return " and ".join("x".join(map(str, part.shape or (1,))) for part in parts)


class FeaturesOnce:
    """An agent that learns on features, between ``install`` and ``remove``.

    Args:
        agent: The agent, with its environments, after ``apply_plan``.

    Attributes:
        encoder: Gives the features.
    """

    def __init__(self, agent: "BaseAlgorithm") -> None:
        self._agent: Any = agent
        self._extractors = list(dict.fromkeys(features_extractors(agent, targets=True).values()))
        self._env = agent.env
        self._space = agent.observation_space
        self._buffers = {name: getattr(agent, name, None) for name in ("rollout_buffer", "replay_buffer")}
        self.encoder = FeatureEncoder(
            self._extractors,
            agent.observation_space,
            normalize_images=bool(agent.policy.normalize_images),
            device=agent.device,
        )

    def install(self) -> None:
        """Has the agent see, remember and learn from features."""
        agent = self._agent
        self._wrapper = _AgentsWrapper(agent.env, self)
        for name, buffer in self._buffers.items():
            if buffer is not None:
                setattr(agent, name, _buffer_of_features(agent, buffer, self.encoder.space))
        last = None if agent._last_obs is None else self.encoder(agent._last_obs)
        self._see_features(last)

    def remove(self) -> None:
        """Makes the agent one of raw observations again, which begins new episodes; its buffers are empty then."""
        self._see_observations()
        for name, buffer in self._buffers.items():
            if buffer is not None:
                setattr(self._agent, name, buffer)

    def wrap(self, env: VecEnv) -> VecEnv:
        """Returns environments in which the agent can be evaluated while it learns on features."""
        return FeatureWrapper(env, self.encoder)

    def state_dict(self) -> int:
        """Returns how many images were encoded so far."""
        return self.encoder.encoded

    def load_state_dict(self, state: int) -> None:
        """Goes on counting from there; features that are remembered are no state."""
        self.encoder.encoded = state

    @contextlib.contextmanager
    def raw(self) -> Iterator[None]:
        """Makes the agent one of raw observations for as long as it is saved."""
        last = self._agent._last_obs
        self._see_observations()
        try:
            yield
        finally:
            self._see_features(last)

    def _see_features(self, last: Any) -> None:
        self._see(self._wrapper, self.encoder.space, last)
        for extractor, columns in zip(self._extractors, self.encoder.columns, strict=True):
            extractor.__dict__["forward"] = functools.partial(_passed_on, columns)

    def _see_observations(self) -> None:
        self._see(self._env, self._space, None)
        for extractor in self._extractors:
            extractor.__dict__.pop("forward", None)

    def _see(self, env: Any, space: spaces.Space[Any], last: Any) -> None:
        agent = self._agent
        agent.env, agent.observation_space, agent._last_obs = env, space, last
        for module in agent.policy.modules():
            if not isinstance(module, BaseFeaturesExtractor) and hasattr(module, "observation_space"):
                module.observation_space = space


class _AgentsWrapper(FeatureWrapper):
    """The environments of an agent that learns on features, by which that is known."""

    def __init__(self, venv: VecEnv, once: FeaturesOnce) -> None:
        super().__init__(venv, once.encoder)
        self.once = once


@contextlib.contextmanager
def features_once(plan: Plan, agent: "BaseAlgorithm") -> Iterator[FeaturesOnce]:
    """Has an agent learn on the features of its frozen image encoder, computed once per observation.

    Within the context ``agent.learn`` computes each image's features once, whatever its number of epochs or gradient
    steps; wrap the environments of evaluations with ``wrap``. ``agent.save`` belongs behind it, or into ``saved_raw``.

    Args:
        plan: The plan that was applied to the agent.
        agent: The agent, with its environments.

    Raises:
        IncompatibleError: The agent's features extractors are not all frozen encoders of images, or something else
            reads the images.
    """
    if not has_frozen_image_encoder(plan, agent):
        raise IncompatibleError(
            "Features can be computed once where all features extractors encode images and are frozen, and the agent's "
            "are not: use 'frozen' with NatureCNN or a pretrained network."
        )
    if obstacle := obstacle_to_features_once(plan, agent):
        raise IncompatibleError(f"Features cannot be computed once: {obstacle}.")
    once = FeaturesOnce(agent)
    once.install()
    try:
        yield once
    finally:
        once.remove()


def saved_raw(agent: "BaseAlgorithm") -> contextlib.AbstractContextManager[None]:
    """Makes an agent that learns on features one of raw observations for as long as it is saved; others stay."""
    return agent.env.once.raw() if isinstance(agent.env, _AgentsWrapper) else contextlib.nullcontext()


def _passed_on(columns: slice, features: torch.Tensor) -> torch.Tensor:
    return features[:, columns]


def _buffer_of_features(agent: Any, buffer: RolloutBuffer | ReplayBuffer, space: spaces.Box) -> Any:
    """Returns an empty buffer like an agent's own, for features."""
    flat = getattr(sys.modules[type(buffer).__module__], type(buffer).__name__.replace("Dict", ""))
    settings: dict[str, Any] = {"device": agent.device, "n_envs": agent.n_envs}
    # Those of several steps, and those that SB3 was told to keep small, stay SB3's own.
    if flat is ReplayBuffer and not agent.optimize_memory_usage:
        settings |= agent.replay_buffer_kwargs
        return replay_buffer_of_features(agent.buffer_size, space, agent.action_space, **settings)
    if isinstance(buffer, ReplayBuffer):
        settings |= {"optimize_memory_usage": agent.optimize_memory_usage, **agent.replay_buffer_kwargs}
        return flat(agent.buffer_size, space, agent.action_space, **settings)
    settings |= {"gamma": agent.gamma, "gae_lambda": agent.gae_lambda, **agent.rollout_buffer_kwargs}
    return flat(agent.n_steps, space, agent.action_space, **settings)
