"""Works out how much each weight of a source matters for what it does: the diagonal of its Fisher information.

Of a policy that samples, it is that of its distribution of actions; of a value, of Q-values and of actions without a
distribution, that of a normal distribution around them with unit variance, which makes it the squared gradient.
"""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.algorithms import spec_of
from rltransfer.anatomy import Anatomy
from rltransfer.artifact import Encoder
from rltransfer.config import Task
from rltransfer.errors import IncompatibleError, RLTransferError
from rltransfer.hyperparams import Hyperparameters
from rltransfer.records import MOVED, PlanEntry
from rltransfer.strategies import EWC
from rltransfer.transfer.counting import OF_IMPORTANCE
from rltransfer.transfer.layer_rules import LayerRules
from rltransfer.transfer.methods.base import Method, Stage
from rltransfer.transfer.plan import Plan
from rltransfer.transfer.source_policy import SourcePolicy, innermost, source_policy_of
from rltransfer.transfer.values import importance_in_places

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

    from rltransfer.transfer.effects import TrainedRun
    from rltransfer.transfer.installation import Installation
    from rltransfer.transfer.matching.pair import Pair

_TRUSTED = ("gymnasium", "stable_baselines3", "sb3_contrib", "minigrid", "rltransfer")
_MOST_NUMBERS = 2**25
_CHUNK = 64


class EWCMethod(Method[EWC]):
    """Adds ``strength * F * (w - w_source)`` to the gradient of moved weights; F is the source's Fisher information."""

    stage = Stage.MEASURING
    acts_on_chosen_layers = False

    def layer_rules(self, rules: LayerRules, anatomy: Anatomy) -> LayerRules:  # noqa: ARG002
        """Returns the rules with the pull."""
        return rules.with_(importance=self.settings.strength)

    def gradient_setting(self, rules: LayerRules, layers: Collection[str]) -> str:  # noqa: ARG002
        """Returns its kind where it pulls."""
        return self.settings.kind if rules.importance else ""

    def is_idle_on(self, frozen: Sequence[PlanEntry], rules: LayerRules) -> bool:  # noqa: ARG002
        """Returns whether one of these tensors holds the source's numbers."""
        return any(entry.origin in MOVED for entry in frozen)

    def refuse(self, plan: Plan, match: "Pair", agent: "BaseAlgorithm") -> None:  # noqa: ARG002
        """Raises IncompatibleError if the source's policy cannot play where it should."""
        refuse_unplayable(plan, agent, self.settings)

    def prepare(self, plan: Plan, agent: "BaseAlgorithm") -> None:
        """Raises IncompatibleError if the source's policy cannot play where it should."""
        refuse_unplayable(plan, agent, self.settings)

    def install(self, installation: "Installation") -> None:
        """Measures the importance of the source's weights, which the planned steps pull by."""
        importance = importance_of(installation.plan, installation.agent, self.settings)
        installation.importance = importance.tensors
        installation.steps_taken[OF_IMPORTANCE] = partial(int, importance.env_steps)

    def missing_effects(self, run: "TrainedRun") -> Iterator[str]:
        """Yields that weights that matter are no nearer to the source's than without the pull."""
        pulled = run.entries(lambda entry: entry.importance > 0)
        if not pulled:
            yield "no weight is pulled"
            return
        importance = importance_of(run.plan, run.agent, self.settings).tensors
        anchors = run.source_numbers(pulled)
        distance, without = (
            sum(
                float(
                    (
                        importance_in_places(run.plan, entry, importance, anchors[entry.tensor])
                        * (tensors[entry.tensor] - anchors[entry.tensor]) ** 2
                    ).sum()
                )
                for entry in pulled
            )
            for tensors in (run.trained, run.control)
        )
        if distance >= without:
            yield f"weights that matter are {distance:.3g} from the source's, and {without:.3g} without the pull"


@dataclasses.dataclass(frozen=True)
class Importance:
    """The Fisher information of each weight of a source, by the source's names, and the env_steps that it cost."""

    tensors: Mapping[str, torch.Tensor]
    env_steps: int


def importance_of(plan: Plan, agent: "BaseAlgorithm", settings: EWC) -> Importance:
    """Returns the Fisher information of a plan's source, over states that its policy plays; the same at each call.

    Raises:
        IncompatibleError: The source's policy cannot be built or played.
    """
    seed = [plan.seed, 13]
    if settings.states == "target":
        assert agent.env is not None
        source_policy = source_policy_of(plan, agent)
        states = _played(source_policy, innermost(agent.env), settings.steps, seed)
    else:
        assert plan.encoder is not None
        env = source_env(plan.encoder, seed=plan.seed)
        try:
            source_policy = _at_home(plan.encoder, env)
            states = _played(source_policy, env, settings.steps, seed)
        finally:
            env.close()
    return Importance(fisher_diagonal(source_policy.policy, source_policy.algo, states), settings.steps)


def refuse_unplayable(plan: Plan, agent: "BaseAlgorithm", settings: EWC) -> None:
    """Raises IncompatibleError if the source's policy cannot be built, or cannot play where it should."""
    if settings.states == "target":
        source_policy_of(plan, agent)
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
    named = [
        _module_of(task.env),
        *(next(iter(wrapper)) if isinstance(wrapper, dict) else wrapper for wrapper in wrappers),
    ]
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
    named = {name: parameter for name, parameter in policy.named_parameters() if parameter.is_floating_point()}
    names, parameters = list(named), list(named.values())
    size = len(next(iter(states.values()))) if isinstance(states, dict) else len(states)
    chunk = max(1, min(_CHUNK, _MOST_NUMBERS // max(1, sum(parameter.numel() for parameter in parameters))))
    totals = [torch.zeros_like(parameter) for parameter in parameters]
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
    elif (q_values := spec_of(algo).q_values) is not None:
        yield from _unweighted(q_values(policy, observations))
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
        for member in distribution:
            yield from _of_distribution(member)
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


def _at_home(encoder: Encoder, env: VecEnv) -> SourcePolicy:
    """Returns a source's policy as it acts in its own task."""
    base = innermost(env)
    return SourcePolicy(
        encoder,
        inputs={},
        actions=None,
        observation_space=base.observation_space,
        action_space=base.action_space,
        n_envs=base.num_envs,
    )


def _played(source_policy: SourcePolicy, env: VecEnv, steps: int, seed: Sequence[int]) -> Any:
    """Returns the states, as the policy sees them, of so many env_steps in the first of the environments."""
    first, rng = np.array([0]), np.random.default_rng(seed)
    seen: list[Any] = []
    raw, starts = env.env_method("reset", indices=[0], seed=int(rng.integers(2**31)))[0][0], True
    for _ in range(steps):
        observation = source_policy.observe(_batch_of_one(raw), first, np.array([starts]))
        seen.append(observation)
        action = source_policy.act(source_policy.advise(observation), rng)[0]
        raw, _reward, terminated, truncated, _info = env.env_method("step", action, indices=[0])[0]
        starts = bool(terminated or truncated)
        if starts:
            raw = env.env_method("reset", indices=[0])[0][0]
    if isinstance(seen[0], dict):
        return {key: np.concatenate([batch[key] for batch in seen]) for key in seen[0]}
    return np.concatenate(seen)


def _batch_of_one(raw: Any) -> Any:
    return (
        {key: np.asarray(part)[None] for key, part in raw.items()} if isinstance(raw, dict) else np.asarray(raw)[None]
    )


def _rows(states: Any, chosen: slice) -> Any:
    return {key: part[chosen] for key, part in states.items()} if isinstance(states, dict) else states[chosen]


def _wrappers(stated: Any) -> tuple[str | dict[str, Any], ...]:
    if not stated:
        return ()
    return tuple(stated) if isinstance(stated, list | tuple) else (stated,)


def _module_of(env_id: str) -> str:
    return env_id.rpartition(":")[0]
