"""Takes all of a training agent's state, and puts it into one that was built again as the run began.

Not by way of an SB3 zip: a zip has neither buffers nor generators nor what is held on an agent, and drops part of
VecNormalize (sb3_facts.md#returns).
"""

import contextlib
import copy
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.buffers import NStepReplayBuffer
from stable_baselines3.common.distributions import StateDependentNoiseDistribution
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper, VecFrameStack, VecNormalize

from rltransfer import tasks

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
_WRAPPERS = {
    VecNormalize: ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward"),
    VecFrameStack: ("stacked_obs",),
}
_SDE = ("exploration_mat", "exploration_matrices")


def take_agent(agent: "BaseAlgorithm") -> dict[str, Any]:
    """Returns an agent's weights, optimizers, counters, latest observations, replay buffer, and what it has to log."""
    _, tensors = agent._get_torch_save_params()
    return {
        "parameters": agent.get_parameters(),
        "tensors": {name: getattr(agent, name) for name in tensors},
        "attributes": {name: getattr(agent, name) for name in CHANGING if hasattr(agent, name)},
        "replay": _take_replay(agent),
        "log": {name: dict(getattr(agent.logger, name)) for name in _LOGGER},
    }


def put_agent(agent: "BaseAlgorithm", state: dict[str, Any]) -> None:
    """Takes up what ``take_agent`` returned."""
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


def take_draws(agent: "BaseAlgorithm") -> dict[str, Any]:
    """Returns all that decides the next random numbers of a run: generators, action noise, gSDE's matrices."""
    return {
        "generators": take_generators(agent),
        "actions": copy.deepcopy(agent.action_space),
        "noise": copy.deepcopy(getattr(agent, "action_noise", None)),
        "sde": [{name: getattr(distribution, name, None) for name in _SDE} for distribution in _sde(agent)],
    }


def put_draws(agent: "BaseAlgorithm", state: dict[str, Any]) -> None:
    """Takes up what ``take_draws`` returned."""
    put_generators(agent, state["generators"])
    tasks.copy_generators(copy.deepcopy(state["actions"]), agent.action_space)
    if state["noise"] is not None:
        _put_noise(agent, state["noise"])
    for distribution, draws in zip(_sde(agent), state["sde"], strict=True):
        for name, value in draws.items():
            if value is not None:
                setattr(distribution, name, value.to(agent.device))


def take_environments(env: VecEnv) -> dict[str, Any]:
    """Returns the state of vector wrappers, and that of the environments where it can be taken."""
    return {
        "wrappers": [
            {name: getattr(layer, name) for name in names if hasattr(layer, name)} for layer, names in _layers(env)
        ],
        "states": tasks.take_states(env),
    }


def put_environments(env: VecEnv, state: dict[str, Any]) -> None:
    """Takes up what ``take_environments`` returned; environments whose state was not taken stay as they are."""
    for (layer, _), attributes in zip(_layers(env), state["wrappers"], strict=True):
        for name, value in copy.deepcopy(attributes).items():
            running = getattr(layer, name, None)
            if isinstance(value, RunningMeanStd):
                # Statistics that a plan holds stay held, and are copied as SB3's own class.
                vars(running).update(vars(value))
            else:
                setattr(layer, name, value)
    if state["states"] is not None:
        tasks.put_states(env, state["states"])


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


def take_generators(agent: "BaseAlgorithm | None" = None) -> dict[str, Any]:
    """Returns the state of the generators of Python, NumPy and torch."""
    on_gpu = agent is not None and agent.device.type == "cuda"
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(agent.device) if on_gpu and agent is not None else None,
    }


def put_generators(agent: "BaseAlgorithm | None", state: dict[str, Any]) -> None:
    """Takes up what ``take_generators`` returned."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and agent is not None and agent.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], agent.device)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leaves the generators of Python, NumPy and torch as they are found."""
    before = take_generators()
    try:
        yield
    finally:
        put_generators(None, before)


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


def _layers(env: VecEnv) -> list[tuple[VecEnvWrapper, tuple[str, ...]]]:
    wrappers = []
    while isinstance(env, VecEnvWrapper):
        wrappers += [(env, names) for kind, names in _WRAPPERS.items() if isinstance(env, kind)]
        env = env.venv
    return wrappers


def _on_device(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_on_device(item, device) for item in value))
    if isinstance(value, tuple):
        return tuple(_on_device(item, device) for item in value)
    return value
