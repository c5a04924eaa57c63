"""Gives every arm of a study equally many trials of hyperparameters, on seeds that the study has not."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rltransfer import files, metrics, yaml_file
from rltransfer.config import TUNE, StudyConfig, StudyTask, controlled_arm, read_study
from rltransfer.errors import ConfigError, RunError
from rltransfer.metrics import Undefined
from rltransfer.records import read_run
from rltransfer.study.confirm import fresh_seeds
from rltransfer.study.expand import expand_study
from rltransfer.study.run import RETRIES, default_folder, set_up_study, work_on_study
from rltransfer.study.sampling import Sampler
from rltransfer.study.status import RunState, run_state
from rltransfer.study.trials import Trial, TrialLog, read_log, write_log
from rltransfer.tuning import Tuning, trial_arm

TUNED = "tuned.yaml"
BATCH = 4
"""How many trials of each arm are chosen at once, and run side by side, whatever the number of cores."""
_BEHIND_CONFIRMATION = 500
"""Tuning seeds come so far behind the first that a confirmation uses."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What a tuning found: ``best`` and ``untuned`` (the study's own hyperparameters) by task and arm."""

    file: Path
    log: TrialLog
    best: Mapping[tuple[str, str], Trial]
    untuned: Mapping[tuple[str, str], Trial]


def tune_study(
    study: StudyConfig | Path | str,
    folder: Path | str | None = None,
    *,
    jobs: int | None = None,
    time_limit_seconds: float | None = None,
    retries: int = RETRIES,
    cache: Path | str | None = None,
    say: Callable[[str], None] | None = None,
) -> Tuned:
    """Tries hyperparameters for every arm of a study, and writes ``<folder>/tuned.yaml``: the study with the best.

    Each arm of each task, ``scratch`` too, gets as many trials on as many seeds with the study's budgets; a shuffled
    control has the hyperparameters of its arm. All lie in ``<folder>/tune``, a study of its own whose sources are
    pretrained anew, so that a call after an interruption goes on. A trial that fails counts as one.

    Args:
        study: A study with a section ``tune``, or the YAML file that describes it.
        folder: That of the study; ``studies/<name of the file>`` by default.
        jobs: As in ``run_study``, like all others below.
        time_limit_seconds: A run that takes longer has failed.
        retries: How often a run is tried again whose process crashed.
        cache: A folder by which studies share equal source runs.
        say: Receives a line whenever a run ends.

    Raises:
        ConfigError: The study is not valid, says nothing of tuning, or the folder holds a tuning of another study.
        MissingExtraError: Optuna is not installed.
        RunError: A source run failed, or every trial of an arm.
        Stopped: SIGTERM or Ctrl-C came; what was running is saved.
    """
    config = study if isinstance(study, StudyConfig) else read_study(Path(study))
    place = Path(folder) if folder is not None else default_folder(study)
    tuning = config.tune
    if tuning is None:
        raise ConfigError(
            f"{'the study' if isinstance(study, StudyConfig) else study}: key 'tune' is missing: it says how many "
            "trials each arm gets, and what they are drawn from, such as tune: {trials: 20, space: {learning_rate: "
            "{low: 1e-5, high: 1e-2, log: true}}}."
        )
    sampler = Sampler(tuning.space)
    log = read_log(place / TUNE, _settings(config, tuning), tuning_seeds(config))
    _refuse_fewer(log, tuning, place)
    while True:
        log = _with_next(log, config, tuning, sampler)
        if not any(trial.is_open for trial in log.trials):
            break
        trials = _study_of(log, config)
        set_up_study(trials, place / TUNE, cache=cache)
        write_log(log, place / TUNE)
        work_on_study(place / TUNE, jobs=jobs, time_limit_seconds=time_limit_seconds, retries=retries, say=say)
        log = _told(log, trials, place / TUNE)
        write_log(log, place / TUNE)
    best = {key: log.best(*key) for key in _tuned(config)}
    untuned = {key: log.of(*key)[0] for key in _tuned(config)}
    _write_result(config, tuning, log, best, place / TUNED)
    return Tuned(place / TUNED, log, best, untuned)


def tuning_seeds(study: StudyConfig) -> tuple[int, ...]:
    """Returns the seeds of a study's trials: neither its own nor those that a confirmation of it uses."""
    count = study.tune.seeds if study.tune is not None else 0
    return fresh_seeds(study.seeds, _BEHIND_CONFIRMATION + count)[_BEHIND_CONFIRMATION:]


def _tuned(study: StudyConfig) -> tuple[tuple[str, str], ...]:
    """Returns each task with each arm that gets trials: all but the shuffled controls of these."""
    planned = study.planned_arms()
    return tuple((task, arm) for task in study.tasks for arm in planned if controlled_arm(arm, planned) is None)


def _settings(study: StudyConfig, tuning: Tuning) -> dict[str, Any]:
    """Returns what must stay as it is while a study is tuned; more trials, and more seeds of the study, may come."""
    settings = study.model_dump(mode="json", exclude={"cache", "scratch_long", "confirms", "tune"})
    return {**settings, "seeds": list(tuning_seeds(study)), "tune": tuning.model_dump(mode="json", exclude={"trials"})}


def _refuse_fewer(log: TrialLog, tuning: Tuning, place: Path) -> None:
    most = max((trial.number + 1 for trial in log.trials), default=0)
    if most > tuning.trials:
        raise ConfigError(
            f"{place / TUNE} holds {most} trials of each arm, and the study says 'tune.trials': {tuning.trials}. Write "
            f"{most} or more, or use another folder (-f)."
        )


def _with_next(log: TrialLog, study: StudyConfig, tuning: Tuning, sampler: Sampler) -> TrialLog:
    """Returns the record with as many new trials of each arm, unless some have still to end or all are made."""
    start = len(log.of(*_tuned(study)[0]))
    if start >= tuning.trials or any(trial.is_open for trial in log.trials):
        return log
    numbers = range(start, min(start + BATCH, tuning.trials))
    new: list[Trial] = []
    for task, arm in _tuned(study):
        told = [trial for trial in log.of(task, arm) if trial.number > 0]
        # Not of the arm: until their scores tell them apart, all arms are tried with the same.
        words = f"{log.seeds} {task} {start}"
        asked = sampler.ask(told, len([number for number in numbers if number > 0]), seed_of=words)
        points = [{}, *asked] if start == 0 else asked
        new += [
            Trial(task=task, arm=arm, number=number, hyperparams=point)
            for number, point in zip(numbers, points, strict=True)
        ]
    return log.model_copy(update={"trials": (*log.trials, *new)})


def _study_of(log: TrialLog, study: StudyConfig) -> StudyConfig:
    """Returns the study of all trials, but those that failed, which nobody shall try again: an arm for each."""
    failed = {(trial.arm, trial.number) for trial in log.trials if trial.failure is not None}
    kept = [trial for trial in log.trials if (trial.arm, trial.number) not in failed - {("scratch", 0)}]
    arms = {trial_arm(trial.arm, trial.number): study.arms[trial.arm] for trial in kept}
    return study.model_copy(
        update={
            "seeds": log.seeds,
            "arms": arms,
            "tasks": {name: _task_of(name, task, kept) for name, task in study.tasks.items()},
            "tune": None,
            "scratch_long": False,
        }
    )


def _task_of(name: str, task: StudyTask, trials: Sequence[Trial]) -> StudyTask:
    by_arm = {
        trial_arm(trial.arm, trial.number): {**task.arm_hyperparams.get(trial.arm, {}), **trial.hyperparams}
        for trial in trials
        if trial.task == name
    }
    return task.model_copy(update={"arm_hyperparams": by_arm})


def _told(log: TrialLog, trials: StudyConfig, place: Path) -> TrialLog:
    """Returns the record with the scores of the trials whose runs have ended now."""
    states = [run_state(job) for job in expand_study(trials, place)]
    for state in states:
        if state.state != "done" and (state.state != "failed" or state.job.config.role == "source"):
            raise RunError(
                f"{state.job.folder} is not done ({state.detail or state.state}), and trials wait for it: none of them "
                "counts yet. The same command tries again."
            )
    runs: dict[tuple[str, str], list[RunState]] = {}
    for state in states:
        runs.setdefault((state.job.config.task_name, state.job.config.arm), []).append(state)
    return log.model_copy(
        update={
            "trials": tuple(
                _scored(trial, runs[trial.task, trial_arm(trial.arm, trial.number)], trials.metric)
                if trial.is_open
                else trial
                for trial in log.trials
            )
        }
    )


def _scored(trial: Trial, runs: Sequence[RunState], metric: str) -> Trial:
    scores: list[float] = []
    for state in runs:
        if state.state == "failed":
            return trial.model_copy(update={"failure": f"seed {state.job.config.seed}: {state.detail}"})
        score = _score(state, metric)
        if isinstance(score, Undefined):
            return trial.model_copy(update={"failure": f"seed {state.job.config.seed}: {score.reason}"})
        scores.append(float(score))
    return trial.model_copy(update={"scores": tuple(scores)})


def _score(state: RunState, metric: str) -> float | Undefined:
    run = read_run(state.job.folder)
    if metric == "final":
        return metrics.asymptotic_performance(run.record.final)
    if run.curve is None:
        return Undefined("it has no evaluation curve")
    area = metrics.auc if metric == "auc" else metrics.success_auc
    return area(run.curve, state.job.config.n_timesteps)


def _write_result(
    study: StudyConfig, tuning: Tuning, log: TrialLog, best: Mapping[tuple[str, str], Trial], path: Path
) -> None:
    tasks = {
        name: task.model_copy(update={"arm_hyperparams": dict(_hyperparams_of(name, task, best))})
        for name, task in study.tasks.items()
    }
    tuned = study.model_copy(update={"tasks": tasks, "tune": None})
    content = yaml_file.dump(tuned.model_dump(mode="json", exclude_defaults=True))
    head = (
        f"# Hyperparameters from `rltransfer study tune`: {tuning.trials} trials of each arm and task, on seeds "
        f"{', '.join(map(str, log.seeds))}.\n"
    )
    files.write_text(path, head + content)


def _hyperparams_of(
    name: str, task: StudyTask, best: Mapping[tuple[str, str], Trial]
) -> Iterator[tuple[str, dict[str, Any]]]:
    for (task_name, arm), trial in best.items():
        hyperparams = {**task.arm_hyperparams.get(arm, {}), **trial.hyperparams}
        if task_name == name and hyperparams:
            yield arm, hyperparams
