"""Turns a study into the list of its runs, source runs first, each with its folder; nothing is run here."""

import dataclasses
from pathlib import Path
from typing import Any

from rltransfer.algorithms import OFF_POLICY
from rltransfer.config import SCRATCH_LONG, RunConfig, StudyConfig, StudyTask, Task
from rltransfer.errors import ConfigError
from rltransfer.hyperparams import Hyperparameters, resolve
from rltransfer.strategies import Scratch, Strategy, reads_source, uses_replay
from rltransfer.study.shared import shared_name

SOURCE_TASK = "source"
SOURCE_ARM = "pretrain"


@dataclasses.dataclass(frozen=True)
class Job:
    """What an engine starts: one run of a study, with its folder and its settings.

    ``after`` is the folder of the source run that it waits for, ``shared`` the folder in the cache where a source run
    is trained, once for all studies, before it is copied into ``folder``.
    """

    folder: Path
    config: RunConfig
    after: Path | None = None
    shared: Path | None = None

    @property
    def name(self) -> str:
        """The run's path within the study, as people read it."""
        return f"{self.config.task_name}/{self.config.arm}/seed_{self.config.seed}"


def expand_study(study: StudyConfig, folder: Path) -> list[Job]:
    """Returns every run of a study in the order of their start: source runs, then seed by seed all tasks and arms.

    Target seed i takes the agent of source seed i. Where the study asks for it, each task has an arm ``scratch_long``
    behind the others: scratch with the source's budget on top of its own.

    Raises:
        ConfigError: A budget is stated nowhere, an arm mixes in what no agent remembers, or the source runs cannot be
            shared by the study's cache.
    """
    _refuse_without_memory(study)
    sources = {seed: _source_job(study, folder, seed) for seed in study.seeds} if study.source.env else {}
    targets = [
        _target_job(study, folder, name=name, arm=arm, seed=seed, source=sources.get(seed))
        for seed in study.seeds
        for name in study.tasks
        for arm in (*study.arms, *([SCRATCH_LONG] if study.scratch_long else []))
    ]
    return [*sources.values(), *targets]


def _refuse_without_memory(study: StudyConfig) -> None:
    """Raises ConfigError if an arm with ``replay`` is of agents that keep no replay buffer, or of sources that do."""
    algos = {study.algo, study.source.algo or study.algo} if study.source.env else {study.algo}
    for algo in sorted(algos - set(OFF_POLICY)):
        for arm in (arm for arm, strategy in study.arms.items() if uses_replay(strategy)):
            raise ConfigError(
                f"arms.{arm}: 'replay' mixes in what the source remembers, and agents of {algo} keep no replay buffer. "
                f"Those of {', '.join(OFF_POLICY)} do."
            )


def _source_job(study: StudyConfig, folder: Path, seed: int) -> Job:
    source = study.source
    task = StudyTask(
        env=str(source.env), kwargs=source.kwargs, n_timesteps=source.n_timesteps, hyperparams=source.hyperparams
    )
    settings = _common(study, task, SOURCE_TASK, seed, algo=source.algo)
    config = RunConfig(
        role="source",
        task_name=SOURCE_TASK,
        arm=SOURCE_ARM,
        strategy=(Scratch(),) if source.augment is None else (Scratch(), source.augment),
        randomise=source.randomise,
        save_replay_buffer=any(map(uses_replay, study.arms.values())),
        **settings,
    )
    shared = None if study.cache is None else Path(study.cache) / shared_name(config)
    return Job(_run_folder(folder, SOURCE_TASK, SOURCE_ARM, seed), config, shared=shared)


def _target_job(study: StudyConfig, folder: Path, *, name: str, arm: str, seed: int, source: Job | None) -> Job:
    if arm == SCRATCH_LONG:
        return _long_job(study, folder, name, seed, source)
    strategy: Strategy = study.arms[arm]
    is_read = reads_source(strategy)
    path = str(source.folder) if source else study.source.path
    config = RunConfig(
        role="target",
        task_name=name,
        arm=arm,
        strategy=strategy,
        source=path if is_read else None,
        which=study.source.which,
        inputs=study.tasks[name].inputs,
        actions=study.tasks[name].actions,
        **_common(study, study.tasks[name], name, seed),
    )
    return Job(_run_folder(folder, name, arm, seed), config, after=source.folder if source and is_read else None)


def _long_job(study: StudyConfig, folder: Path, name: str, seed: int, source: Job | None) -> Job:
    """Returns scratch with the budget of source and target, evaluated as often as the other arms are."""
    scratch = _target_job(study, folder, name=name, arm="scratch", seed=seed, source=source).config
    steps = source.config.n_timesteps if study.scratch_long is True and source is not None else int(study.scratch_long)
    evaluation = scratch.evaluation.model_copy(update={"eval_freq": scratch.evaluation.frequency(scratch.n_timesteps)})
    settings = {"arm": SCRATCH_LONG, "n_timesteps": scratch.n_timesteps + steps, "evaluation": evaluation}
    return Job(_run_folder(folder, name, SCRATCH_LONG, seed), scratch.model_copy(update=settings))


def _common(study: StudyConfig, task: StudyTask, name: str, seed: int, algo: str | None = None) -> dict[str, Any]:
    is_studys = algo is None or algo == study.algo
    overrides = {**(study.hyperparams if is_studys else {}), **task.hyperparams}
    hyperparams = resolve(algo or study.algo, task.env, overrides=overrides)
    return {
        "algo": algo or study.algo,
        "task": Task(env=task.env, kwargs=task.kwargs),
        "seed": seed,
        "n_timesteps": _budget(task, hyperparams, name),
        "hyperparams": hyperparams,
        "evaluation": study.evaluation,
        "threshold": task.threshold,
        "device": study.device,
        "verbose": 0,
    }


def _budget(task: StudyTask, hyperparams: Hyperparameters, name: str) -> int:
    budget = task.n_timesteps or hyperparams.n_timesteps
    if budget is None:
        raise ConfigError(f"{name}: key 'n_timesteps' is missing, and there is no default for {task.env}.")
    return budget


def _run_folder(folder: Path, task: str, arm: str, seed: int) -> Path:
    return folder / task / arm / f"seed_{seed}"
