"""Turns a study into the list of its runs, source runs first, each with its folder; nothing is run here."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rltransfer.algorithms import off_policy_names
from rltransfer.config import SCRATCH_LONG, RunConfig, StudyConfig, StudyTask, Task
from rltransfer.errors import ConfigError
from rltransfer.hyperparams import Hyperparameters, resolve
from rltransfer.strategies import Scratch, reads_source, uses_replay
from rltransfer.study.shared import shared_name
from rltransfer.sweeps import PlannedArm

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

    Target seed i takes the agent of source seed i; in a transfer matrix, of each source's. Where the study asks for it,
    each task has an arm ``scratch_long`` behind the others: scratch with the source's budget on top of its own.

    Raises:
        ConfigError: A budget is stated nowhere, an arm mixes in what no agent remembers, or the source runs cannot be
            shared by the study's cache.
    """
    arms = study.planned_arms()
    _refuse_without_memory(study, arms)
    sources = {
        seed: {name: _source_job(study, folder, seed, name, arms) for name in _pretrained(study, arms)}
        for seed in study.seeds
    }
    targets: list[Job] = []
    for seed in study.seeds:
        for name in study.tasks:
            targets += [
                _target_job(study, folder, name=name, arm=arm, seed=seed, source=sources[seed].get(planned.source))
                for arm, planned in arms.items()
            ]
            if study.scratch_long:
                targets.append(_long_job(study, folder, name, seed, list(sources[seed].values())))
    return [*(job for of_seed in sources.values() for job in of_seed.values()), *targets]


def _pretrained(study: StudyConfig, arms: Mapping[str, PlannedArm]) -> tuple[str | None, ...]:
    """Returns the tasks of a matrix that agents are pretrained in, or None for the task of the study's source."""
    if study.source.tasks is None:
        return (None,) if study.source.env else ()
    needed = {arm.source for arm in arms.values()}
    return tuple(name for name in study.source_tasks if name in needed)


def _refuse_without_memory(study: StudyConfig, arms: Mapping[str, PlannedArm]) -> None:
    """Raises ConfigError if an arm with ``replay`` is of agents that keep no replay buffer, or of sources that do."""
    algos = {study.algo} if study.source.path else {study.algo, study.source.algo or study.algo}
    off_policy = off_policy_names()
    for algo in sorted(algos - set(off_policy)):
        for arm in (arm for arm, planned in arms.items() if uses_replay(planned.strategy)):
            raise ConfigError(
                f"arms.{arm}: 'replay' mixes in what the source remembers, and agents of {algo} keep no replay buffer. "
                f"Those of {', '.join(off_policy)} do."
            )


def _source_job(study: StudyConfig, folder: Path, seed: int, name: str | None, arms: Mapping[str, PlannedArm]) -> Job:
    """Returns the run that pretrains one agent, in the study's source task or in the task of a matrix."""
    source = study.source
    arm = name or SOURCE_ARM
    strategies = [planned.strategy for planned in arms.values()]
    settings = _common(study, _source_task(study, name), SOURCE_TASK, seed, algo=source.algo)
    config = RunConfig(
        role="source",
        task_name=SOURCE_TASK,
        arm=arm,
        strategy=(Scratch(),) if source.augment is None else (Scratch(), source.augment),
        randomise=source.randomise,
        save_replay_buffer=any(map(uses_replay, strategies)),
        save_at=_save_at(arms, settings["n_timesteps"]),
        **settings,
    )
    shared = None if study.cache is None else Path(study.cache) / shared_name(config)
    return Job(_run_folder(folder, SOURCE_TASK, arm, seed), config, shared=shared)


def _source_task(study: StudyConfig, name: str | None) -> StudyTask:
    source = study.source
    task = StudyTask(env=str(source.env), kwargs=source.kwargs) if name is None else study.tasks[name]
    return StudyTask(
        env=task.env,
        kwargs=task.kwargs,
        n_timesteps=source.n_timesteps or task.n_timesteps,
        hyperparams={**task.hyperparams, **source.hyperparams},
    )


def _save_at(arms: Mapping[str, PlannedArm], n_timesteps: int) -> tuple[int, ...]:
    """Returns the steps after which a source's agent is kept for arms of a sweep.

    Raises:
        ConfigError: The source is not trained for as long.
    """
    steps = sorted({int(arm.which) for arm in arms.values() if arm.is_swept and arm.which.isdecimal()})
    if steps and steps[-1] > n_timesteps:
        raise ConfigError(
            f"sweeps.source_steps: an arm starts from the source's agent after {steps[-1]:,} steps, and the source is "
            f"trained for {n_timesteps:,}. Give 'source.n_timesteps' at least as many, or leave it out of 'at'."
        )
    return tuple(steps)


def _target_job(study: StudyConfig, folder: Path, *, name: str, arm: str, seed: int, source: Job | None) -> Job:
    planned = study.planned_arms()[arm]
    is_read = reads_source(planned.strategy)
    path = str(source.folder) if source else study.source.path
    config = RunConfig(
        role="target",
        task_name=name,
        arm=arm,
        strategy=planned.strategy,
        source=path if is_read else None,
        which=planned.which,
        **(study.source.stated if is_read else {}),
        inputs=study.tasks[name].inputs,
        actions=study.tasks[name].actions,
        arms_differ_in=study.tasks[name].arms_differ_in,
        features=study.features,
        **_common(study, study.tasks[name], name, seed, arm_hyperparams=study.own_hyperparams(name, arm)),
    )
    return Job(_run_folder(folder, name, arm, seed), config, after=source.folder if source and is_read else None)


def _long_job(study: StudyConfig, folder: Path, name: str, seed: int, sources: Sequence[Job]) -> Job:
    """Returns scratch with the budget of source and target, evaluated as often as the other arms are.

    Of several sources in a matrix, the longest counts.
    """
    scratch = _target_job(study, folder, name=name, arm="scratch", seed=seed, source=None).config
    longest = max((job.config.n_timesteps for job in sources), default=0)
    steps = longest if study.scratch_long is True else int(study.scratch_long)
    evaluation = scratch.evaluation.model_copy(update={"eval_freq": scratch.evaluation.frequency(scratch.n_timesteps)})
    settings = {"arm": SCRATCH_LONG, "n_timesteps": scratch.n_timesteps + steps, "evaluation": evaluation}
    return Job(_run_folder(folder, name, SCRATCH_LONG, seed), scratch.model_copy(update=settings))


def _common(
    study: StudyConfig,
    task: StudyTask,
    name: str,
    seed: int,
    *,
    algo: str | None = None,
    arm_hyperparams: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    is_studys = algo is None or algo == study.algo
    overrides = {**(study.hyperparams if is_studys else {}), **task.hyperparams, **(arm_hyperparams or {})}
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
