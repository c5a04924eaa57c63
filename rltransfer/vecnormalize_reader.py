"""Reads the statistics of a ``VecNormalize`` pickle without running what a pickle can run.

``VecNormalize.load`` unpickles, and unpickling runs code (sb3_facts.md#unpickling).
"""

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from rltransfer.errors import SourceError
from rltransfer.safe_unpickler import Inert, RefusedNameError, array_of, load_inert

_MAX_BYTES = 512 * 2**20


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Running mean and variance of one quantity; ``count`` is how many values they were taken over."""

    mean: Float[np.ndarray, "..."]
    var: Float[np.ndarray, "..."]
    count: float

    def to_json(self) -> dict[str, Any]:
        """Returns the statistics as plain lists and numbers; float64 survives JSON exactly."""
        return {"mean": self.mean.tolist(), "var": self.var.tolist(), "count": self.count}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Returns the statistics that ``to_json`` wrote."""
        mean, var = (np.asarray(content[name], dtype=np.float64) for name in ("mean", "var"))
        if mean.shape != var.shape:
            raise ValueError(f"the mean has shape {mean.shape}, the variance {var.shape}")
        return cls(mean=mean, var=var, count=float(content["count"]))

    @property
    def is_finite(self) -> bool:
        """Whether all numbers are finite: one NaN observation poisons VecNormalize for good (sb3_facts.md#nan)."""
        return bool(np.isfinite(self.mean).all() and np.isfinite(self.var).all() and math.isfinite(self.count))


@dataclasses.dataclass(frozen=True)
class Normaliser:
    """What a ``VecNormalize`` did to observations and rewards.

    Attributes:
        observation: Statistics of the observations (by key where they are a dictionary), None if they were left raw.
        reward: Statistics of the discounted return, by whose standard deviation rewards are divided.
        epsilon: What is added to the variance.
        clip_obs: The bound of a normalised observation.
        clip_reward: The bound of a normalised reward.
        gamma: The discount of the return.
        norm_obs: Whether observations were normalised.
        norm_reward: Whether rewards were.
    """

    observation: Statistics | dict[str, Statistics] | None
    reward: Statistics | None
    epsilon: float
    clip_obs: float
    clip_reward: float
    gamma: float
    norm_obs: bool
    norm_reward: bool

    def to_json(self) -> dict[str, Any]:
        """Returns the normaliser as plain data; ``from_json`` gives back the same numbers exactly."""
        observation: Any = None
        if isinstance(self.observation, Statistics):
            observation = {"kind": "single", "statistics": self.observation.to_json()}
        elif self.observation is not None:
            members = {key: statistics.to_json() for key, statistics in self.observation.items()}
            observation = {"kind": "by_key", "statistics": members}
        return {
            "observation": observation,
            "reward": None if self.reward is None else self.reward.to_json(),
            "epsilon": self.epsilon,
            "clip_obs": self.clip_obs,
            "clip_reward": self.clip_reward,
            "gamma": self.gamma,
            "norm_obs": self.norm_obs,
            "norm_reward": self.norm_reward,
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Returns the normaliser that ``to_json`` wrote.

        Raises:
            SourceError: The data is not a normaliser.
        """
        try:
            return cls(
                observation=_observation_from_json(content["observation"]),
                reward=None if content["reward"] is None else Statistics.from_json(content["reward"]),
                epsilon=float(content["epsilon"]),
                clip_obs=float(content["clip_obs"]),
                clip_reward=float(content["clip_reward"]),
                gamma=float(content["gamma"]),
                norm_obs=bool(content["norm_obs"]),
                norm_reward=bool(content["norm_reward"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise SourceError(f"The data of a normaliser is wrong: {error!r}.") from None


def read_vecnormalize(path: Path | str) -> Normaliser:
    """Returns the statistics of a pickled ``VecNormalize``, of SB3 with Gymnasium or with the old gym.

    Raises:
        SourceError: The file cannot be read, is no such pickle, holds numbers that are not finite, or names something
            that a VecNormalize does not need; nothing in it was run.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from None
    if len(content) > _MAX_BYTES:
        raise SourceError(f"{path}: {len(content)} bytes are too many for the statistics of a VecNormalize.")
    try:
        unpickled = load_inert(io.BytesIO(content), _NAMES)
        if not isinstance(unpickled, _VecNormalize):
            raise ValueError("it holds something else")
        normaliser = _normaliser(unpickled.state)
    except RefusedNameError as refused:
        raise SourceError(
            f"{path} is refused: it names {refused}, which the statistics of a VecNormalize do not need. "
            f"Unpickling it could run code."
        ) from None
    except Exception as error:
        # A hostile or damaged pickle drives the unpickler into any error.
        raise SourceError(f"{path} is not the pickle of a VecNormalize, or it is damaged: {error!r:.200}.") from None
    _refuse_nan(path, normaliser)
    return normaliser


class _VecNormalize(Inert):
    pass


class _RunningMeanStd(Inert):
    pass


_SB3 = "stable_baselines3.common"
_NAMES: dict[tuple[str, str], type] = {
    (f"{_SB3}.vec_env.vec_normalize", "VecNormalize"): _VecNormalize,
    (f"{_SB3}.running_mean_std", "RunningMeanStd"): _RunningMeanStd,
}


def _normaliser(state: Mapping[str, Any]) -> Normaliser:
    norm_obs = bool(state["norm_obs"])
    observation: Statistics | dict[str, Statistics] | None = None
    if norm_obs:
        # Without observation normalisation today's SB3 keeps no statistics, the old one kept fresh ones.
        statistics = state["obs_rms"]
        if isinstance(statistics, dict):
            observation = {str(key): _statistics(item) for key, item in statistics.items()}
        else:
            observation = _statistics(statistics)
    return Normaliser(
        observation=observation,
        reward=_statistics(state["ret_rms"]) if "ret_rms" in state else None,
        epsilon=_number(state["epsilon"]),
        clip_obs=_number(state["clip_obs"]),
        clip_reward=_number(state["clip_reward"]),
        gamma=_number(state["gamma"]),
        norm_obs=norm_obs,
        norm_reward=bool(state["norm_reward"]),
    )


def _statistics(running: Any) -> Statistics:
    if not isinstance(running, _RunningMeanStd):
        raise TypeError(f"statistics of type {type(running).__name__}")
    state = running.state
    mean, var = (_array(state[name]) for name in ("mean", "var"))
    if mean.shape != var.shape:
        raise ValueError(f"the mean has shape {mean.shape}, the variance {var.shape}")
    return Statistics(mean=mean, var=var, count=_number(state["count"]))


def _array(value: Any) -> np.ndarray:
    return np.array(array_of(value), dtype=np.float64)


def _number(value: Any) -> float:
    return float(_array(value).reshape(()))


def _observation_from_json(content: Any) -> Statistics | dict[str, Statistics] | None:
    if content is None:
        return None
    if content["kind"] == "single":
        return Statistics.from_json(content["statistics"])
    return {key: Statistics.from_json(item) for key, item in content["statistics"].items()}


def _refuse_nan(path: Path | str, normaliser: Normaliser) -> None:
    observation = normaliser.observation
    by_key = observation if isinstance(observation, dict) else {"observations": observation}
    for name, statistics in (by_key | {"rewards": normaliser.reward}).items():
        if statistics is not None and not statistics.is_finite:
            raise SourceError(
                f"{path}: the statistics of {name} hold NaN or infinity, so nothing can be read with them."
            )
