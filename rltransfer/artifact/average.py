"""Averages the weights of several sources into one, where their layers agree."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Space

from rltransfer.artifact.encoder import AVERAGE_OF, Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.records import SourceFacts
from rltransfer.sb3_zip import is_custom_class
from rltransfer.spaces import same_space
from rltransfer.vecnormalize_reader import Normaliser, Statistics

_SHOWN = 6


def average_encoders(encoders: Sequence[Encoder]) -> Encoder:
    """Returns the average of several sources, tensor by tensor: a "model soup" (Wortsman et al. 2022).

    It is worth something where the sources come from one agent (trained on in several tasks, say): networks that were
    initialised apart have their units in another order, and their average is no network of either kind. Observation
    statistics are pooled. How good the average is, is not known: its facts hold no score.

    Args:
        encoders: At least two sources.

    Raises:
        IncompatibleError: Their layers, activations, spaces or normalisation differ; the message names what.
    """
    if len(encoders) < 2:
        raise IncompatibleError(f"An average needs at least two sources, found {len(encoders)}.")
    first, *others = encoders
    for other in others:
        _refuse_difference(first, other)
    return dataclasses.replace(
        first,
        tensors={name: _mean([one.tensors[name] for one in encoders]) for name in first.tensors},
        normaliser=_pooled([one.normaliser for one in encoders]),
        source=joint_facts([one.source for one in encoders], AVERAGE_OF),
        hyperparams=first.hyperparams if all(one.hyperparams == first.hyperparams for one in others) else {},
        replay_buffer=None,
        statistics=None,
        activation_is_assumed=any(one.activation_is_assumed for one in encoders),
    )


def _refuse_difference(first: Encoder, other: Encoder) -> None:
    where = f"{first.source.path} and {other.source.path} cannot be averaged: "
    facts: dict[str, tuple[Any, Any]] = {
        "algorithms": (first.algo, other.algo),
        "policy classes": _as_told(first.policy_class, other.policy_class),
        "features extractors": _as_told(first.extractor_class, other.extractor_class),
        "activations": (first.anatomy.activation, other.anatomy.activation),
        "observations": (first.observation_space, other.observation_space),
        "actions": (first.action_space, other.action_space),
        **{what: (_normalisation(first)[what], value) for what, value in _normalisation(other).items()},
    }
    for what, (one, another) in facts.items():
        same = same_space(one, another) if isinstance(one, Space) else one == another
        if not same:
            raise IncompatibleError(f"{where}their {what} differ: {one} and {another}.")
    shapes, others = first.anatomy.shapes, other.anatomy.shapes
    wrong = [
        f"{name}: {_shape(shapes.get(name))} and {_shape(others.get(name))}"
        for name in dict.fromkeys((*shapes, *others))
        if shapes.get(name) != others.get(name)
    ]
    if wrong:
        more = f"\n  and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise IncompatibleError(f"{where}their layers differ:\n  " + "\n  ".join(wrong[:_SHOWN]) + more)


def _shape(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))


def _as_told(one: str | None, another: str | None) -> tuple[str, str]:
    """Returns two classes to compare; artifacts of before do not name theirs, and it can be any of SB3's."""
    if one is not None and another is not None:
        return one, another
    first, second = (str(name) if is_custom_class(name) else "SB3's" for name in (one, another))
    return first, second


def _normalisation(encoder: Encoder) -> dict[str, Any]:
    """Returns what has to agree in the normalisation of sources, beside the statistics, by its name in words."""
    normaliser = encoder.normaliser
    if normaliser is None:
        normaliser = Normaliser(None, None, 0.0, 0.0, 0.0, 0.0, norm_obs=False, norm_reward=False)
    sees, rewarded = normaliser.norm_obs, normaliser.norm_reward
    statistics = normaliser.observation if sees else None
    shapes = {
        key: part.mean.shape
        for key, part in (statistics.items() if isinstance(statistics, Mapping) else [("", statistics)])
        if part is not None
    }
    return {
        "normalised observations": sees,
        "normalised keys (norm_obs_keys)": sorted(shapes),
        "shapes of observation statistics": dict(sorted(shapes.items())),
        "clip_obs": normaliser.clip_obs if sees else None,
        "epsilon": normaliser.epsilon if sees or rewarded else None,
        "normalised rewards": rewarded,
        "clip_reward": normaliser.clip_reward if rewarded else None,
        "discounts of normalised rewards (gamma)": normaliser.gamma if rewarded else None,
    }


def _mean(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Returns the mean; of counters, which are whole numbers, the largest."""
    stacked = torch.stack(list(tensors))
    return stacked.mean(dim=0) if stacked.is_floating_point() else stacked.amax(dim=0)


def _pooled(normalisers: Sequence[Normaliser | None]) -> Normaliser | None:
    known = [one for one in normalisers if one is not None]
    if len(known) < len(normalisers):
        return None
    first = known[0]
    observations = [one.observation for one in known]
    observation: Statistics | dict[str, Statistics] | None = None
    if isinstance(first.observation, Mapping):
        by_key = [one for one in observations if isinstance(one, Mapping)]
        observation = {key: _pool([one[key] for one in by_key]) for key in first.observation}
    elif first.observation is not None:
        observation = _pool([one for one in observations if isinstance(one, Statistics)])
    rewards = [one.reward for one in known if one.reward is not None]
    return dataclasses.replace(
        first, observation=observation, reward=_pool(rewards) if len(rewards) == len(known) else None
    )


def _pool(statistics: Sequence[Statistics]) -> Statistics:
    """Returns the mean and variance of everything that the statistics were taken over."""
    counts = np.array([one.count for one in statistics])
    weights = counts / counts.sum()
    mean = sum(weight * one.mean for weight, one in zip(weights, statistics, strict=True))
    square = sum(weight * (one.var + one.mean**2) for weight, one in zip(weights, statistics, strict=True))
    return Statistics(mean=np.asarray(mean), var=np.asarray(square - np.asarray(mean) ** 2), count=float(counts.sum()))


def joint_facts(sources: Sequence[SourceFacts], what: str = "") -> SourceFacts:
    """Returns where something comes from that several sources made; all that they cost was spent on it.

    Args:
        sources: Where each comes from.
        what: What is said before their paths.
    """
    if len(sources) == 1:
        return sources[0]
    steps = [one.env_steps for one in sources]
    known = [one for one in steps if one is not None]
    tasks = {str(one.task): one.task for one in sources}
    return SourceFacts(
        path=f"{what}{', '.join(one.path for one in sources)}",
        sha256=hashlib.sha256("".join(one.sha256 for one in sources).encode()).hexdigest(),
        algo=sources[0].algo,
        task=sources[0].task if len(tasks) == 1 else None,
        env_steps=sum(known) if len(known) == len(steps) else None,
    )
