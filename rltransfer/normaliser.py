"""Reads the statistics of a ``VecNormalize`` pickle without running what a pickle can run.

``VecNormalize.load`` unpickles, and unpickling runs code (FACTS B2). Here each name in the pickle stands for an inert
class of this module, or is refused: nothing that the file names is imported or called, NumPy included. The arrays are
put together afterwards from their bytes.
"""

import abc
import dataclasses
import io
import math
import pickle
import pickletools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from jaxtyping import Float

from rltransfer.errors import SourceError

_MAX_BYTES = 512 * 2**20
_NUMBER_CODE = re.compile(r"[fiub]\d")


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
        """Whether all numbers are finite: one NaN observation poisons VecNormalize for good (FACTS B5)."""
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
        _refuse_memo_bombs(content)
        unpickled = _InertUnpickler(io.BytesIO(content)).load()
        if not isinstance(unpickled, _VecNormalize):
            raise ValueError("it holds something else")
        normaliser = _normaliser(unpickled.state)
    except _RefusedNameError as refused:
        raise SourceError(
            f"{path} is refused: it names {refused}, which the statistics of a VecNormalize do not need. "
            f"Unpickling it could run code."
        ) from None
    except Exception as error:
        # A hostile or damaged pickle drives the unpickler into any error.
        raise SourceError(f"{path} is not the pickle of a VecNormalize, or it is damaged: {error!r:.200}.") from None
    _refuse_nan(path, normaliser)
    return normaliser


class _RefusedNameError(Exception):
    """The pickle names something that is not inert."""


class _Inert:
    """Stands for an object of the pickle, and keeps what the pickle would have done to it.

    Every class that the unpickler may hand out has ``__setstate__``: without one, a pickle could set attributes.
    """

    def __init__(self, *arguments: Any, **_named: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __new__(cls, *_arguments: Any, **_named: Any) -> Self:
        made = super().__new__(cls)
        made.arguments = _arguments
        made.state = None
        return made

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        """Ignores an entry: no dictionary of spaces, nor queue, is part of the statistics."""

    def append(self, item: Any) -> None:
        """Ignores an item."""

    def extend(self, items: Any) -> None:
        """Ignores items."""


class _VecNormalize(_Inert):
    pass


class _RunningMeanStd(_Inert):
    pass


class _OrderedDict(dict[Any, Any]):
    def __setstate__(self, state: Any) -> None:
        """Ignores attributes of a dictionary."""


class _Dtype(_Inert):
    """``numpy.dtype``, called with its code, then given its byte order as the second item of its state."""

    def build(self) -> np.dtype[Any]:
        order = "" if self.state is None else str(self.state[1])
        code = str(self.arguments[0])
        if not _NUMBER_CODE.fullmatch(code) or order not in ("", "<", ">", "=", "|"):
            raise ValueError(f"numbers of type {order}{code}")
        return np.dtype(order + code)


class _Numbers(_Inert, abc.ABC):
    """An array or a number, put together only when it is known to be part of the statistics."""

    @abc.abstractmethod
    def build(self) -> np.ndarray:
        """Returns the numbers."""


class _Array(_Numbers):
    """``numpy.ndarray``, made empty and then given version, shape, dtype, order and bytes as its state."""

    def build(self) -> np.ndarray:
        _, shape, dtype, is_fortran, content = self.state
        return np.frombuffer(content, dtype.build()).reshape(shape, order="F" if is_fortran else "C")


class _BufferArray(_Numbers):
    """What pickle protocol 5 makes of an array: a call with bytes, dtype, shape and order."""

    def build(self) -> np.ndarray:
        content, dtype, shape, order = self.arguments
        return np.frombuffer(content, dtype.build()).reshape(shape, order=order)


class _Scalar(_Numbers):
    """A NumPy number: a call with dtype and bytes."""

    def build(self) -> np.ndarray:
        dtype, content = self.arguments
        return np.frombuffer(content, dtype.build()).reshape(())


_SB3 = "stable_baselines3.common"
_STAND_INS: dict[tuple[str, str], type] = {
    (f"{_SB3}.vec_env.vec_normalize", "VecNormalize"): _VecNormalize,
    (f"{_SB3}.running_mean_std", "RunningMeanStd"): _RunningMeanStd,
    ("collections", "OrderedDict"): _OrderedDict,
    ("collections", "deque"): _Inert,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Inert,
    ("numpy.random.mtrand", "RandomState"): _Inert,
    # Names of number types: a space may hold its dtype as a class.
    **{("numpy", name): _Inert for name in ("float16", "float32", "float64", "bool_", "bool", "str_")},
    **{("numpy", f"{sign}int{bits}"): _Inert for sign in ("", "u") for bits in (8, 16, 32, 64)},
}
for _core in ("numpy.core", "numpy._core"):
    _STAND_INS[f"{_core}.multiarray", "_reconstruct"] = _Array
    _STAND_INS[f"{_core}.multiarray", "scalar"] = _Scalar
    _STAND_INS[f"{_core}.numeric", "_frombuffer"] = _BufferArray
for _name in ("__randomstate_ctor", "__generator_ctor", "__bit_generator_ctor"):
    _STAND_INS["numpy.random._pickle", _name] = _Inert
for _name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"):
    _STAND_INS[f"numpy.random._{_name.lower()}", _name] = _Inert
_STAND_INS["numpy.random._pcg64", "PCG64DXSM"] = _Inert
_STAND_INS["numpy.random.bit_generator", "SeedSequence"] = _Inert
_STAND_INS["numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"] = _Inert
for _gym in ("gym", "gymnasium"):
    _STAND_INS[f"{_gym}.utils.seeding", "RandomNumberGenerator"] = _Inert
    for _module, _name in (
        ("box", "Box"),
        ("dict", "Dict"),
        ("discrete", "Discrete"),
        ("multi_binary", "MultiBinary"),
        ("multi_discrete", "MultiDiscrete"),
        ("tuple", "Tuple"),
    ):
        _STAND_INS[f"{_gym}.spaces.{_module}", _name] = _Inert


class _InertUnpickler(pickle.Unpickler):
    """Builds stand-ins; REDUCE, NEWOBJ and BUILD of a pickle reach nothing but them."""

    def find_class(self, module: str, name: str) -> type:
        """Returns the stand-in of a name that a VecNormalize may hold; looks nothing up and imports nothing."""
        try:
            return _STAND_INS[module, name]
        except KeyError:
            raise _RefusedNameError(f"{module}.{name}") from None


def _refuse_memo_bombs(content: bytes) -> None:
    """Raises ValueError where a pickle stores an object at a number so large that the table alone fills the memory."""
    for opcode, argument, _ in pickletools.genops(content):
        if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT") and argument is not None and argument > len(content):
            raise ValueError(f"it asks for {argument} places in memory")


def _normaliser(state: Mapping[str, Any]) -> Normaliser:
    norm_obs = bool(state["norm_obs"])
    observation: Statistics | dict[str, Statistics] | None = None
    if norm_obs:
        # Without observation normalisation today's SB3 keeps no statistics, the old one kept fresh ones.
        found = state["obs_rms"]
        if isinstance(found, dict):
            observation = {str(key): _statistics(item) for key, item in found.items()}
        else:
            observation = _statistics(found)
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
    return np.array(value.build() if isinstance(value, _Numbers) else value, dtype=np.float64)


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
