"""Runs the arm that a sweep picked again on fresh seeds, as a study of its own in the folder of the sweep's."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rltransfer import run_lock
from rltransfer.config import CONFIRM, STUDY_FILE, StudyConfig, read_study
from rltransfer.errors import ConfigError, RunError, unknown
from rltransfer.strategies import Shuffled
from rltransfer.study.run import RETRIES, EngineName, run_study
from rltransfer.study.status import study_file, study_status

if TYPE_CHECKING:
    from rltransfer.comparison import Comparison

_GAP = 1000
"""Fresh seeds begin at a multiple of this, far from those that a study may still be given."""


def confirm_study(
    folder: Path,
    *,
    arms: Sequence[str] = (),
    seeds: int | None = None,
    jobs: int | None = None,
    engine: EngineName = "local",
    address: str | None = None,
    time_limit_seconds: float | None = None,
    retries: int = RETRIES,
    cache: Path | str | None = None,
    say: Callable[[str], None] | None = None,
) -> "Comparison":
    """Runs what a sweep picked again on fresh seeds, reports the sweep's study anew, and returns its tables.

    The confirmation lies in ``<folder>/confirm``, a study of its own: ``scratch``, the picked arm and its shuffled
    control where the study has one, with agents pretrained anew where the study pretrains them. A call after an
    interruption goes on with it. What was picked stays picked: a second choice after a look at fresh seeds would be
    the mistake that they are there to prevent.

    Args:
        folder: The folder of the study, all its runs done.
        arms: What to confirm; by default each task's candidate with the largest gain.
        seeds: How many fresh seeds; by default as many as the study has.
        jobs: As in ``run_study``, like all others below.
        engine: ``local`` or ``ray``.
        address: Of the Ray cluster.
        time_limit_seconds: A run that takes longer has failed.
        retries: How often a run is tried again whose process crashed.
        cache: A folder by which studies share equal source runs.
        say: Receives a line whenever a run ends.

    Raises:
        ConfigError: The study has no sweep, or another confirmation has begun.
        RunError: Runs of the study are missing, or no arm of its sweeps is a candidate.
        UnknownNameError: No sweep of the study has such an arm.
    """
    from rltransfer.comparison import compare
    from rltransfer.report import write_report

    study = read_study(study_file(folder))
    place = folder / CONFIRM
    begun = read_study(place / STUDY_FILE) if (place / STUDY_FILE).is_file() else None
    if begun is None:
        confirmation = _confirmation(study, folder, arms, seeds)
    else:
        _refuse_other_choice(study, begun, place, arms, seeds)
        confirmation = begun
    settings: dict[str, Any] = {"jobs": jobs, "engine": engine, "address": address, "retries": retries}
    run_study(confirmation, place, time_limit_seconds=time_limit_seconds, cache=cache, say=say, **settings)
    with run_lock.one_at_a_time(folder):
        comparison = compare(folder, metric=study.metric)
        write_report(comparison, folder)
    return comparison


def fresh_seeds(used: Sequence[int], count: int) -> tuple[int, ...]:
    """Returns seeds that a study has not used and is unlikely to be given later.

    >>> fresh_seeds([0, 1, 2], 2)
    (1000, 1001)
    """
    start = (max(used) // _GAP + 1) * _GAP
    return tuple(range(start, start + count))


def _confirmation(study: StudyConfig, folder: Path, arms: Sequence[str], seeds: int | None) -> StudyConfig:
    from rltransfer.comparison import best_candidates, compare

    swept = [arm.name for arm in study.sweeps.arms() if not arm.is_control]
    if not swept:
        raise ConfigError(
            f"{folder / STUDY_FILE} has no sweep, so that nothing was picked: the verdicts of its arms stand as they "
            "are."
        )
    for name in arms:
        if name not in swept:
            raise unknown("arm of a sweep", name, swept)
    if seeds is not None and seeds < 2:
        raise ConfigError(f"--seeds: a verdict needs at least two, found {seeds}.")
    missing = [state.job.name for state in study_status(folder) if state.state != "done"]
    if missing:
        raise RunError(
            f"{len(missing)} runs of {folder} are not done: {', '.join(missing[:4])}{' …' if missing[4:] else ''}. "
            "What is best is picked among all of them: finish the study first."
        )
    picked = dict.fromkeys(study.tasks, "") if arms else best_candidates(compare(folder, metric=study.metric))
    if not picked:
        raise RunError(
            f"No arm of the sweeps in {folder} is a candidate: none was shown to gain. To run one on fresh seeds all "
            f"the same, name it: --arm {swept[0]}"
        )
    names = tuple(dict.fromkeys(arms or picked.values()))
    return study.model_copy(
        update={
            "seeds": fresh_seeds(study.seeds, seeds or len(study.seeds)),
            "tasks": {name: task for name, task in study.tasks.items() if name in picked},
            "confirms": (*names, *_controls(study, names)),
            "scratch_long": False,
        }
    )


def _controls(study: StudyConfig, names: Sequence[str]) -> tuple[str, ...]:
    """Returns the shuffled controls that a study has of some of its arms."""
    planned = study.planned_arms()
    wanted = [(planned[name].strategy, planned[name].which) for name in names]
    return tuple(
        name
        for name, arm in planned.items()
        if isinstance(part := arm.strategy[0], Shuffled) and (part.of, arm.which) in wanted
    )


def _refuse_other_choice(
    study: StudyConfig, begun: StudyConfig, place: Path, arms: Sequence[str], seeds: int | None
) -> None:
    picked = [name for name in begun.confirms if name not in _controls(study, begun.confirms)]
    if arms and set(arms) != set(picked):
        raise ConfigError(
            f"{place} confirms {', '.join(picked)} already. Fresh seeds are for one choice, made before they are "
            f"looked at: another one needs a new study, or {place} deleted before its results were seen."
        )
    if seeds is not None and seeds != len(begun.seeds):
        raise ConfigError(
            f"{place} was begun with {len(begun.seeds)} seeds, and --seeds says {seeds}: seeds that are added after a "
            "look at the others raise false alarms. Leave out --seeds."
        )
