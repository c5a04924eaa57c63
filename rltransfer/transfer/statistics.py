"""Moves and holds VecNormalize statistics, which are part of what an encoder expects as input."""

from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd

from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.normaliser import Statistics
from rltransfer.transfer.plan import InputMap, Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize


class HeldMeanStd(RunningMeanStd):
    """Running statistics that do not run.

    VecNormalize has one ``training`` flag for observations and rewards (FACTS A13), so observations are held here
    instead. Pickled and copied as SB3's own class, so that a saved VecNormalize loads without rltransfer.
    """

    def update(self, arr: np.ndarray) -> None:
        """Ignores a batch of observations."""

    def combine(self, other: RunningMeanStd) -> None:
        """Ignores the statistics of others."""

    def update_from_moments(self, batch_mean: np.ndarray, batch_var: np.ndarray, batch_count: float) -> None:
        """Ignores the moments of a batch."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RunningMeanStd, (), dict(self.__dict__)


def copy_statistics(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Writes the source's statistics into the VecNormalize of an agent's environments, as planned."""
    normaliser = None if plan.encoder is None else plan.encoder.normaliser
    starts = plan.statistics
    wrapper = agent.get_vec_normalize_env()
    if wrapper is None or normaliser is None:
        return
    if starts.observation in ("copied", "mapped") and normaliser.observation is not None:
        for key, part in plan.inputs.items():
            if key and key not in wrapper.obs_rms:
                # Images are left as they are.
                continue
            running = wrapper.obs_rms[key] if isinstance(wrapper.obs_rms, dict) else wrapper.obs_rms
            _copy_part(part, normaliser.observation, running)
        # The bounds are part of what the encoder saw.
        wrapper.clip_obs, wrapper.epsilon = normaliser.clip_obs, normaliser.epsilon
    if starts.reward == "copied" and normaliser.reward is not None:
        _copy(normaliser.reward, wrapper.ret_rms)


def hold_statistics(agent: "BaseAlgorithm") -> None:
    """Stops the observation statistics of an agent's environments from changing."""
    wrapper = agent.get_vec_normalize_env()
    if wrapper is None:
        raise IncompatibleError("The plan holds observation statistics, and the agent has no VecNormalize.")
    if isinstance(wrapper.obs_rms, dict):
        wrapper.obs_rms = {key: _held(running) for key, running in wrapper.obs_rms.items()}
    else:
        wrapper.obs_rms = _held(wrapper.obs_rms)


def observation_statistics(wrapper: "VecNormalize") -> dict[str, np.ndarray]:
    """Returns copies of a wrapper's observation means and variances by name."""
    running = wrapper.obs_rms if isinstance(wrapper.obs_rms, dict) else {"observation": wrapper.obs_rms}
    return {
        f"{key}.{name}": np.array(getattr(statistics, name), copy=True)
        for key, statistics in running.items()
        for name in ("mean", "var", "count")
    }


def _copy_part(part: InputMap, source: Statistics | dict[str, Statistics], running: RunningMeanStd) -> None:
    if part.source is None or (isinstance(source, dict) and part.source not in source):
        return
    statistics = source[part.source] if isinstance(source, dict) else source
    if part.entries is not None:
        statistics = _mapped(statistics, part.entries, running.mean.shape)
    _copy(statistics, running)


def _mapped(statistics: Statistics, entries: IndexMap, shape: tuple[int, ...]) -> Statistics:
    """Returns the statistics of the entries that are named; new ones have mean 0 and variance 1."""
    of_images = len(shape) == 3
    mean, var = (
        values if of_images else values.reshape(-1)
        for values in (np.asarray(statistics.mean), np.asarray(statistics.var))
    )
    new_mean, new_var = (start(shape if of_images else len(entries), dtype=np.float64) for start in (np.zeros, np.ones))
    for place, entry in enumerate(entries):
        if entry is not None:
            new_mean[place], new_var[place] = mean[entry], var[entry]
    return Statistics(new_mean.reshape(shape), new_var.reshape(shape), statistics.count)


def _copy(statistics: Statistics, running: RunningMeanStd) -> None:
    running.mean = np.array(statistics.mean, dtype=np.float64)
    running.var = np.array(statistics.var, dtype=np.float64)
    running.count = float(statistics.count)


def _held(running: RunningMeanStd) -> HeldMeanStd:
    held = HeldMeanStd(shape=running.mean.shape)
    held.__dict__.update(running.__dict__)
    return held
