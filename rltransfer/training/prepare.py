"""Builds the agent of a run, its environments and its plan; nothing is applied or trained here."""

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import tasks
from rltransfer.artifact import Encoder, joint_facts, load_encoder
from rltransfer.config import RunConfig
from rltransfer.errors import IncompatibleError
from rltransfer.records import Finding, SourceFacts
from rltransfer.strategies import modifiers, needs_source, reads_source, strategy_label
from rltransfer.training.agents import REPLACED_BY_NETWORK, build_agent
from rltransfer.transfer import Plan, plan_transfer
from rltransfer.transfer.features_once import features_words, has_frozen_image_encoder, obstacle_to_features_once


@dataclasses.dataclass(frozen=True)
class Prepared:
    """An agent that is ready to train, with the environments that it is evaluated on.

    One that ``learns_on_features`` has those of its frozen image encoder computed once per observation.
    """

    agent: BaseAlgorithm
    eval_env: VecEnv
    encoders: tuple[Encoder, ...]
    plan: Plan | None
    learns_on_features: bool = False

    @property
    def source(self) -> SourceFacts | None:
        """Where the run starts from; of several sources, what they are together."""
        return source_facts(self.encoders)


@contextlib.contextmanager
def prepare(
    config: RunConfig, monitor_folder: Path | None, *, monitor_prefix: str = "", why_recompute: str = ""
) -> Iterator[Prepared]:
    """Yields the agent of a run with its plan, nothing applied yet; closes its environments at the end.

    Args:
        config: The run.
        monitor_folder: Where the monitor files of the training environments go; None for none.
        monitor_prefix: What their names begin with.
        why_recompute: Why the agent cannot learn on features; empty if it may.

    Raises:
        RLTransferError: The source cannot be read, or source and target do not fit.
    """
    torch.set_num_threads(config.num_threads if config.num_threads > 0 else torch.get_num_threads())
    encoders = read_sources(config)
    with contextlib.ExitStack() as stack:
        eval_env = tasks.make_eval_env(
            config.evaluation_task,
            config.hyperparams,
            seed=config.seed,
            n_envs=config.evaluation.parallel,
            max_episode_steps=config.evaluation.max_episode_steps,
        )
        stack.callback(_close, eval_env)
        env = tasks.make_train_env(
            config.task,
            config.hyperparams,
            seed=config.seed,
            monitor_folder=monitor_folder,
            monitor_prefix=monitor_prefix,
            vec_env=config.vec_env,
            randomise=config.randomise,
        )
        stack.callback(_close, env)
        agent = build_agent(config, env, encoders)
        if not has_plan(config):
            yield Prepared(agent, eval_env, encoders, plan=None)
            return
        plan = plan_transfer(encoders, agent, config.strategy, inputs=config.inputs, actions=config.actions)
        once, features = _decide_on_features(config, plan, agent, why_recompute)
        added = (*_replaced_settings(config, encoders), *features)
        plan = dataclasses.replace(plan, findings=(*plan.findings, *added))
        yield Prepared(agent, eval_env, encoders, plan, learns_on_features=once)


def refuse_short_budget(config: RunConfig, plan: Plan) -> None:
    """Raises IncompatibleError if a run's budget is used up before the agent takes its first step."""
    if config.n_timesteps <= plan.statistics_steps:
        raise IncompatibleError(
            f"Nothing would be trained: the running statistics of {strategy_label(config.strategy)} are recomputed on "
            f"{plan.statistics_steps:,} env_steps before training, which count, and the run has n_timesteps "
            f"{config.n_timesteps:,}. Give it more: -n {plan.statistics_steps + 1} at least."
        )


def _close(env: VecEnv) -> None:
    """Closes environments, in which nothing that counts can break any more."""
    try:
        env.close()
    except Exception as error:
        warnings.warn(f"{tasks.watch_of(env).name}: closing it failed: {error}", stacklevel=2)


def has_plan(config: RunConfig) -> bool:
    """Returns whether weights, gradients or experience of a run are planned: not where a source is simply trained."""
    return config.role == "target" or needs_source(config.strategy) or bool(modifiers(config.strategy))


def read_sources(config: RunConfig) -> tuple[Encoder, ...]:
    """Returns the sources of a run; none where its strategy reads none."""
    if not reads_source(config.strategy):
        return ()
    return tuple(load_encoder(source, config.which, **config.stated) for source in config.sources)


def _decide_on_features(
    config: RunConfig, plan: Plan, agent: BaseAlgorithm, why_recompute: str
) -> tuple[bool, list[Finding]]:
    """Returns whether the features of a frozen image encoder are computed once, and what is to be said of it.

    Raises:
        IncompatibleError: They should be, and cannot.
    """
    if not has_frozen_image_encoder(plan, agent):
        if config.features != "once":
            return False, []
        words = (
            "features once: the agent has no encoder of images that is frozen from start to end, so "
            "that the policy computes its features in every pass"
        )
        return False, [Finding(kind="features_trained", severity="note", words=words)]
    obstacle = why_recompute or obstacle_to_features_once(plan, agent)
    if config.save_replay_buffer:
        obstacle = obstacle or "the replay buffer is to be saved, with the observations"
    if config.features == "once" and obstacle:
        raise IncompatibleError(f"features: they cannot be computed once: {obstacle}. Leave it out, or change that.")
    if config.features == "recompute" or obstacle:
        reason = obstacle or "as asked for (features recompute)"
        words = f"the policy computes the features of the frozen encoder in every pass, which is slow: {reason}"
        return False, [Finding(kind="features_recomputed", severity="note", words=words)]
    return True, [Finding(kind="features_once", severity="note", words=features_words(agent))]


def _replaced_settings(config: RunConfig, encoders: Sequence[Encoder]) -> Iterator[Finding]:
    """Yields what of the hyperparameters an agent with a pretrained network does not have."""
    given = config.hyperparams.agent.get("policy_kwargs") or {}
    names = [name for name in REPLACED_BY_NETWORK if name in given]
    if names and any(encoder.source.network is not None for encoder in encoders):
        words = f"the network stands in place of the features extractor of the hyperparameters ({', '.join(names)})"
        yield Finding(kind="extractor_replaced", severity="note", words=words)


def source_facts(encoders: Sequence[Encoder]) -> SourceFacts | None:
    """Returns where a run starts from; of several sources, what they are together."""
    return joint_facts([encoder.source for encoder in encoders]) if encoders else None
