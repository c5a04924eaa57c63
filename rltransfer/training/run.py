"""Trains and evaluates one agent for one seed, and writes the run folder."""

import datetime
import time
import traceback
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.vec_env import VecEnv

from rltransfer import files, tasks
from rltransfer.artifact.sources import LAST_NORMALISER, REPLAY_BUFFER
from rltransfer.config import RunConfig
from rltransfer.records import OWN_FOLDER, Check, Episodes, EvaluationFacts, RunRecord, read_record, write_record
from rltransfer.strategies import Auto, dump_strategy, strategy_label
from rltransfer.training.agents import learn_arguments
from rltransfer.training.callbacks import CheckpointCallback, CurveCallback
from rltransfer.training.evaluation import derived_seed
from rltransfer.training.folder import PLAN, save_agent, save_normaliser, save_replay_buffer, write_settings
from rltransfer.training.prepare import Prepared, has_plan, prepare
from rltransfer.training.race import LeaderCurve, Race, collect_monitors
from rltransfer.training.scoring import score_best, score_last, score_random, score_start
from rltransfer.transfer import Plan, Transfer, apply_plan

_PACKAGES = ("rltransfer", "stable-baselines3", "gymnasium", "torch", "numpy")


def train_run(config: RunConfig, folder: Path) -> RunRecord:
    """Trains one agent as configured and returns the record of the run.

    Args:
        config: The run.
        folder: Its run folder, claimed by the caller.

    Raises:
        RLTransferError: The source cannot be read, or source and target do not fit; nothing was trained.
        Exception: Whatever broke the training.

    Whatever is raised, the record says ``failed`` with the reason.
    """
    started = time.perf_counter()
    write_settings(folder, config)
    write_record(folder, _first_record(config))
    try:
        facts = _race(config, folder) if isinstance(config.strategy[0], Auto) else _train_one(config, folder)
    except BaseException as error:
        reason = "".join(traceback.format_exception_only(error)).strip()
        _update_record(folder, status="failed", error=reason, wall_seconds=time.perf_counter() - started)
        raise
    return _update_record(folder, status="done", wall_seconds=time.perf_counter() - started, **facts)


def _train_one(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Trains one agent; returns the facts that the record gains."""
    with prepare(config, monitor_folder=folder) as prepared:
        _update_record(folder, source=prepared.source)
        return _train(config, folder, prepared)


def _race(config: RunConfig, folder: Path) -> dict[str, Any]:
    """Lets the agents of ``auto`` race; returns the facts that the record gains."""
    say = _voice(config)
    say(f"{config.arm} on {config.task.env}, seed {config.seed}, {config.n_timesteps:,} steps -> {folder}")
    with Race(config, folder, say).prepared() as race:
        _update_record(folder, source=race.source)
        scores = race.scores_at_start()
        curve = LeaderCurve(race, folder, **_curve_settings(config, say))
        curve.run_logger = configure(str(_tensorboard_folder(config, folder)), _log_formats(config))
        winner = race.run(curve)
        files.write_json(folder / OWN_FOLDER / PLAN, winner.transfer.plan.to_json())
        _save_last(config, folder, winner.prepared.agent)
        checks = race.checks()
        scores |= race.scores_at_end(winner, curve)
        facts = {"env_steps": race.env_steps, "checks": checks, "race": race.facts(winner), **scores}
    collect_monitors(folder)
    _report_end(say, folder, scores, checks)
    return facts


def _save_last(config: RunConfig, folder: Path, agent: BaseAlgorithm) -> None:
    save_normaliser(agent.get_vec_normalize_env(), folder / config.task.file_name / LAST_NORMALISER)
    save_agent(agent, folder / f"{config.task.file_name}.zip")
    if config.save_replay_buffer:
        save_replay_buffer(agent, folder / REPLAY_BUFFER)


def _voice(config: RunConfig) -> Callable[[str], None]:
    return print if config.verbose else _say_nothing


def _train(config: RunConfig, folder: Path, prepared: Prepared) -> dict[str, Any]:
    """Trains the prepared agent; returns the facts that the record gains."""
    say = _voice(config)
    agent = prepared.agent
    say(f"{config.arm} on {config.task.env}, seed {config.seed}, {config.n_timesteps:,} steps -> {folder}")
    transfer = _apply(folder, agent, prepared.plan, say)
    agent.set_logger(configure(str(_tensorboard_folder(config, folder)), _log_formats(config)))
    scores = score_random(config, prepared.eval_env)
    eval_env = transfer.equip(prepared.eval_env) if transfer else prepared.eval_env
    scores |= score_start(config, agent, eval_env)
    quiet_steps = (prepared.plan.quiet_steps or 0) if prepared.plan else 0
    curve = CurveCallback(folder, eval_env, quiet_steps=quiet_steps, **_curve_settings(config, say))
    # The transfer's come first: a guide's steps count before the curve looks at the clock.
    callbacks: list[BaseCallback] = [*(transfer.callbacks if transfer else []), curve]
    if config.save_freq > 0:
        callbacks.append(CheckpointCallback(folder, config.save_freq, replay_buffer=config.save_replay_buffer))
    _learn(config, agent, callbacks)
    _save_last(config, folder, agent)
    checks = transfer.checks() if transfer else ()
    scores |= score_last(config, agent, eval_env)
    scores |= score_best(config, agent, eval_env, curve.best)
    _report_end(say, folder, scores, checks)
    return {"env_steps": agent.num_timesteps, "checks": checks, **scores}


def _apply(folder: Path, agent: BaseAlgorithm, plan: Plan | None, say: Callable[[str], None]) -> Transfer | None:
    if plan is None:
        return None
    files.write_json(folder / OWN_FOLDER / PLAN, plan.to_json())
    totals = plan.totals()
    say(
        f"{strategy_label(plan.strategy)}: {totals['moved']:,} of {totals['values']:,} values moved, "
        f"{totals['frozen']:,} frozen, {totals['trained']:,} trained"
    )
    for finding in plan.findings:
        say(str(finding))
    return apply_plan(plan, agent)


def _curve_settings(config: RunConfig, say: Callable[[str], None]) -> dict[str, Any]:
    def report(step: int, episodes: Episodes) -> None:
        say(f"step {step:>9,}  mean return {episodes.mean_return:10.2f}  ({len(episodes.episode_returns)} episodes)")

    return {
        "eval_freq": config.evaluation.frequency(config.n_timesteps),
        "episodes": config.evaluation.episodes,
        "seed": derived_seed(config.seed, "curve"),
        "deterministic": tasks.evaluates_deterministically(config.task.env),
        "report": report,
    }


def _learn(config: RunConfig, agent: BaseAlgorithm, callbacks: list[BaseCallback]) -> None:
    settings: dict[str, Any] = {
        "callback": callbacks,
        "progress_bar": config.progress,
        **learn_arguments(config.algo, _env_of(agent)),
    }
    if config.log_interval != -1:
        settings["log_interval"] = config.log_interval if config.log_interval > 0 else None
    with warnings.catch_warnings():
        # tqdm calls its rich bar experimental each time that it is used.
        warnings.filterwarnings("ignore", message="rich is experimental")
        agent.learn(config.n_timesteps, **settings)


def _env_of(agent: BaseAlgorithm) -> VecEnv:
    env = agent.get_env()
    assert env is not None
    return env


def _tensorboard_folder(config: RunConfig, folder: Path) -> Path:
    name = f"{config.arm}-seed{config.seed}"
    if config.tensorboard_log:
        return Path(config.tensorboard_log) / config.task.file_name / folder.name / name
    return folder / "tb" / name


def _log_formats(config: RunConfig) -> list[str]:
    return ["tensorboard", "stdout"] if config.verbose > 1 else ["tensorboard"]


def _first_record(config: RunConfig) -> RunRecord:
    return RunRecord(
        status="running",
        role=config.role,
        task=config.task.facts(config.hyperparams, config.randomise),
        task_name=config.task_name,
        algo=config.algo,
        arm=config.arm,
        strategy=dump_strategy(config.strategy) if has_plan(config) else (),
        maps=config.maps(),
        seed=config.seed,
        n_timesteps=config.n_timesteps,
        hyperparams=config.hyperparams.flat(),
        evaluation=EvaluationFacts(
            eval_freq=config.evaluation.frequency(config.n_timesteps),
            episodes=config.evaluation.episodes,
            n_envs=config.evaluation.parallel,
            env_kwargs=config.evaluation.env_kwargs,
            deterministic=tasks.evaluates_deterministically(config.task.env),
        ),
        reward_threshold=config.threshold if config.threshold is not None else tasks.reward_threshold(config.task),
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds"),
        versions={name: version(name) for name in _PACKAGES},
    )


def _update_record(folder: Path, **facts: Any) -> RunRecord:
    record = RunRecord.model_validate(read_record(folder).model_dump() | facts)
    write_record(folder, record)
    return record


def _report_end(
    say: Callable[[str], None], folder: Path, scores: dict[str, Episodes], checks: tuple[Check, ...]
) -> None:
    final, uniform = scores["final"].mean_return, scores["random"].mean_return
    say(f"last agent: mean return {final:.2f} on fresh seeds (uniform random policy: {uniform:.2f})")
    if "best" in scores:
        say(f"best agent: mean return {scores['best'].mean_return:.2f} on the same seeds")
    for check in checks:
        say(f"check {'passed' if check.passed else 'FAILED'}: {check.name} ({check.detail})")
    say(f"written to {folder}")


def _say_nothing(_: str) -> None:
    """Says nothing."""
