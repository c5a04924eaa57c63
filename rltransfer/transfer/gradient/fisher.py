"""Works out how much each weight of a source matters for what it does: the diagonal of its Fisher information.

Of a policy that samples, it is that of its distribution of actions; of a value, of Q-values and of actions without a
distribution, that of a normal distribution around them with unit variance, which makes it the squared gradient.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.artifact import Encoder
from rltransfer.config import Task
from rltransfer.errors import IncompatibleError, RLTransferError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.strategies import EWC
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import Teacher, innermost, teacher_of

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

_TRUSTED = ("gymnasium", "stable_baselines3", "sb3_contrib", "minigrid", "rltransfer")
_MOST_NUMBERS = 2**25
_CHUNK = 64


@dataclasses.dataclass(frozen=True)
class Importance:
    """The Fisher information of each weight of a source, by the source's names, and the env_steps that it cost."""

    tensors: Mapping[str, torch.Tensor]
    env_steps: int


def importance_of(plan: Plan, agent: "BaseAlgorithm", part: EWC) -> Importance:
    """Returns the Fisher information of a plan's source, over states that its policy plays; the same at each call.

    Raises:
        IncompatibleError: The source's policy cannot be built or played.
    """
    seed = [plan.seed, 13]
    if part.states == "target":
        assert agent.env is not None
        teacher = teacher_of(plan, agent)
        states = _played(teacher, innermost(agent.env), part.steps, seed)
    else:
        assert plan.encoder is not None
        env = source_env(plan.encoder, seed=plan.seed)
        try:
            teacher = _at_home(plan.encoder, env)
            states = _played(teacher, env, part.steps, seed)
        finally:
            env.close()
    return Importance(fisher_diagonal(teacher.policy, teacher.algo, states), part.steps)


def refuse_unplayable(plan: Plan, agent: "BaseAlgorithm", part: EWC) -> None:
    """Raises IncompatibleError if the source's policy cannot be built, or cannot play where it should."""
    if part.states == "target":
        teacher_of(plan, agent)
        return
    assert plan.encoder is not None
    env = source_env(plan.encoder, seed=plan.seed)
    try:
        _at_home(plan.encoder, env)
    finally:
        env.close()


def source_env(encoder: Encoder, *, seed: int) -> VecEnv:
    """Returns one environment of the task that a source was trained in, with raw observations.

    What the source's file names is only built if it comes from Gymnasium, SB3, MiniGrid or rltransfer: importing what
    a file says would run code of its choice.

    Raises:
        IncompatibleError: The source does not tell its task, or it cannot be made here.
    """
    task, settings = encoder.source.task, encoder.hyperparams
    instead = "Let it play in the target: --strategy-kwargs states:target."
    if task is None:
        raise IncompatibleError(f"'ewc' plays the source in its own task, and the source does not tell it. {instead}")
    wrappers = _wrappers(settings.get("env_wrapper"))
    named = [_module_of(task.env), *(next(iter(one)) if isinstance(one, dict) else one for one in wrappers)]
    foreign = [name for name in named if name and name.partition(".")[0].removesuffix("_envs") not in _TRUSTED]
    if foreign:
        raise IncompatibleError(
            f"'ewc' plays the source in its own task, which needs {foreign[0]}: what a source's file names is not "
            f"imported. {instead}"
        )
    try:
        return tasks.make_eval_env(
            Task(env=task.env, kwargs=task.kwargs),
            Hyperparameters(policy="MlpPolicy", env_wrapper=wrappers),
            seed=seed,
            n_envs=1,
        )
    except RLTransferError as error:
        raise IncompatibleError(
            f"'ewc' plays the source in its own task, which cannot be made: {error} {instead}"
        ) from error


def fisher_diagonal(policy: Any, algo: str, states: Any) -> dict[str, torch.Tensor]:
    """Returns the mean over states of the squared gradients that make up the Fisher information, by parameter.

    Of a categorical policy these are the gradients of each log-probability, weighted by the probability: the sum over
    actions is exact, none is sampled. Of a normal one, those of the means over the variance and, twice, of the logs of
    the deviations.

    Args:
        policy: The policy, in evaluation mode.
        algo: The short name of its algorithm.
        states: [states, ...] observations as the policy sees them, by key where they have keys.
    """
    named = {name: one for name, one in policy.named_parameters() if one.is_floating_point()}
    names, parameters = list(named), list(named.values())
    size = len(next(iter(states.values()))) if isinstance(states, dict) else len(states)
    chunk = max(1, min(_CHUNK, _MOST_NUMBERS // max(1, sum(one.numel() for one in parameters))))
    totals = [torch.zeros_like(one) for one in parameters]
    policy.requires_grad_(True)
    try:
        for start in range(0, size, chunk):
            part = _rows(states, slice(start, start + chunk))
            for weights, outputs in _scores(policy, algo, policy.obs_to_tensor(part)[0]):
                _add_squares(totals, parameters, weights.detach(), outputs)
    finally:
        policy.requires_grad_(False)
    return {name: total / size for name, total in zip(names, totals, strict=True)}


def _add_squares(
    totals: list[torch.Tensor], parameters: list[torch.Tensor], weights: torch.Tensor, outputs: torch.Tensor
) -> None:
    """Adds the weighted squares of each output's gradient; every output belongs to a state of its own."""
    if not outputs.requires_grad:
        return
    each = torch.eye(len(outputs), dtype=outputs.dtype, device=outputs.device)
    gradients = torch.autograd.grad(
        outputs, parameters, grad_outputs=each, is_grads_batched=True, allow_unused=True, retain_graph=True
    )
    for total, gradient in zip(totals, gradients, strict=True):
        if gradient is not None:
            total.add_(torch.einsum("s,s...->...", weights, gradient**2))


def _scores(policy: Any, algo: str, observations: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yields the outputs of a batch whose squared gradients, times their weights, make the Fisher information."""
    if hasattr(policy, "predict_values"):
        yield from _of_distribution(policy.get_distribution(observations).distribution)
        values = policy.predict_values(observations).flatten()
        yield torch.ones_like(values), values
    elif algo in ("dqn", "qrdqn"):
        values = policy.q_net(observations) if algo == "dqn" else policy.quantile_net(observations).mean(dim=1)
        yield from _unweighted(values)
    else:
        yield from _of_actor(policy, observations)


def _of_actor(policy: Any, observations: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    if not hasattr(policy, "critic"):
        yield from _unweighted(policy.action_net(policy.extract_features(observations, policy.features_extractor)))
        return
    if hasattr(policy.actor, "get_action_dist_params"):
        mean, log_std, latent = policy.actor.get_action_dist_params(observations)
        # With gSDE log_std is that of the noise of each feature: the deviations of actions follow from the state.
        yield from _of_distribution(policy.actor.action_dist.proba_distribution(mean, log_std, **latent).distribution)
        actions = torch.tanh(mean).detach()
    else:
        actions = policy.actor(observations)
        yield from _unweighted(actions)
        actions = actions.detach()
    critics = policy.critic(observations, actions)
    for values in critics if isinstance(critics, tuple) else critics.mean(dim=2).unbind(dim=1):
        yield from _unweighted(values.reshape(len(values), -1))


def _of_distribution(distribution: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    if isinstance(distribution, list):
        for one in distribution:
            yield from _of_distribution(one)
    elif isinstance(distribution, torch.distributions.Categorical):
        for probabilities, logs in zip(distribution.probs.unbind(1), distribution.logits.unbind(1), strict=True):
            yield probabilities, logs
    elif isinstance(distribution, torch.distributions.Bernoulli):
        probabilities = distribution.probs
        for p, logit in zip(probabilities.unbind(1), distribution.logits.unbind(1), strict=True):
            yield p * (1 - p), logit
    else:
        yield from _of_normal(distribution.mean, distribution.stddev)


def _of_normal(mean: torch.Tensor, deviation: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for centre, spread in zip(mean.unbind(1), deviation.unbind(1), strict=True):
        yield spread**-2, centre
        yield torch.full_like(spread, 2.0), spread.log()


def _unweighted(values: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for column in values.unbind(1):
        yield torch.ones_like(column), column


def _at_home(encoder: Encoder, env: VecEnv) -> Teacher:
    """Returns a source's policy as it acts in its own task."""
    base = innermost(env)
    return Teacher(
        encoder,
        inputs={},
        actions=None,
        observation_space=base.observation_space,
        action_space=base.action_space,
        n_envs=base.num_envs,
    )


def _played(teacher: Teacher, env: VecEnv, steps: int, seed: Sequence[int]) -> Any:
    """Returns the states, as the policy sees them, of so many env_steps in the first of the environments."""
    first, rng = np.array([0]), np.random.default_rng(seed)
    seen: list[Any] = []
    raw, starts = env.env_method("reset", indices=[0], seed=int(rng.integers(2**31)))[0][0], True
    for _ in range(steps):
        observation = teacher.observe(_batch_of_one(raw), first, np.array([starts]))
        seen.append(observation)
        action = teacher.act(teacher.advise(observation), rng)[0]
        raw, _reward, terminated, truncated, _info = env.env_method("step", action, indices=[0])[0]
        starts = bool(terminated or truncated)
        if starts:
            raw = env.env_method("reset", indices=[0])[0][0]
    if isinstance(seen[0], dict):
        return {key: np.concatenate([one[key] for one in seen]) for key in seen[0]}
    return np.concatenate(seen)


def _batch_of_one(raw: Any) -> Any:
    return (
        {key: np.asarray(part)[None] for key, part in raw.items()} if isinstance(raw, dict) else np.asarray(raw)[None]
    )


def _rows(states: Any, chosen: slice) -> Any:
    return {key: part[chosen] for key, part in states.items()} if isinstance(states, dict) else states[chosen]


def _wrappers(found: Any) -> tuple[str | dict[str, Any], ...]:
    if not found:
        return ()
    return tuple(found) if isinstance(found, list | tuple) else (found,)


def _module_of(env_id: str) -> str:
    return env_id.rpartition(":")[0]
