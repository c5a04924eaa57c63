"""The state of a training agent, and how one that was built again as the run began takes it up.

Not by way of an SB3 zip: a zip has neither buffers nor generators nor what is held on an agent, and drops part of
VecNormalize (sb3_facts.md#returns).
"""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.distributions import StateDependentNoiseDistribution

from rltransfer import tasks
from rltransfer.training.resume.rng_state import load_rng_state_dict, rng_state_dict

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

CHANGING = (
    "num_timesteps",
    "weights",
    "old_count",
    "exploration_rate",
    "ep_info_buffer",
    "ep_success_buffer",
    "_n_updates",
    "_n_calls",
    "_episode_num",
    "_current_progress_remaining",
    "_last_obs",
    "_last_original_obs",
    "_last_episode_starts",
    "_last_lstm_states",
)
"""The attributes of SB3's agents that training changes, beside tensors, buffers and what draws random numbers."""
_SDE = ("exploration_mat", "exploration_matrices")


def agent_state_dict(agent: "BaseAlgorithm") -> dict[str, Any]:
    """Returns an agent's weights, optimizers, counters, latest observations, replay buffer, and what it has to log."""
    _, tensors = agent._get_torch_save_params()
    return {
        "parameters": agent.get_parameters(),
        "tensors": {name: getattr(agent, name) for name in tensors},
        "attributes": {name: getattr(agent, name) for name in CHANGING if hasattr(agent, name)},
        "replay": _take_replay(agent),
        "log": {name: dict(getattr(agent.logger, name)) for name in _LOGGER},
    }


def load_agent_state_dict(agent: "BaseAlgorithm", state: dict[str, Any]) -> None:
    """Loads what ``agent_state_dict`` returned."""
    agent.set_parameters(state["parameters"], exact_match=True, device=agent.device)
    with torch.no_grad():
        for name, value in state["tensors"].items():
            getattr(agent, name).copy_(value)
    for name, value in state["attributes"].items():
        setattr(agent, name, _on_device(copy.deepcopy(value), agent.device))
    # SB3's steps per second are those of this process.
    agent._num_timesteps_at_start = agent.num_timesteps
    _put_replay(agent, state["replay"])
    for name in _LOGGER:
        values = getattr(agent.logger, name)
        values.clear()
        values.update(state["log"][name])


def random_state_dict(agent: "BaseAlgorithm") -> dict[str, Any]:
    """Returns all that decides the next random numbers of a run: generators, action noise, gSDE's matrices."""
    return {
        "generators": rng_state_dict(agent),
        "actions": copy.deepcopy(agent.action_space),
        "noise": copy.deepcopy(getattr(agent, "action_noise", None)),
        "sde": [{name: getattr(distribution, name, None) for name in _SDE} for distribution in _sde(agent)],
    }


def load_random_state_dict(agent: "BaseAlgorithm", state: dict[str, Any]) -> None:
    """Loads what ``random_state_dict`` returned."""
    load_rng_state_dict(agent, state["generators"])
    tasks.copy_generators(copy.deepcopy(state["actions"]), agent.action_space)
    if state["noise"] is not None:
        _put_noise(agent, state["noise"])
    for distribution, draws in zip(_sde(agent), state["sde"], strict=True):
        for name, value in draws.items():
            if value is not None:
                setattr(distribution, name, value.to(agent.device))


def begin_episodes(agent: "BaseAlgorithm", seed: int) -> None:
    """Begins new episodes in environments whose state cannot be put back, and cuts those in the replay buffer off."""
    env: Any = agent.get_env()
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is not None and (buffer.full or buffer.pos):
        _cut_last_episode(buffer)
    env.seed(seed)
    agent._last_obs = env.reset()
    agent._last_episode_starts = np.ones((env.num_envs,), dtype=bool)
    normaliser = agent.get_vec_normalize_env()
    if normaliser is not None:
        agent._last_original_obs = normaliser.get_original_obs()


_LOGGER = ("name_to_value", "name_to_count", "name_to_excluded")


def _take_replay(agent: Any) -> dict[str, Any] | None:
    """Returns the filled part of a replay buffer; in memory-efficient ones the row at ``pos`` belongs to it."""
    buffer = getattr(agent, "replay_buffer", None)
    if buffer is None:
        return None
    filled = buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)
    return {
        name: _rows(value, buffer.buffer_size, filled)
        for name, value in vars(buffer).items()
        if name not in _NOT_REPLAYED and not callable(value)
    }


_NOT_REPLAYED = ("env", "device", "observation_space", "action_space", "goal_selection_strategy")


def _put_replay(agent: Any, state: dict[str, Any] | None) -> None:
    if state is None:
        return
    buffer = agent.replay_buffer
    for name, value in state.items():
        stored = getattr(buffer, name)
        if _is_filled(stored, buffer.buffer_size):
            stored[: len(value)] = value
        elif hasattr(stored, "load_state_dict"):
            stored.load_state_dict(value)
        elif isinstance(stored, dict):
            for key, part in value.items():
                if _is_filled(stored[key], buffer.buffer_size):
                    stored[key][: len(part)] = part
        else:
            setattr(buffer, name, copy.deepcopy(value))


def _is_filled(value: Any, size: int) -> bool:
    """Returns whether a part of a buffer has a row for each moment."""
    return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == size


def _rows(value: Any, size: int, filled: int) -> Any:
    if _is_filled(value, size):
        return value[:filled]
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if isinstance(value, dict):
        return {key: _rows(part, size, filled) for key, part in value.items()}
    return value


def _cut_last_episode(buffer: Any) -> None:
    """Marks the latest transitions as the last of their episodes, each kind of buffer in its own way."""
    last = (buffer.pos - 1) % buffer.buffer_size
    if hasattr(buffer, "truncate_last_trajectory"):
        buffer.truncate_last_trajectory()
    elif buffer.optimize_memory_usage:
        # The next row holds another episode's observation (SB3 issue #46).
        buffer.dones[last] = True
    elif isinstance(buffer, NStepReplayBuffer):
        buffer.timeouts[last] = True


def _put_noise(agent: Any, noise: Any) -> None:
    """Gives the agent its noise; SB3 passes one object to every rollout, so that it stays the same one."""
    if agent.action_noise is not None:
        vars(agent.action_noise).update(vars(copy.deepcopy(noise)))


def _sde(agent: "BaseAlgorithm") -> list[StateDependentNoiseDistribution]:
    distributions = (getattr(module, "action_dist", None) for module in agent.policy.modules())
    return [distribution for distribution in distributions if isinstance(distribution, StateDependentNoiseDistribution)]


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_on_device(item, device) for item in value))
    if isinstance(value, tuple):
        return tuple(_on_device(item, device) for item in value)
    return value
