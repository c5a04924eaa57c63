"""Trains and evaluates one agent for one seed, writes the run folder, and goes on where an earlier try was stopped."""

import contextlib
import inspect
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import files, tasks
from rltransfer.config import RunConfig
from rltransfer.records import CHECKPOINT, OWN_FOLDER, PLAN, RECORD, RunRecord, moved_words, read_record, write_record
from rltransfer.run_folder import clear, write_settings
from rltransfer.strategies import Auto, strategy_label
from rltransfer.training.agents import learn_arguments
from rltransfer.training.callbacks import CheckpointCallback, CurveCallback, LogRollouts, MilestoneCallback
from rltransfer.training.evaluation import derived_seed
from rltransfer.training.heartbeat import Heart
from rltransfer.training.prepare import Prepared, prepare, read_sources, refuse_short_budget, source_facts
from rltransfer.training.record_writer import deciding_settings, finished_record, first_record, update_record
from rltransfer.training.representation import Probe, RepresentationCurve
from rltransfer.training.resume import rewind
from rltransfer.training.resume.checkpoint import Checkpoint, Checkpoints
from rltransfer.training.resume.older_runs import refuse_misread_run
from rltransfer.training.resume.rng_state import undisturbed
from rltransfer.training.resume.run_state import RunState, Stateful
from rltransfer.training.retention import score_in_source
from rltransfer.training.scoring import score_best, score_last, score_random, score_start
from rltransfer.training.session import Session
from rltransfer.training.successive_halving import LeaderCurve, Race
from rltransfer.transfer import Transfer, apply_plan
from rltransfer.transfer.counting import quiet_until
from rltransfer.transfer.features_once import FeaturesOnce, features_once

FEATURES = "features"
"""What of a run's state says that its buffers hold features."""


def train_run(config: RunConfig, folder: Path, *, stop: Callable[[], bool] = lambda: False) -> RunRecord:
    """Trains one agent as configured and returns the record of the run.

    A folder that holds an earlier try with the same settings is resumed from its latest checkpoint; what another try
    left is removed. Of a finished run the record is returned at once.

    Args:
        config: The run.
        folder: Its run folder, claimed by the caller.
        stop: Asked at every step, and now and then from another thread; once it says so, the run is saved at the end of
            the rollout and stops. An evaluation, and a rollout that does not end, is given up: the run goes on from
            where it was saved before. In another thread than the main one it is only stopped at the end of a rollout.

    Raises:
        Stopped: The run was asked to stop; the same call goes on with it.
        BrokenEnvironmentError: An environment raised, took too long, ended its process, or returned NaN or inf.
        FileWriteError: A file cannot be written, for example since the disk is full.
        RLTransferError: The source cannot be read, or source and target do not fit; nothing was trained.
        Exception: Whatever else broke the training.

    Whatever is raised, the record says ``stopped``, or ``failed`` with the reason; the latest checkpoint is whole.
    """
    checkpoints = Checkpoints(folder / OWN_FOLDER / CHECKPOINT, deciding_settings(config))
    finished = finished_record(config, folder)
    if finished is not None:
        checkpoints.clear()
        return finished
    checkpoint = _checkpoint(config, folder, checkpoints)
    heart = Heart(folder, step_timeout_seconds=config.step_timeout_seconds)
    session = Session(config, folder, checkpoints, checkpoint, stop, heart)
    _make_ready(session)
    with session.noting_end(), heart:
        facts = _race(session) if isinstance(config.strategy[0], Auto) else _train_one(session)
    heart.refuse_lost_claim(look=True)
    seconds = {"wall_seconds": session.seconds(), "evaluation_seconds": session.evaluation_seconds}
    record = update_record(folder, status="done", **seconds, **facts)
    checkpoints.clear()
    return record


def _checkpoint(config: RunConfig, folder: Path, checkpoints: Checkpoints) -> Checkpoint | None:
    """Returns the checkpoint to go on from; one whose source has become another agent does not count."""
    checkpoint = checkpoints.newest()
    if checkpoint is None or not (folder / OWN_FOLDER / RECORD).is_file():
        return None
    then, now = read_record(folder).source, source_facts(read_sources(config))
    return checkpoint if (then and then.sha256) == (now and now.sha256) else None


def _make_ready(session: Session) -> None:
    """Brings the run folder to where the session begins."""
    config, folder = session.config, session.folder
    if session.checkpoint is None:
        clear(config, folder)
        write_settings(folder, config)
        write_record(folder, first_record(config))
    else:
        write_settings(folder, config)
        rewind.rewind(config, folder, session.checkpoint)
        update_record(folder, status="running", error=None)


def _train_one(session: Session) -> dict[str, Any]:
    """Trains one agent; returns the facts that the record gains."""
    with contextlib.ExitStack() as stack:
        with session.stopping_at_once():
            prepared = stack.enter_context(prepare(session.config, monitor_folder=session.folder))
        agent = prepared.agent
        stack.enter_context(session.watching([agent], [_env_of(agent), prepared.eval_env], lambda: agent.num_timesteps))
        stack.enter_context(session.stopping_at_once())
        return _train(session, prepared)


def _train(session: Session, prepared: Prepared) -> dict[str, Any]:
    config, folder, agent = session.config, session.folder, prepared.agent
    session.introduce()
    transfer = _apply(session, prepared)
    with undisturbed():
        keeping = tasks.find_joint_keeping([_env_of(agent)], [prepared.eval_env])
    agent.set_logger(session.logger())
    # First of all: where environments remember, its states must be those of an interrupted run.
    probe = Probe(agent, prepared.eval_env, seed=derived_seed(config.seed, "probe"))
    # Before a source acts in them.
    with session.evaluating():
        uniform = score_random(config, prepared.eval_env) if session.begin is None else {}
    representation = RepresentationCurve(folder, probe)
    eval_env = transfer.equip(prepared.eval_env) if transfer else prepared.eval_env
    with _features_once(session, prepared) as once:
        if once is not None:
            eval_env = once.wrap(eval_env)
            probe.learn_on_features(agent, once.encoder)
        scores = session.scores(prepared.source, keeping, lambda: uniform | score_start(config, agent, eval_env))
        quiet_steps = quiet_until(prepared.plan) if prepared.plan else 0
        curve = CurveCallback(
            folder, eval_env, quiet_steps=quiet_steps, representation=representation, **session.curve_settings()
        )
        parts: dict[str, Stateful] = {"representation": representation}
        if once is not None:
            parts[FEATURES] = once
        callbacks = _callbacks(session, prepared, transfer, curve, parts)
        with session.stopping_at_rollouts():
            _learn(config, agent, callbacks)
        session.save_last(agent)
        checks = transfer.checks() if transfer else ()
        with session.evaluating():
            scores |= score_last(config, agent, eval_env)
            scores |= score_best(config, agent, eval_env, curve.best)
    kept = {}
    if config.role == "target":
        with session.evaluating():
            kept = score_in_source(config, agent, prepared.source, transfer, watch=session.watch)
    session.report_end({**scores, **kept}, checks)
    return {
        "env_steps": agent.num_timesteps,
        "n_updates": agent._n_updates,
        "checks": checks,
        **scores,
        **kept,
    }


def _race(session: Session) -> dict[str, Any]:
    """Lets the agents of ``auto`` race; returns the facts that the record gains."""
    session.introduce()
    race = Race(session)
    field = race.field
    with contextlib.ExitStack() as stack:
        with session.stopping_at_once():
            stack.enter_context(race.prepared())
        stack.enter_context(session.watching(field.agents, field.envs, lambda: field.env_steps))
        stack.enter_context(session.stopping_at_once())
        scores = session.scores(field.source, race.keep_states(), race.scores_at_start)
        curve = LeaderCurve(field, session.folder, **session.curve_settings())
        curve.run_logger = session.logger()
        winner = race.run(curve)
        files.write_json(session.folder / OWN_FOLDER / PLAN, winner.transfer.plan.to_json())
        session.save_last(winner.agent)
        checks = race.checks()
        with session.evaluating():
            scores |= race.scores_at_end(winner, curve)
            kept = score_in_source(session.config, winner.agent, field.source, winner.transfer, watch=session.watch)
        facts = {
            "env_steps": field.env_steps,
            "n_updates": field.n_updates,
            "checks": checks,
            "race": race.facts(winner),
            **scores,
            **kept,
        }
    session.report_end({**scores, **kept}, checks)
    return facts


def _apply(session: Session, prepared: Prepared) -> Transfer | None:
    plan = prepared.plan
    if plan is None:
        return None
    refuse_short_budget(session.config, plan)
    if session.checkpoint is not None:
        refuse_misread_run(session.folder, prepared.encoders, prepared.agent.observation_space)
    files.write_json(session.folder / OWN_FOLDER / PLAN, plan.to_json())
    totals = plan.totals()
    session.say(
        f"{strategy_label(plan.strategy)}: {totals['values']:,} values; moved {moved_words(totals)}, "
        f"{totals['frozen']:,} frozen, {totals['trained']:,} trained"
    )
    for finding in plan.findings:
        session.say(str(finding))
    return apply_plan(plan, prepared.agent)


def _features_once(
    session: Session, prepared: Prepared
) -> contextlib.AbstractContextManager[FeaturesOnce] | contextlib.nullcontext[None]:
    """Returns the context in which the agent learns on features, if the plan says so."""
    if not prepared.learns_on_features:
        return contextlib.nullcontext()
    assert prepared.plan is not None
    if session.begin is not None and FEATURES not in session.begin["parts"]:
        session.say("goes on as it was begun: the policy computes the features of the frozen encoder in every pass")
        return contextlib.nullcontext()
    return features_once(prepared.plan, prepared.agent)


def _callbacks(
    session: Session,
    prepared: Prepared,
    transfer: Transfer | None,
    curve: CurveCallback,
    others: Mapping[str, Stateful],
) -> list[BaseCallback]:
    """Returns the callbacks of a run in their order; those with a state are saved with it, and so are ``others``."""
    config, begin, agent = session.config, session.begin, prepared.agent
    parts: dict[str, Stateful] = {"monitor": rewind.MonitorFiles(session.folder), "curve": curve, **others}
    # The transfer's come first: a source policy's steps count before the curve looks at the clock.
    callbacks: list[BaseCallback] = list(transfer.callbacks) if transfer else []
    if transfer is not None:
        parts["transfer"] = transfer
        if begin is not None:
            # Before learn() resets the environments: a source policy plays its first episodes only once.
            transfer.load_state_dict(begin["parts"]["transfer"])
    interval = _log_interval(config, agent)
    if isinstance(agent, OnPolicyAlgorithm) and interval is not None:
        parts["log"] = log = LogRollouts(interval)
        callbacks.append(log)
    callbacks.append(curve)
    if config.save_freq > 0:
        saved = CheckpointCallback(session.folder, config.save_freq, replay_buffer=config.save_replay_buffer)
        parts["saved"] = saved
        callbacks.append(saved)
    if config.save_at:
        kept = MilestoneCallback(session.folder, config.save_at, replay_buffer=config.save_replay_buffer)
        parts["kept"] = kept
        callbacks.append(kept)
    return [session.saver(RunState(agent, parts, eval_env=prepared.eval_env, seed=config.seed), begin), *callbacks]


def _learn(config: RunConfig, agent: BaseAlgorithm, callbacks: list[BaseCallback]) -> None:
    settings: dict[str, Any] = {
        "callback": callbacks,
        "progress_bar": config.progress,
        "log_interval": None if isinstance(agent, OnPolicyAlgorithm) else _log_interval(config, agent),
        **learn_arguments(config.algo, _env_of(agent)),
    }
    with warnings.catch_warnings():
        # tqdm calls its rich bar experimental each time that it is used.
        warnings.filterwarnings("ignore", message="rich is experimental")
        agent.learn(config.n_timesteps, **settings)


def _log_interval(config: RunConfig, agent: BaseAlgorithm) -> int | None:
    """Returns how many rollouts, episodes or updates lie between two log lines; -1 stands for the algorithm's own."""
    if config.log_interval != -1:
        return config.log_interval if config.log_interval > 0 else None
    default: int = inspect.signature(agent.learn).parameters["log_interval"].default
    return default


def _env_of(agent: BaseAlgorithm) -> VecEnv:
    env = agent.get_env()
    assert env is not None
    return env
