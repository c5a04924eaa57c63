"""What each verb does: arguments in, library calls, lines out. Imports that cost torch wait until they are needed."""

import argparse
import dataclasses
import json
import secrets
import shlex
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rltransfer.algorithms import spec_of
from rltransfer.cli.stopping import stop_request
from rltransfer.config import (
    STATED,
    Evaluation,
    RunConfig,
    Task,
    parse_randomise,
    read_thresholds,
    refuse_without_one_source,
)
from rltransfer.errors import (
    ConfigError,
    IncompatibleError,
    MissingExtraError,
    SourceError,
    Stopped,
    UnknownNameError,
)
from rltransfer.hyperparams import resolve
from rltransfer.mapping import Actions, Inputs, parse_mapping
from rltransfer.records import CLAIM, OWN_FOLDER, RECORD, read_record
from rltransfer.setting_kinds import read_activation
from rltransfer.strategies import (
    KINDS,
    Full,
    Scratch,
    Strategy,
    modifiers,
    needs_source,
    parse_strategy,
    strategy_label,
)


def pretrain(arguments: argparse.Namespace) -> int:
    """Trains an agent in a source task, or goes on with it."""
    if arguments.resume is not None:
        return _resume("pretrain", arguments)
    strategy: Strategy = (Full(),) if arguments.trained_agent else (Scratch(),)
    if arguments.augment:
        augment = parse_strategy({**arguments.augment, "kind": "augment"}, where="--augment")
        strategy = (*strategy, *modifiers(augment))
    config = _run_config(
        arguments, role="source", arm="pretrain", strategy=strategy, source=arguments.trained_agent, which="best"
    )
    from rltransfer import tasks

    randomise = parse_randomise(arguments.randomise, where="--randomise")
    tasks.check_randomise(config.task, randomise or {})
    return _train(arguments, config.model_copy(update={"randomise": randomise}))


def transfer(arguments: argparse.Namespace) -> int:
    """Trains an agent in a target task, starting from a source, or goes on with it."""
    if arguments.resume is not None:
        return _resume("transfer", arguments)
    strategy = _strategy(arguments)
    config = _run_config(
        arguments,
        role="target",
        arm=strategy_label(strategy),
        strategy=strategy,
        source=arguments.source,
        which=arguments.which,
    )
    return _train(arguments, config.model_copy(update=_maps(arguments)))


def plan(arguments: argparse.Namespace) -> None:
    """Shows what a transfer would do, without training."""
    strategy = _strategy(arguments)
    _refuse_unclear_source(arguments, arguments.source)
    if arguments.seed < 0:
        raise ConfigError(f"--seed: expected at least 0, found {arguments.seed}.")
    config = RunConfig(
        role="target",
        arm=strategy_label(strategy),
        strategy=strategy,
        source=arguments.source,
        which=arguments.which,
        **_stated(arguments),
        **_maps(arguments),
        n_timesteps=1,
        seed=arguments.seed,
        device=arguments.device,
        **_task_settings(arguments),
    )
    from rltransfer.training import diagnose
    from rltransfer.training.prepare import prepare

    with prepare(config, monitor_folder=None) as prepared:
        if prepared.plan is None:
            return
        findings = diagnose(prepared.plan, prepared.agent, prepared.eval_env, seed=arguments.seed)
        shown = dataclasses.replace(prepared.plan, findings=(*prepared.plan.findings, *findings))
        print(json.dumps(shown.to_json(), indent=2) if arguments.json else shown)


def extract(arguments: argparse.Namespace) -> None:
    """Saves the encoder of an agent, or the average of several, as an artifact."""
    from rltransfer.artifact import average_encoders, load_encoder
    from rltransfer.cli.describe import describe_encoder

    _refuse_unclear_source(arguments, arguments.sources)
    stated = _stated(arguments)
    encoders = [load_encoder(source, arguments.which, **stated) for source in arguments.sources]
    encoder = encoders[0] if len(encoders) == 1 else average_encoders(encoders)
    folder = encoder.save(arguments.output)
    print(describe_encoder(encoder))
    print(f"\nsaved to {folder}")


def inspect(arguments: argparse.Namespace) -> None:
    """Shows what a source holds."""
    from rltransfer.artifact import load_encoder
    from rltransfer.cli.describe import describe_encoder, encoder_facts

    encoder = load_encoder(arguments.source, arguments.which, **_stated(arguments))
    print(json.dumps(encoder_facts(encoder), indent=2) if arguments.json else describe_encoder(encoder))


def _stated(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns what the user states of a source that its files do not tell."""
    # Verbs of agents alone have no flags of networks.
    return {name: getattr(arguments, name, None) for name in STATED}


def evaluate(arguments: argparse.Namespace) -> None:
    """Compares the arms found in a folder."""
    arms: dict[str, str] = {}
    for text in arguments.arms:
        name, _, glob = text.partition("=")
        if not name or not glob:
            raise ConfigError(f"--arm: expected NAME=GLOB, such as scratch='ppo/CartPole-v1_*', found {text!r}.")
        if name in arms:
            raise ConfigError(
                f"--arm: {name!r} is given twice. Give one pattern, such as a folder that holds all runs."
            )
        arms[name] = glob
    output = arguments.output or arguments.folder
    report_on(
        arguments.folder,
        output,
        arguments.metric,
        threshold=arguments.threshold,
        sd=arguments.sd,
        effect=arguments.effect,
        arms=arms,
    )


def report_on(
    root: Path,
    output: Path,
    metric: str,
    *,
    threshold: Sequence[str] | None = None,
    sd: float | None = None,
    effect: float | None = None,
    arms: Mapping[str, str] | None = None,
) -> None:
    """Compares the arms found below ``root``, writes the report into ``output``, and prints its tables."""
    from rltransfer.comparison import compare
    from rltransfer.report import write_report
    from rltransfer.report.terminal import print_comparison

    comparison = compare(root, metric=metric, threshold=threshold, sd=sd, effect=effect, arms=arms)
    write_report(comparison, output)
    print_comparison(comparison)
    say_where(output)


def say_where(folder: Path) -> None:
    """Prints where a report lies, and how to see the curves."""
    print(f"report: {folder / 'report' / 'report.html'}")
    print(f"curves: tensorboard --logdir {shlex.quote(str(folder))}")


def _train(arguments: argparse.Namespace, config: RunConfig) -> int:
    from rltransfer import run_folder

    name = config.task.file_name
    with run_folder.new_run_folder(arguments.log_folder, config.algo, name, unique=arguments.uuid) as folder:
        try:
            config = run_folder.claim_tensorboard(config, folder)
            return _run(config, folder)
        except (ConfigError, IncompatibleError, MissingExtraError, SourceError, UnknownNameError):
            # Nothing was trained: leave no trace of the try.
            run_folder.remove(config, folder)
            raise


def _resume(verb: str, arguments: argparse.Namespace) -> int:
    folder: Path = arguments.resume if arguments.resume.name else arguments.resume.resolve()
    _refuse_other_flags(verb, arguments)
    from rltransfer import tasks
    from rltransfer.run_folder import read_settings
    from rltransfer.run_lock import claimed

    config = read_settings(folder)
    # One that was killed before its record was there starts again.
    record = read_record(folder) if (folder / OWN_FOLDER / RECORD).exists() else None
    if record is not None and record.status == "done" and not (folder / OWN_FOLDER / CLAIM).exists():
        score = f", last agent's mean return {record.final.mean_return:.2f}" if record.final else ""
        print(f"{folder} is finished: {record.env_steps:,} env_steps{score}")
        return 0
    tasks.import_packages(config.gym_packages)
    with claimed(folder):
        # Of one that is done, what it left when it was killed at its end is tidied up.
        return _run(config, folder)


def _refuse_other_flags(verb: str, arguments: argparse.Namespace) -> None:
    only = argparse.ArgumentParser(add_help=False)
    only.add_argument("verb")
    only.add_argument("--resume")
    _, others = only.parse_known_args(arguments.argv)
    if others:
        flags = [word for word in others if word.startswith("-")]
        raise ConfigError(
            f"--resume: a run goes on with the settings that it began with; leave out {', '.join(flags or others)}: "
            f"rltransfer {verb} --resume {shlex.quote(str(arguments.resume))}"
        )


def _run(config: RunConfig, folder: Path) -> int:
    """Trains, or goes on; on Ctrl-C or SIGTERM stops where it can go on, and says how."""
    from rltransfer.training import train_run

    with stop_request() as stop:
        try:
            train_run(config, folder, stop=stop)
        except Stopped as stopped:
            verb = "pretrain" if config.role == "source" else "transfer"
            print(f"{stopped}; go on with: rltransfer {verb} --resume {shlex.quote(str(folder))}", file=sys.stderr)
            return stop.exit_status
    return 0


def _run_config(
    arguments: argparse.Namespace, *, role: Any, arm: str, strategy: Strategy, source: Any, which: str
) -> RunConfig:
    _refuse_unclear_source(arguments, source)
    task_settings = _task_settings(arguments)
    n_timesteps = task_settings["hyperparams"].n_timesteps if arguments.n_timesteps == -1 else arguments.n_timesteps
    if n_timesteps is None:
        raise ConfigError(f"-n: give a budget, there is no default one for {arguments.env}.")
    for flag, value in (
        ("-n", n_timesteps),
        ("--eval-episodes", arguments.eval_episodes),
        ("--n-eval-envs", arguments.n_eval_envs),
        ("--eval-max-episode-steps", arguments.eval_max_episode_steps),
        ("--eval-freq", None if arguments.eval_freq is None else abs(arguments.eval_freq)),
        ("--checkpoint-freq", arguments.checkpoint_freq),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{flag}: expected at least 1, found {value}.")
    return RunConfig(
        role=role,
        arm=arm,
        strategy=strategy,
        source=source,
        which=which,
        **_stated(arguments),
        seed=arguments.seed if arguments.seed >= 0 else secrets.randbelow(2**31),
        n_timesteps=n_timesteps,
        evaluation=Evaluation(
            **({} if arguments.eval_freq is None else {"eval_freq": arguments.eval_freq}),
            episodes=arguments.eval_episodes,
            n_envs=arguments.n_eval_envs,
            env_kwargs=arguments.eval_env_kwargs,
            max_episode_steps=arguments.eval_max_episode_steps,
        ),
        threshold=read_thresholds(arguments.threshold) or None,
        save_freq=arguments.save_freq,
        save_replay_buffer=arguments.save_replay_buffer,
        checkpoint_freq=arguments.checkpoint_freq,
        step_timeout_seconds=arguments.step_timeout or None,
        gym_packages=tuple(arguments.gym_packages),
        device=arguments.device,
        num_threads=arguments.num_threads,
        vec_env=arguments.vec_env,
        log_interval=arguments.log_interval,
        tensorboard_log=arguments.tensorboard_log,
        verbose=arguments.verbose,
        progress=arguments.progress and sys.stderr.isatty(),
        command=shlex.join(sys.argv),
        **task_settings,
    )


def _task_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Returns the settings of algorithm, task and hyperparameters, after making sure that the task can be made."""
    spec_of(arguments.algo)
    if not arguments.env:
        raise ConfigError("--env: give the id of an environment.")
    task = Task(env=arguments.env, kwargs=arguments.env_kwargs or {})
    hyperparams = resolve(
        arguments.algo, arguments.env, conf_file=arguments.conf_file, overrides=arguments.hyperparams or {}
    )
    from rltransfer import tasks

    tasks.import_packages(arguments.gym_packages)
    tasks.check_task(task)
    if getattr(arguments, "eval_env_kwargs", None) is not None:
        tasks.check_task(Task(env=arguments.env, kwargs=arguments.eval_env_kwargs))
    return {"algo": arguments.algo, "task": task, "task_name": task.file_name, "hyperparams": hyperparams}


def _refuse_unclear_source(arguments: argparse.Namespace, sources: str | Sequence[str] | None) -> None:
    """Raises a mistake of the flags that state what a source does not tell, before anything is read."""
    paths = (sources,) if isinstance(sources, str) else sources or ()
    refuse_without_one_source(_stated(arguments), paths)
    if arguments.activation is not None:
        read_activation(arguments.activation)


def _maps(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "inputs": parse_mapping(Inputs, arguments.inputs, "--inputs"),
        "actions": parse_mapping(Actions, arguments.actions, "--actions"),
        "features": arguments.features,
    }


def _strategy(arguments: argparse.Namespace) -> Strategy:
    strategy = parse_strategy(_parts(arguments.strategy, arguments.strategy_kwargs or {}))
    if needs_source(strategy) and arguments.source is None:
        raise ConfigError(f"Strategy {strategy_label(strategy)!r} needs a source: --from RUN_FOLDER, ARTIFACT or ZIP.")
    return strategy


def _parts(kinds: list[str], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Returns the parts with the settings that are theirs: by name, or by ``kind.name`` where more than one has it."""
    parts: list[dict[str, Any]] = [{"kind": kind} for kind in kinds]
    for key, value in settings.items():
        kind, dot, name = key.rpartition(".")
        owners = [
            part
            for part in parts
            if (part["kind"] == kind if dot else len(parts) == 1 or key in _settings_of(part["kind"]))
        ]
        if len(owners) != 1:
            named = " and ".join(part["kind"] for part in owners or parts)
            has = "is a setting of more than one part" if owners else "is a setting of none of the parts"
            raise ConfigError(f"--strategy-kwargs: {key!r} {has}: {named}. Write it as KIND.SETTING:VALUE.")
        owners[0][name] = value
    return parts


def _settings_of(kind: str) -> Collection[str]:
    return KINDS[kind].model_fields if kind in KINDS else ()
