"""Moves and holds VecNormalize statistics, which are part of what an encoder expects as input."""

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from stable_baselines3.common.running_mean_std import RunningMeanStd

from rltransfer.errors import IncompatibleError
from rltransfer.mapping import IndexMap
from rltransfer.records import Check, InputMap
from rltransfer.transfer.observation_map import frame_maps, write_to_target
from rltransfer.transfer.plan import Plan
from rltransfer.vecnormalize_reader import Statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.vec_env import VecNormalize


_SAVED = "Give it those that were saved with the agent (VecNormalize.load(FILE, venv), then agent.set_env)"


class HeldMeanStd(RunningMeanStd):
    """Running statistics that do not run.

    VecNormalize has one ``training`` flag for observations and rewards (sb3_facts.md#evaluation), so observations are
    held here instead. Pickled and copied as SB3's own class, so that a saved VecNormalize loads without rltransfer.
    """

    def update(self, arr: np.ndarray) -> None:
        """Ignores a batch of observations."""

    def combine(self, other: RunningMeanStd) -> None:
        """Ignores the statistics of others."""

    def update_from_moments(self, batch_mean: np.ndarray, batch_var: np.ndarray, batch_count: float) -> None:
        """Ignores the moments of a batch."""

    def __reduce__(self) -> tuple[Any, ...]:
        return RunningMeanStd, (), dict(self.__dict__)


def normalised_keys(wrapper: "VecNormalize | None") -> frozenset[str]:
    """Returns the keys of the observation that a wrapper normalises; the key is empty where there are none."""
    if wrapper is None or not wrapper.norm_obs:
        return frozenset()
    return frozenset(wrapper.obs_rms) if isinstance(wrapper.obs_rms, dict) else frozenset({""})


def copy_statistics(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Writes the source's statistics into the VecNormalize of an agent's environments, as planned."""
    wrapper = agent.get_vec_normalize_env()
    normaliser = None if plan.encoder is None else plan.encoder.normaliser
    if wrapper is None or normaliser is None:
        return
    for running, statistics in planned_statistics(plan, agent):
        _copy(statistics, running)
    if plan.statistics.observation in ("copied", "mapped"):
        # The bounds are part of what the encoder saw.
        wrapper.clip_obs, wrapper.epsilon = normaliser.clip_obs, normaliser.epsilon
    if plan.statistics.reward == "copied" and normaliser.reward is not None:
        _copy(normaliser.reward, wrapper.ret_rms)


def planned_statistics(plan: Plan, agent: "BaseAlgorithm") -> list[tuple[RunningMeanStd, Statistics]]:
    """Returns the observation statistics of an agent's environments, each with the numbers that it will start with.

    Raises:
        IncompatibleError: They cannot follow the map of inputs.
    """
    wrapper = agent.get_vec_normalize_env()
    recorded = plan.encoder.normaliser.observation if plan.encoder is not None and plan.encoder.normaliser else None
    if wrapper is None or recorded is None or plan.statistics.observation not in ("copied", "mapped"):
        return []
    planned = []
    for running, part in _of_source(plan, wrapper):
        statistics = recorded.get(str(part.source)) if isinstance(recorded, dict) else recorded
        if statistics is not None:
            planned.append((running, _mapped(statistics, part.entries, running.mean.shape)))
    return planned


def _of_source(plan: Plan, wrapper: "VecNormalize") -> Iterator[tuple[RunningMeanStd, InputMap]]:
    """Yields the observation statistics of environments that a plan takes from its source, with where they are from."""
    for key, part in plan.inputs.items():
        running = wrapper.obs_rms.get(key) if isinstance(wrapper.obs_rms, dict) else wrapper.obs_rms
        # Images are often left as they are.
        if running is not None and part.source is not None:
            yield running, part


class HeldStatistics:
    """The observation statistics of an agent's environments, which no longer change."""

    def __init__(self, agent: "BaseAlgorithm") -> None:
        wrapper = agent.get_vec_normalize_env()
        assert wrapper is not None
        if isinstance(wrapper.obs_rms, dict):
            wrapper.obs_rms = {key: _held(running) for key, running in wrapper.obs_rms.items()}
        else:
            wrapper.obs_rms = _held(wrapper.obs_rms)
        self._agent, self._wrapper = agent, wrapper
        self._start = observation_statistics(wrapper)

    def check(self, steps: int) -> Check:
        """Returns the self-check, ``steps`` env_steps after the transfer."""
        wrapper = self._agent.get_vec_normalize_env()
        now = observation_statistics(wrapper)
        same = now.keys() == self._start.keys() and all(
            np.array_equal(now[name], then) for name, then in self._start.items()
        )
        held = same and wrapper is not None and (not wrapper.training or _are_held(wrapper))
        detail = f"{len(now)} arrays"
        if not held:
            what = "they have changed" if wrapper is self._wrapper else "other environments were set (set_env)"
            detail += (
                f"; {what}: give the agent's VecNormalize the obs_rms that was held, and call "
                f"hold_plan(plan, agent, done_steps={steps}) again"
            )
        return Check(name="held observation statistics unchanged", passed=held, detail=detail)


def _are_held(wrapper: "VecNormalize") -> bool:
    running = wrapper.obs_rms.values() if isinstance(wrapper.obs_rms, dict) else [wrapper.obs_rms]
    return all(isinstance(statistics, HeldMeanStd) for statistics in running)


def refuse_other_statistics(plan: Plan, agent: "BaseAlgorithm") -> None:
    """Refuses to hold observation statistics that are not the source's; warns where this cannot be known.

    Raises:
        IncompatibleError: The agent has no VecNormalize, or one with other statistics or bounds than the plan's.
    """
    wrapper = agent.get_vec_normalize_env()
    if wrapper is None or not wrapper.norm_obs:
        lacks = "no VecNormalize" if wrapper is None else "a VecNormalize that leaves observations as they are"
        raise IncompatibleError(f"The plan holds observation statistics, and the agent has {lacks}.")
    if plan.encoder is None:
        _refuse_fresh(plan, wrapper)
        warnings.warn(
            "The plan was read from a file, without the source's observation statistics: those of the agent's "
            "VecNormalize are held, and cannot be compared with them. They have to be those that were saved with the "
            "agent (VecNormalize.load(FILE, venv)); dataclasses.replace(plan, encoder=load_encoder(SOURCE)) compares "
            "them.",
            stacklevel=3,
        )
        return
    differs = [
        "those of the agent's VecNormalize are others"
        for running, statistics in planned_statistics(plan, agent)
        if not (np.array_equal(running.mean, statistics.mean) and np.array_equal(running.var, statistics.var))
    ]
    differs += [
        f"the agent's VecNormalize has {name} {bound:g}, the source's {stated:g}"
        for name, bound, stated in _bounds(plan, wrapper)
        if bound != stated
    ]
    if differs:
        raise IncompatibleError(
            f"The plan holds the source's observation statistics, and {differs[0]}. {_SAVED} and call hold_plan again; "
            "or apply_plan, which writes them, and the source's weights too."
        )


def _refuse_fresh(plan: Plan, wrapper: "VecNormalize") -> None:
    """Raises IncompatibleError where statistics that should be the source's have seen no observation."""
    # SB3's begin with a count of 1e-4.
    if any(running.count < 1 for running, _ in _of_source(plan, wrapper)):
        raise IncompatibleError(
            "The plan holds the source's observation statistics, and those of the agent's VecNormalize have seen no "
            f"observation yet. {_SAVED} and call hold_plan again."
        )


def _bounds(plan: Plan, wrapper: "VecNormalize") -> list[tuple[str, float, float]]:
    """Returns what else an encoder's input depends on: by name, the value of environments and that of the source."""
    normaliser = plan.encoder.normaliser if plan.encoder is not None else None
    if normaliser is None or plan.statistics.observation not in ("copied", "mapped"):
        return []
    return [(name, getattr(wrapper, name), getattr(normaliser, name)) for name in ("clip_obs", "epsilon")]


def observation_statistics(wrapper: "VecNormalize | None") -> dict[str, np.ndarray]:
    """Returns copies of a wrapper's observation means and variances by name; of none where it normalises nothing."""
    if wrapper is None or not wrapper.norm_obs:
        return {}
    running = wrapper.obs_rms if isinstance(wrapper.obs_rms, dict) else {"observation": wrapper.obs_rms}
    return {
        f"{key}.{name}": np.array(getattr(statistics, name), copy=True)
        for key, statistics in running.items()
        for name in ("mean", "var", "count")
    }


def _mapped(statistics: Statistics, entries: IndexMap | None, shape: tuple[int, ...]) -> Statistics:
    """Returns the statistics of the entries that are named; new ones have mean 0 and variance 1."""
    if entries is None or len(shape) == 3:
        if entries is None and statistics.mean.shape == shape:
            return statistics
        raise IncompatibleError(
            f"The source's observation statistics of shape {list(statistics.mean.shape)} cannot be taken over for "
            f"{list(shape)}: normalise other observations than these (norm_obs_keys), or none."
        )
    frame_entries = _of_one_frame(entries, int(np.prod(shape)), statistics.mean.size)
    mean, var = np.zeros(shape), np.ones(shape)
    write_to_target(statistics.mean[None], frame_entries, mean[None])
    write_to_target(statistics.var[None], frame_entries, var[None])
    return Statistics(mean, var, statistics.count)


def _of_one_frame(entries: IndexMap, size: int, source_size: int) -> IndexMap:
    """Returns the map of one frame from that of stacked ones: statistics are taken before frames are stacked."""
    frame_entries: list[int | None] = []
    for place, frames in enumerate(zip(*frame_maps(entries, size, source_size), strict=True)):
        stated = {entry for entry in frames if entry is not None}
        if len(stated) > 1:
            raise IncompatibleError(
                f"inputs: entry {place} means other inputs of the source from frame to frame, and there is one "
                "statistic for all of its frames. Map each frame alike."
            )
        frame_entries.append(stated.pop() if stated else None)
    return tuple(frame_entries)


def _copy(statistics: Statistics, running: RunningMeanStd) -> None:
    running.mean = np.array(statistics.mean, dtype=np.float64)
    running.var = np.array(statistics.var, dtype=np.float64)
    running.count = float(statistics.count)


def _held(running: RunningMeanStd) -> HeldMeanStd:
    held = HeldMeanStd(shape=running.mean.shape)
    held.__dict__.update(running.__dict__)
    return held
