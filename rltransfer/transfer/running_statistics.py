"""Recomputes running statistics that fit no weights any more, on observations of the target.

A frozen random network whose statistics are those of its initialisation, and shuffled weights under the statistics that
the source's had, give features that hardly differ between observations: a control that is dead shows nothing.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv, unwrap_vec_normalize

from rltransfer.anatomy import agent_tensors, forward_on
from rltransfer.errors import IncompatibleError
from rltransfer.records import Check
from rltransfer.tasks import UniformPolicy
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import innermost

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

STEPS = 256
"""The env_steps of a random policy that statistics are computed on, in whole rounds of all environments."""
_MOST_NUMBERS = 2**23
_LITTLE = 1e-3
# By the names of torch's batch normalisation, and of CrossQ's.
_NAMES = (("running_mean", "running_var"), ("ra_mean", "ra_var"))
_STREAM = 19
_OF_NORMALISER = ("obs_rms", "ret_rms", "returns", "old_obs", "old_reward")


def running_statistics(policy: torch.nn.Module) -> frozenset[str]:
    """Returns the names of the running means and variances of a policy."""
    return frozenset(
        f"{path}.{name}"
        for path, module in policy.named_modules()
        for names in _NAMES
        if all(isinstance(values := getattr(module, name, None), torch.Tensor) and values.dim() == 1 for name in names)
        for name in names
    )


def steps_to_recompute(names: Collection[str], agent: "BaseAlgorithm") -> int:
    """Returns how many env_steps it takes to recompute these statistics; 0 where there are none.

    Raises:
        IncompatibleError: The agent has no environments to see anything in.
    """
    if not names:
        return 0
    if agent.env is None:
        raise IncompatibleError(
            "Running statistics of the control are recomputed on observations of the agent's environments, and the "
            "agent has none: give it some (set_env)."
        )
    return -(-STEPS // agent.env.num_envs) * agent.env.num_envs


def recompute_statistics(plan: Plan, agent: "BaseAlgorithm") -> tuple[Check, ...]:
    """Recomputes the statistics that a plan says, under the weights that it put there; returns the self-check.

    Where environments and their normalisation stand is forgotten: the next ``learn`` resets them as if nothing had
    been played.
    """
    names = recomputed(plan)
    if not names:
        return ()
    assert agent.env is not None
    seed = int(np.random.default_rng([plan.seed, _STREAM]).integers(2**31))
    with _undisturbed(plan, agent, agent.env, seed):
        observations, actions = _random_rollout(plan, agent.env, seed)
    varying = recompute(agent.policy, names, observations, actions, seed=seed)
    tensors = agent_tensors(agent)
    with torch.no_grad():
        for entry in plan.entries:
            if entry.twin in names:
                tensors[entry.tensor].copy_(tensors[entry.twin])
    dead = [path for path, share in varying.items() if share < 0.5]
    detail = f"{len(varying)} layers" + (f"; most units are the same for all: {', '.join(dead)}" if dead else "")
    return (Check(name="recomputed layers differ between observations", passed=not dead, detail=detail),)


def recomputed(plan: Plan) -> frozenset[str]:
    """Returns the statistics of the online networks that a plan recomputes."""
    return frozenset(entry.tensor for entry in plan.entries if entry.origin == "recomputed")


def recompute(
    policy: Any, names: Collection[str], observations: Any, actions: np.ndarray | None = None, *, seed: int = 0
) -> dict[str, float]:
    """Recomputes statistics layer by layer, each under the new ones of the layers before it.

    Args:
        policy: The policy, with the weights that the statistics are for.
        names: The statistics.
        observations: [batch, ...] as the policy sees them, by key where they have keys.
        actions: [batch, ...] that go with them, as the policy gives them, for a critic that reads actions; None for
            those that the policy would take.
        seed: Of the order in which a batch too large for one pass is gone through.

    Returns:
        By module, the share of its units that are not the same for all observations.
    """
    modules = [
        _Module(path, policy.get_submodule(path)) for path in sorted({name.rpartition(".")[0] for name in names})
    ]
    was_training = policy.training
    policy.set_training_mode(False)
    chunks = list(_chunks(observations, actions, np.random.default_rng(seed)))
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for way in (_Module.read_input, _Module.read_output):
                # The output is that of the first observations, under the final statistics.
                for part, taken in chunks if way is _Module.read_input else chunks[:1]:
                    with _hooked(modules, way):
                        forward_on(policy, part, taken)
    finally:
        policy.set_training_mode(was_training)
    return {module.path: module.varying for module in modules}


@dataclasses.dataclass
class _Module:
    """A module that normalises, and the sums over all that it has read so far, by channel."""

    path: str
    module: torch.nn.Module
    count: int = 0
    total: Any = 0.0
    squares: Any = 0.0
    varying: float = 0.0

    def read_input(self) -> Any:
        return self.module.register_forward_pre_hook(lambda _, inputs: self._add(inputs[0]))

    def read_output(self) -> Any:
        return self.module.register_forward_hook(lambda _, __, output: self._look(output))

    def _add(self, values: torch.Tensor) -> None:
        """Adds what the module is about to read, and writes the statistics of all so far."""
        channels = _by_channel(values).double()
        self.count += channels.shape[1]
        self.total = self.total + channels.sum(dim=1)
        self.squares = self.squares + (channels**2).sum(dim=1)
        mean = self.total / self.count
        variance = (self.squares / self.count - mean**2).clamp(min=0.0) * self.count / max(1, self.count - 1)
        # Of a channel that never varies, as of a dead unit, nothing is known: what varies later is not blown up.
        is_constant = variance <= torch.finfo(values.dtype).eps * mean**2
        own_mean, own_variance = next(names for names in _NAMES if hasattr(self.module, names[0]))
        getattr(self.module, own_mean).copy_(mean)
        getattr(self.module, own_variance).copy_(torch.where(is_constant, torch.ones_like(variance), variance))

    def _look(self, output: torch.Tensor) -> None:
        self.varying = float((_by_channel(output).std(dim=1) > _LITTLE).float().mean())


def _by_channel(values: torch.Tensor) -> torch.Tensor:
    return values.detach().transpose(0, 1).flatten(start_dim=1)


@contextlib.contextmanager
def _hooked(modules: list[_Module], way: Any) -> Iterator[None]:
    hooks = [way(module) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _chunks(observations: Any, actions: np.ndarray | None, rng: np.random.Generator) -> Iterator[tuple[Any, Any]]:
    parts = observations if isinstance(observations, dict) else {"": observations}
    size = len(next(iter(parts.values())))
    chunk = max(2, _MOST_NUMBERS // max(1, sum(part[0].size for part in parts.values())))
    # Neighbours in time are alike, and a part should be like the whole.
    order = rng.permutation(size) if chunk < size else np.arange(size)
    for start in range(0, size, chunk):
        rows = order[start : start + chunk]
        seen = {key: part[rows] for key, part in parts.items()}
        yield seen if isinstance(observations, dict) else seen[""], None if actions is None else actions[rows]


def _random_rollout(plan: Plan, env: VecEnv, seed: int) -> tuple[Any, np.ndarray]:
    """Returns what an agent sees of a uniformly random policy, and the actions.

    VecNormalize that begins afresh gets the first half for itself: by its first numbers nothing is normalised.
    """
    uniform = UniformPolicy(env, seed)
    steps = plan.statistics_steps // env.num_envs
    seen, taken = [], []
    observation: Any = env.reset()
    for _ in range(steps):
        action, _state = uniform.predict()
        seen.append(copy.deepcopy(observation))
        taken.append(action)
        observation, *_rest = env.step(action)
    used = slice(steps // 2 if plan.statistics.observation == "fresh" else 0, None)
    return _joined(seen[used]), np.concatenate(taken[used])


def _joined(observations: list[Any]) -> Any:
    if isinstance(observations[0], Mapping):
        return {key: np.concatenate([part[key] for part in observations]) for key in observations[0]}
    return np.concatenate(observations)


@contextlib.contextmanager
def _undisturbed(plan: Plan, agent: Any, env: VecEnv, seed: int) -> Iterator[None]:
    """Seeds the environments for a rollout; afterwards the next reset, and normalisation, are as without it."""
    base, wrapper = innermost(env), unwrap_vec_normalize(env)
    seeds, options = list(base._seeds), list(base._options)
    kept: dict[str, Any] = {}
    if wrapper is not None:
        kept = {name: getattr(wrapper, name) for name in (*_OF_NORMALISER, "training") if hasattr(wrapper, name)}
        wrapper.__dict__.update(copy.deepcopy(kept))
        wrapper.training = wrapper.training and not plan.statistics.hold_observation
    if agent.seed is not None:
        base.seed(seed)
    try:
        yield
    finally:
        base._seeds, base._options = seeds, options
        if wrapper is not None:
            wrapper.__dict__.update(kept)
        # What the agent saw last is not where its environments are.
        agent._last_obs = None
