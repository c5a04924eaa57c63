"""Looks at what a planned agent sees and does in its target task, before any training."""

import contextlib
import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, sync_envs_normalization, unwrap_vec_normalize

from rltransfer.anatomy import agent_tensors, layer_outputs
from rltransfer.records import MOVED
from rltransfer.tasks import UniformPolicy
from rltransfer.transfer import Finding, Plan
from rltransfer.transfer.running_statistics import recompute, recomputed
from rltransfer.transfer.statistics import copy_statistics
from rltransfer.transfer.values import planned_tensors
from rltransfer.vecnormalize_reader import Normaliser, Statistics

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

FAR = 5.0
"""More standard deviations than this from the source's mean are far from what it has seen."""
OFTEN = 0.1
"""An input that is far, or out of bounds, in a larger share of the target's observations is named."""
MANY = 0.5
"""A layer is named if a larger share of its units is dead or saturated."""
_SATURATED = 0.99
_ALWAYS = 0.95
_SHOWN = 4


def diagnose(
    plan: Plan, agent: "BaseAlgorithm", env: VecEnv, *, steps: int = 256, seed: int = 0
) -> tuple[Finding, ...]:
    """Returns what a short random rollout in the target task shows about a plan; the agent is not changed.

    Inputs far from the source's statistics (or outside the bounds of its observations), and units of the source that
    are zero or saturated on the target's observations. The findings that need no rollout are ``plan.findings``.

    Args:
        plan: From ``plan_transfer`` for this agent, with its encoder.
        agent: The target agent, nothing applied yet.
        env: Environments of the target task, wrapped as the agent's.
        steps: How many observations to look at.
        seed: From which the environments and the random actions are seeded.
    """
    if plan.encoder is None:
        return ()
    raw, seen = _random_rollout(plan, agent, env, steps, seed)
    return (*_far_inputs(plan, raw), *_idle_units(plan, agent, seen))


@contextlib.contextmanager
def _planned_statistics(plan: Plan, agent: "BaseAlgorithm", env: VecEnv) -> Iterator[None]:
    """Gives the environments the statistics that the plan starts with, for the time of a rollout."""
    wrapper, other = agent.get_vec_normalize_env(), unwrap_vec_normalize(env)
    training_env = agent.get_env()
    if wrapper is None or other is None or training_env is None:
        yield
        return
    names = ("obs_rms", "ret_rms", "clip_obs", "epsilon")
    before = [
        (layer, {name: copy.deepcopy(getattr(layer, name)) for name in names if hasattr(layer, name)})
        for layer in (wrapper, other)
    ]
    try:
        copy_statistics(plan, agent)
        sync_envs_normalization(training_env, env)
        yield
    finally:
        for layer, kept in before:
            layer.__dict__.update(kept)


def _random_rollout(plan: Plan, agent: "BaseAlgorithm", env: VecEnv, steps: int, seed: int) -> tuple[Any, Any]:
    """Returns the observations of random actions: raw, and as the agent sees them; by key where they have keys."""
    raw, seen = [], []
    with _planned_statistics(plan, agent, env):
        uniform = UniformPolicy(env, seed)
        env.seed(seed)
        observation: Any = env.reset()
        for _ in range(max(1, steps // env.num_envs)):
            seen.append(observation)
            raw.append(_raw(env, observation))
            observation, *_rest = env.step(uniform.predict()[0])
    return _joined(raw), _joined(seen)


def _raw(env: VecEnv, observation: Any) -> Any:
    wrapper = unwrap_vec_normalize(env)
    return wrapper.get_original_obs() if isinstance(wrapper, VecNormalize) and wrapper.norm_obs else observation


def _joined(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.concatenate([observation[key] for observation in observations]) for key in observations[0]}
    return np.concatenate(observations)


def _far_inputs(plan: Plan, raw: Any) -> Iterator[Finding]:
    assert plan.encoder is not None
    for key, part in plan.inputs.items():
        if part.source is None:
            continue
        values = np.asarray(raw[key] if key else raw, dtype=np.float64)
        limits = _limits(plan.encoder.normaliser, plan.encoder.observation_space, part.source)
        if limits is None or values.ndim != 2:
            continue
        low, high, words = limits
        entries = part.entries if part.entries is not None else tuple(range(values.shape[1]))
        if len(entries) != values.shape[1]:
            # Frames are stacked behind the statistics, which know one of them.
            continue
        shares = {
            # Behind stacked frames, statistics know one of them.
            place: float(
                np.mean((values[:, place] < low[entry % len(low)]) | (values[:, place] > high[entry % len(low)]))
            )
            for place, entry in enumerate(entries)
            if entry is not None
        }
        worst = sorted((place for place in shares if shares[place] > OFTEN), key=lambda place: -shares[place])
        if worst:
            where = f" of {key}" if key else ""
            named = ", ".join(f"{place} ({100 * shares[place]:.0f} %)" for place in worst[:_SHOWN])
            more = f" and {len(worst) - _SHOWN} more" if len(worst) > _SHOWN else ""
            yield Finding(
                kind="observations_outside",
                severity="warning",
                words=f"inputs{where} lie {words} in a random rollout: input {named}{more}",
                numbers={f"input_{place}": shares[place] for place in worst},
            )


def _limits(
    normaliser: Normaliser | None, space: spaces.Space[Any] | None, key: str
) -> tuple[np.ndarray, np.ndarray, str] | None:
    """Returns the range of each input that the source knows, and in words what it means to be outside."""
    recorded = normaliser.observation if normaliser is not None else None
    statistics = recorded.get(key) if isinstance(recorded, dict) else recorded
    if isinstance(statistics, Statistics):
        mean, spread = statistics.mean.reshape(-1), np.sqrt(statistics.var.reshape(-1))
        words = f"more than {FAR:g} standard deviations from the source's mean"
        return mean - FAR * spread, mean + FAR * spread, words
    part = space.spaces.get(key) if isinstance(space, spaces.Dict) else space
    if isinstance(part, spaces.Box) and len(part.shape) == 1:
        # Bounds are float32: what equals one in the target's float64 is not outside.
        low, high = (np.asarray(bound, dtype=np.float64) for bound in (part.low, part.high))
        slack = 1e-5 * np.maximum(1.0, np.abs(np.where(np.isfinite(high), high, 0.0)))
        return low - slack, high + slack, "outside the bounds of the source's observations"
    return None


def _idle_units(plan: Plan, agent: "BaseAlgorithm", seen: Any) -> Iterator[Finding]:
    """Yields the layers of the source of which many units do nothing on the target's observations."""
    policy = copy.deepcopy(agent.policy)
    fresh = {name: tensor.detach() for name, tensor in agent_tensors(agent).items()}
    tensors = policy.state_dict(keep_vars=True)
    for name, tensor in planned_tensors(plan, fresh).items():
        if name in tensors:
            tensors[name].data.copy_(tensor)
    if recomputed(plan):
        recompute(policy, recomputed(plan), seen)
    moved = {entry.layer for entry in plan.entries if entry.origin in MOVED and entry.role == "encoder"}
    for layer, output in layer_outputs(agent, seen, policy=policy).items():
        if layer not in moved or not isinstance(output.activation, torch.nn.ReLU | torch.nn.Tanh):
            continue
        units = output.values.transpose(0, 1).flatten(start_dim=1)
        if isinstance(output.activation, torch.nn.ReLU):
            idle, kind, words = (units <= 0).all(dim=1), "dead_units", "are zero"
        else:
            often = (units.abs() > _SATURATED).float().mean(dim=1)
            idle, kind, words = often > _ALWAYS, "saturated_units", "are saturated"
        share = float(idle.float().mean())
        if share > MANY:
            yield Finding(
                kind=kind,
                severity="warning",
                words=f"{layer}: {int(idle.sum())} of {len(idle)} units of the source {words} on the target's "
                "observations",
                numbers={"share": share},
            )
