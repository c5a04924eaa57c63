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
    networks = [encoder.source.network.name for encoder in encoders if encoder.source.network is not None]
    if networks:
        raise IncompatibleError(f"An average is of agents, and {networks[0]} is a pretrained network.")
    first, *others = encoders
    for other in others:
        _refuse_difference(first, other)
    return dataclasses.replace(
        first,
        tensors={name: _mean([encoder.tensors[name] for encoder in encoders]) for name in first.tensors},
        normaliser=_pooled([encoder.normaliser for encoder in encoders]),
        source=joint_facts([encoder.source for encoder in encoders], AVERAGE_OF),
        hyperparams=first.hyperparams if all(encoder.hyperparams == first.hyperparams for encoder in others) else {},
        replay_buffer=None,
        statistics=None,
        activation_is_assumed=any(encoder.activation_is_assumed for encoder in encoders),
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
    for what, (first_value, other_value) in facts.items():
        same = same_space(first_value, other_value) if isinstance(first_value, Space) else first_value == other_value
        if not same:
            raise IncompatibleError(f"{where}their {what} differ: {first_value} and {other_value}.")
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


def _as_told(first_name: str | None, other_name: str | None) -> tuple[str, str]:
    """Returns two classes to compare; artifacts of before do not name theirs, and it can be any of SB3's."""
    if first_name is not None and other_name is not None:
        return first_name, other_name
    first, second = (str(name) if is_custom_class(name) else "SB3's" for name in (first_name, other_name))
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
    given = [normaliser for normaliser in normalisers if normaliser is not None]
    if len(given) < len(normalisers):
        return None
    first = given[0]
    observations = [normaliser.observation for normaliser in given]
    observation: Statistics | dict[str, Statistics] | None = None
    if isinstance(first.observation, Mapping):
        by_key = [statistics for statistics in observations if isinstance(statistics, Mapping)]
        observation = {key: _pool([statistics[key] for statistics in by_key]) for key in first.observation}
    elif first.observation is not None:
        observation = _pool([statistics for statistics in observations if isinstance(statistics, Statistics)])
    rewards = [normaliser.reward for normaliser in given if normaliser.reward is not None]
    return dataclasses.replace(
        first, observation=observation, reward=_pool(rewards) if len(rewards) == len(given) else None
    )


def _pool(statistics: Sequence[Statistics]) -> Statistics:
    """Returns the mean and variance of everything that the statistics were taken over."""
    counts = np.array([statistic.count for statistic in statistics])
    weights = counts / counts.sum()
    mean = sum(weight * statistic.mean for weight, statistic in zip(weights, statistics, strict=True))
    square = sum(
        weight * (statistic.var + statistic.mean**2) for weight, statistic in zip(weights, statistics, strict=True)
    )
    return Statistics(mean=np.asarray(mean), var=np.asarray(square - np.asarray(mean) ** 2), count=float(counts.sum()))


def joint_facts(sources: Sequence[SourceFacts], what: str = "") -> SourceFacts:
    """Returns where something comes from that several sources made; all that they cost was spent on it.

    Args:
        sources: Where each comes from.
        what: What is said before their paths.
    """
    if len(sources) == 1:
        return sources[0]
    steps = [source.env_steps for source in sources]
    counts = [count for count in steps if count is not None]
    tasks = {str(source.task): source.task for source in sources}
    return SourceFacts(
        path=f"{what}{', '.join(source.path for source in sources)}",
        sha256=hashlib.sha256("".join(source.sha256 for source in sources).encode()).hexdigest(),
        algo=sources[0].algo,
        task=sources[0].task if len(tasks) == 1 else None,
        env_steps=sum(counts) if len(counts) == len(steps) else None,
    )
