"""Sorts runs into tasks and arms that can be compared, and says what was left out."""

import dataclasses
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rltransfer.comparison.names import natural
from rltransfer.comparison.studies import begun_studies, is_within_study, missing_runs, studies_of
from rltransfer.comparison.tables import UNREADABLE, SkippedRun
from rltransfer.config import StudyConfig
from rltransfer.errors import RunError
from rltransfer.records import Run, RunRecord, find_runs, read_record
from rltransfer.rl_zoo import UnreadRun, find_zoo_runs, zoo_folders

TOTAL_TOLERANCE = 0.05
CONTROL_KINDS = frozenset({"shuffled", "random_frozen", "rescaled", "normaliser_only"})


@dataclasses.dataclass(frozen=True)
class FolderContents:
    """Everything below the roots.

    Attributes:
        finished: The finished target runs.
        skipped: The target runs that are not finished, and the runs that cannot be read.
        missing: The target runs that a study names and that have left nothing yet.
        source_runs: How many runs are no target runs.
        studies: The study that each run belongs to which a study made, by the study's folder.
        problems: What could not be read of the studies, as sentences.
    """

    finished: tuple[Run, ...]
    skipped: tuple[SkippedRun, ...]
    missing: tuple[SkippedRun, ...]
    source_runs: int
    studies: dict[Path, StudyConfig]
    problems: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class ArmRuns:
    """The runs of one arm: one per seed, in the order of their seeds."""

    name: str
    label: str
    strategy: tuple[dict[str, Any], ...]
    source_key: str
    runs: tuple[Run, ...]

    @property
    def is_control(self) -> bool:
        """Whether the arm is a control by its strategy."""
        return any(part.get("kind") in CONTROL_KINDS for part in self.strategy)

    @property
    def is_scratch(self) -> bool:
        """Whether nothing is moved: plain training, of the architecture that the hyperparameters have."""
        return [(part.get("kind"), part.get("arch")) for part in self.strategy] == [("scratch", None)]

    @property
    def transfers_policy(self) -> bool:
        """Whether heads move too, so that a shuffled control tests the policy and not the features alone."""
        return any(part.get("kind") == "full" for part in self.strategy)


@dataclasses.dataclass(frozen=True)
class TaskGroup:
    """Runs of one task under one setting, sorted into arms.

    ``scratch_long`` is scratch with a larger budget and otherwise the same setting, for total accounting.
    """

    title: str
    task_name: str
    settings: RunRecord
    arms: tuple[ArmRuns, ...]
    notes: tuple[str, ...]
    scratch_long: ArmRuns | None = None


def find(roots: Sequence[Path], arms: Mapping[str, str] | None = None) -> FolderContents:
    """Returns what lies below the folders; a run that is reached twice counts once.

    Args:
        roots: The folders.
        arms: A glob for each arm that runs of RL Zoo belong to; without any, these are not read.

    Raises:
        RunError: A folder does not exist, or holds no finished target run; an arm's glob finds nothing.
    """
    runs: dict[Path, Run] = {}
    unread: list[SkippedRun] = []
    for root in roots:
        if not root.is_dir():
            raise RunError(f"There is no folder {root}. Give the folder that holds the runs, for example `logs`.")
        found_here = find_runs(root, lambda folder, error: unread.append(_unreadable(folder, error)))
        runs |= {run.folder.resolve(): run for run in found_here if not is_within_study(run.folder, root)}
        for run in find_zoo_runs(root, arms or {}):
            if isinstance(run, UnreadRun):
                unread.append(SkippedRun(run.folder, run.arm, None, run.reason))
            else:
                runs[run.folder.resolve()] = run
    studies, problems = begun_studies(roots, [*runs, *(run.folder for run in unread)])
    targets = [run for run in runs.values() if run.record.role == "target"]
    finished = [run for run in targets if _is_finished(run)]
    damaged = {run.folder.resolve() for run in unread}
    contents = FolderContents(
        finished=tuple(finished),
        skipped=(*(_skipped(run) for run in targets if not _is_finished(run)), *unread),
        missing=tuple(
            missing_run
            for root, study in studies.items()
            for missing_run in missing_runs(root, study, targets)
            if missing_run.folder.resolve() not in damaged
        ),
        source_runs=len(runs) - len(targets),
        studies=studies_of(finished, studies),
        problems=problems,
    )
    if not finished:
        raise RunError(_nothing_to_compare(roots, contents))
    return contents


def group(runs: Iterable[Run]) -> tuple[TaskGroup, ...]:
    """Returns the comparable groups, ordered by title; groups of one task say in a note which setting differs."""
    by_setting: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_setting[_json(_setting(run.record))].append(run)
    groups = _named_apart(_with_long_scratch([_task_group(members) for _, members in sorted(by_setting.items())]))
    return tuple(
        sorted((_with_differences(task, groups) for task in groups), key=lambda task: (natural(task.title), task.title))
    )


def _with_long_scratch(groups: list[TaskGroup]) -> list[TaskGroup]:
    """Gives groups that transfer the scratch runs of the same setting with a larger budget, which form no group then.

    Of several such budgets each group takes the smallest that covers all its arms' source and target steps, or else
    the largest.
    """
    taken: list[TaskGroup] = []
    result = []
    for task in groups:
        longer = [other for other in groups if _is_long_scratch(other, task)]
        if not longer:
            result.append(task)
            continue
        needed = max(_total_steps(run.record) for arm in task.arms for run in arm.runs)
        enough = [other for other in longer if covers_total(other.settings.n_timesteps, needed)]
        by_budget = sorted(enough or longer, key=lambda other: other.settings.n_timesteps)
        chosen = by_budget[0] if enough else by_budget[-1]
        taken.append(chosen)
        result.append(dataclasses.replace(task, scratch_long=chosen.arms[0]))
    return [task for task in result if not any(task.settings is other.settings for other in taken)]


def covers_total(budget_steps: int, total_steps: float) -> bool:
    """Returns whether a long scratch was trained for a total of steps; a source's last rollout may have overshot."""
    return budget_steps >= (1 - TOTAL_TOLERANCE) * total_steps


def _is_long_scratch(other: TaskGroup, task: TaskGroup) -> bool:
    """Returns whether a group is the other's scratch with a larger budget (and its own evaluation times)."""
    return (
        all(arm.is_scratch for arm in other.arms)
        and not all(arm.is_scratch for arm in task.arms)
        and other.settings.n_timesteps > task.settings.n_timesteps
        and _without_budget(other.settings) == _without_budget(task.settings)
    )


def _without_budget(record: RunRecord) -> dict[str, Any]:
    setting = _setting(record)
    hyperparams = {key: value for key, value in setting["hyperparams"].items() if key != "n_timesteps"}
    evaluation = {key: value for key, value in setting["evaluation"].items() if key != "eval_freq"}
    return {**setting, "n_timesteps": None, "hyperparams": hyperparams, "evaluation": evaluation}


def _total_steps(record: RunRecord) -> int:
    return record.n_timesteps + ((record.source.env_steps or 0) if record.source is not None else 0)


def _named_apart(groups: list[TaskGroup]) -> list[TaskGroup]:
    """Adds the tasks' names to titles that stand for more than one of them."""
    names: dict[str, set[str]] = defaultdict(set)
    for task in groups:
        names[task.title].add(task.task_name)
    return [
        dataclasses.replace(task, title=f"{task.title}: {task.task_name}") if len(names[task.title]) > 1 else task
        for task in groups
    ]


def control_of(control: ArmRuns, arms: Iterable[ArmRuns]) -> ArmRuns | None:
    """Returns the arm that a shuffled control belongs to: the same strategy, unshuffled, from the same source.

    Of several such arms it is the one that it is named after, or else the first.
    """
    matches = [arm for arm in arms if shuffles(control.strategy, arm) and arm.source_key == control.source_key]
    named = [arm for arm in matches if control.label in (f"{arm.label}_shuffled", f"shuffled_{arm.label}")]
    return next(iter([*named, *matches]), None)


def shuffles(strategy: Sequence[dict[str, Any]], arm: ArmRuns) -> bool:
    """Returns whether a strategy is that of an arm with its layers shuffled."""
    is_shuffled = len(strategy) == 1 and strategy[0].get("kind") == "shuffled"
    return is_shuffled and _json(strategy[0].get("of")) == _json(arm.strategy)


def _is_finished(run: Run) -> bool:
    return run.record.status == "done" and run.curve is not None and len(run.curve.env_steps) > 0


def _skipped(run: Run) -> SkippedRun:
    record = run.record
    reason = {
        "running": "still running, or killed",
        "stopped": "stopped, and to be resumed",
        "done": "finished, but its evaluations.npz is missing or empty",
    }
    failed = f"failed: {record.error}" if record.error else "failed"
    return SkippedRun(
        run.folder, record.arm, record.seed, reason.get(record.status, failed), record.task_name, record.strategy
    )


def _unreadable(folder: Path, error: RunError) -> SkippedRun:
    """Returns a run that is damaged; where its record is, its place says which arm and task it may belong to."""
    try:
        record = read_record(folder)
    except RunError:
        return SkippedRun(folder, folder.parent.name, None, f"{UNREADABLE}: {error}", folder.parent.parent.name)
    return SkippedRun(folder, record.arm, record.seed, f"{UNREADABLE}: {error}", record.task_name, record.strategy)


def _nothing_to_compare(roots: Sequence[Path], runs: FolderContents) -> str:
    where = ", ".join(map(str, roots))
    unfinished = [f"{run.folder} ({run.reason})" for run in runs.skipped]
    listed = f" Not finished: {'; '.join(unfinished[:5])}{' …' if len(unfinished) > 5 else ''}." if unfinished else ""
    foreign = {folder for root in roots for folder in zoo_folders(root)}
    if runs.skipped and {run.folder for run in runs.skipped} <= foreign:
        return (
            f"None of the {len(unfinished)} runs of RL Zoo below {where} that were named can be compared.{listed} A "
            "run needs its evaluations.npz or monitor files up to the budget, and args.yml where others have theirs."
        )
    if foreign and not runs.skipped:
        return (
            f"There is no run of rltransfer below {where}, but {len(foreign)} of RL Zoo. Which arm these belong to "
            "stands nowhere: name it, for example `--arm scratch='ppo/CartPole-v1_*' --arm finetune=tuned`."
        )
    return (
        f"There is no finished target run below {where}; source runs: {runs.source_runs}, unfinished target runs: "
        f"{len(unfinished)}.{listed} Run the baseline with `rltransfer transfer --strategy scratch …` and an arm "
        "with `rltransfer transfer --from SOURCE --strategy frozen …`, or a study with `rltransfer study run FILE`."
    )


def is_comparable(record: RunRecord, other: RunRecord) -> bool:
    """Returns whether two runs are of one task under one setting."""
    return _json(_setting(record)) == _json(_setting(other))


def _setting(record: RunRecord) -> dict[str, Any]:
    """What must be the same for two runs to be compared."""
    return {
        "task": record.task.model_dump(mode="json"),
        "task_name": record.task_name,
        # A learned adapter is part of every arm's network, the baseline's too.
        "adapter": record.maps.get("inputs", {}).get("adapter"),
        "algo": record.algo,
        "n_timesteps": record.n_timesteps,
        "evaluation": record.evaluation.model_dump(mode="json"),
        "hyperparams": {key: value for key, value in record.hyperparams.items() if key not in record.arms_differ_in},
        "arms_differ_in": record.arms_differ_in,
    }


def _task_group(runs: list[Run]) -> TaskGroup:
    latest, notes = _latest_of_each(runs)
    by_arm: dict[tuple[str, str, str], list[Run]] = defaultdict(list)
    for run in latest:
        by_arm[(run.record.arm, _source_key(run.record), _how(run.record))].append(run)
    arms = [_arm(key, members, list(by_arm)) for key, members in sorted(by_arm.items())]
    record = arms[0].runs[0].record
    return TaskGroup(
        title=f"{record.algo.upper()} on {record.task.label()}",
        task_name=record.task_name,
        settings=record,
        arms=tuple(arms),
        notes=(*notes, *_own_settings(arms)),
    )


def _own_settings(arms: Sequence[ArmRuns]) -> list[str]:
    """Returns a note that says which hyperparameters each arm has, where they differ by the study's wish."""
    names = arms[0].runs[0].record.arms_differ_in
    if not names:
        return []
    shown = []
    for arm in arms:
        hyperparams = arm.runs[0].record.hyperparams
        values = ", ".join(
            f"{name} {hyperparams[name]}" if name in hyperparams else f"{name} as SB3 has it" for name in names
        )
        shown.append(f"`{arm.name}`: {values}")
    return [
        "The study gives arms hyperparameters of their own: an arm differs from the baseline by its transfer and by "
        f"these. {'; '.join(shown)}."
    ]


def _latest_of_each(runs: list[Run]) -> tuple[list[Run], list[str]]:
    """Returns one run per arm and seed, the one that started last, with a note for each that it hides."""
    ordered = sorted(runs, key=lambda run: (run.record.seed, run.record.started, str(run.folder)))
    chosen: dict[tuple[str, str, str, int], Run] = {}
    counts: dict[tuple[str, str, str, int], int] = defaultdict(int)
    for run in ordered:
        record = run.record
        key = (record.arm, _source_key(record), _how(record), record.seed)
        chosen[key] = run
        counts[key] += 1
    notes = [
        f"`{key[0]}`, seed {key[3]}: {count} runs; the one that started last is used ({chosen[key].folder.name})."
        for key, count in sorted(counts.items())
        if count > 1
    ]
    return list(chosen.values()), notes


def _arm(key: tuple[str, str, str], runs: list[Run], keys: list[tuple[str, str, str]]) -> ArmRuns:
    """Returns the arm under a name that tells it from arms of the same label with another source or strategy."""
    label, source_key, how = key
    same_label = [other for other in keys if other[0] == label]
    details = []
    if len({other[1] for other in same_label}) > 1:
        details.append(f"from {source_key or 'no source'}")
    if len({other[2] for other in same_label}) > 1:
        details.append(", ".join(f"{k}={v}" for part in json.loads(how) for k, v in part.items()) or "no strategy")
    name = f"{label} ({'; '.join(details)})" if details else label
    return ArmRuns(name, label, runs[0].record.strategy, source_key, tuple(runs))


def _how(record: RunRecord) -> str:
    """Returns what an arm does: its strategy, the maps by which it reads its source, and its own hyperparameters."""
    maps = record.maps if record.source is not None else {}
    differing = {name: record.hyperparams[name] for name in record.arms_differ_in if name in record.hyperparams}
    return _json([*record.strategy, *(settings for settings in (maps, differing) if settings)])


def _source_key(record: RunRecord) -> str:
    if record.source is None:
        return ""
    source, which = record.source, record.source.which or ""
    if source.network is not None:
        return source.network.name
    task = source.task.label() if source.task else "an unknown task"
    return f"{str(source.algo).upper()} on {task}" + (f" after {which} steps" if which.isdecimal() else "")


def _with_differences(task: TaskGroup, groups: Sequence[TaskGroup]) -> TaskGroup:
    notes = []
    for other in groups:
        if other is task or other.title != task.title:
            continue
        settings, other_settings = _flat(_setting(task.settings)), _flat(_setting(other.settings))
        differ = [key for key in sorted({*settings, *other_settings}) if settings.get(key) != other_settings.get(key)]
        words = ", ".join(
            f"{key} ({settings.get(key, 'unset')} here, {other_settings.get(key, 'unset')} there)" for key in differ
        )
        arms = ", ".join(f"`{arm.name}`" for arm in other.arms)
        notes.append(f"Other runs of this task ({arms}) are in a section of their own, since they differ in {words}.")
    return dataclasses.replace(task, notes=task.notes + tuple(notes))


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        name = f"{prefix}{key}"
        flat |= _flat(value, f"{name}.") if isinstance(value, dict) else {name: value}
    return flat


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)
