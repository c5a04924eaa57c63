"""Which tests of a comparison are made together, on what runs, and what they say of an arm.

``verdicts`` has the two families and what may be claimed; here they get their arms: those of one task, or those of all
tasks of a transfer matrix.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rltransfer import stats
from rltransfer.comparison import scores, verdicts
from rltransfer.comparison.groups import ArmRuns, control_of, shuffles
from rltransfer.comparison.scored import ScoredTask, usable
from rltransfer.comparison.studies import study_folder
from rltransfer.comparison.tables import Detectable, Origin, SkippedRun
from rltransfer.comparison.verdicts import Contrast, Pair
from rltransfer.config import StudyConfig
from rltransfer.stats import Estimate


@dataclasses.dataclass(frozen=True)
class Tested:
    """The tests of one task.

    Attributes:
        against_baseline: For each arm, its test against the baseline.
        against_control: For each arm that has a control, its test of beating the baseline and that control.
        tests: How many tests against the baseline share the level.
        tasks: Of how many tasks those are.
    """

    against_baseline: Mapping[str, Contrast]
    against_control: Mapping[str, Contrast]
    tests: int
    tasks: int


_Family = tuple[dict[str, Pair], dict[str, str]]


def tests_of(tasks: Sequence[ScoredTask], studies: Mapping[Path, StudyConfig]) -> list[Tested]:
    """Returns the tests of each task; those of all tasks of a transfer matrix share the level, else of one task.

    A matrix is read as a whole: who looks for its best cell looks at every task.
    """
    tested: dict[int, Tested] = {}
    for members in _families(tasks, studies):
        those = [tasks[index] for index in members]
        to_baseline = _together([_to_baseline(task) for task in those], seed=those[0].seed)
        to_control = _together(
            [_pairs(task, task.controls, first) for task, first in zip(those, to_baseline, strict=True)],
            seed=those[0].seed,
        )
        tests = sum(contrast.p_value is not None for contrasts in to_baseline for contrast in contrasts.values())
        for index, first, second in zip(members, to_baseline, to_control, strict=True):
            tested[index] = Tested(first, second, tests, len(members))
    return [tested[index] for index in range(len(tasks))]


def _families(tasks: Sequence[ScoredTask], studies: Mapping[Path, StudyConfig]) -> list[list[int]]:
    """Returns which tasks are tested together: those in which some run belongs to one transfer matrix."""
    families: list[tuple[set[Path], list[int]]] = []
    for index, task in enumerate(tasks):
        folders = {study_folder(run.folder) for arm in task.group.arms for run in arm.runs}
        matrices = {folder for folder in folders if folder in studies and studies[folder].source_tasks}
        # A task of two matrices, which several studies share, joins their families.
        joined = [family for family in families if family[0] & matrices]
        families = [family for family in families if family not in joined]
        families.append((matrices.union(*(of for of, _ in joined)), [*(i for _, some in joined for i in some), index]))
    return [sorted(members) for _, members in families]


def _together(families: Sequence[_Family], *, seed: int) -> list[dict[str, Contrast]]:
    """Returns the contrasts of several tasks as one Holm family."""
    pairs = {f"{index}/{name}": pair for index, (some, _) in enumerate(families) for name, pair in some.items()}
    refused = {f"{index}/{name}": why for index, (_, some) in enumerate(families) for name, why in some.items()}
    contrasts = verdicts.contrast_family(pairs, refused, seed=seed)
    return [
        {name: contrasts[f"{index}/{name}"] for name in (*some, *others)}
        for index, (some, others) in enumerate(families)
    ]


def _to_baseline(task: ScoredTask) -> _Family:
    if task.baseline is None:
        return {}, dict.fromkeys(task.runs, task.baseline_problem)
    pairs, refused = _pairs(task, {name: task.baseline for name in task.runs if name != task.baseline})
    return pairs, refused | {task.baseline: "it is the baseline"}


def _pairs(task: ScoredTask, opponents: Mapping[str, str], also: Mapping[str, Contrast] | None = None) -> _Family:
    """Returns what is to be tested, each arm against its opponent, and why others cannot be.

    Args:
        task: The task.
        opponents: For each arm, what it is compared with.
        also: For each arm, another test that the claim needs too.
    """
    pairs: dict[str, Pair] = {}
    refused: dict[str, str] = {}
    for name, opponent in opponents.items():
        arm_scores, opponent_scores = usable(task, name), usable(task, opponent)
        other = None if also is None else also[name]
        if isinstance(arm_scores, str) or isinstance(opponent_scores, str):
            refused[name] = arm_scores if isinstance(arm_scores, str) else str(opponent_scores)
        elif other is not None and (other.p_value is None or other.smallest_p is None):
            refused[name] = other.reason
        else:
            difference = scores.difference(task.runs[name], arm_scores, task.runs[opponent], opponent_scores)
            needed = (other.p_value or 0.0, other.smallest_p or 0.0) if other is not None else (0.0, 0.0)
            pairs[name] = Pair(arm_scores, opponent_scores, difference, needed)
    return pairs, refused


def origin_of(task: ScoredTask, arm: ArmRuns, tested: Tested, unfinished: Sequence[SkippedRun] = ()) -> Origin | None:
    """Returns where the gain of an arm comes from; only for arms that gain, and are no controls themselves.

    Args:
        task: The task.
        arm: The arm.
        tested: The tests of the task.
        unfinished: The task's runs that are not scored, among which those of a control may be.
    """
    if tested.against_baseline[arm.name].verdict != "positive" or arm.is_control:
        return None
    control = task.controls.get(arm.name)
    lacking = _control_lacking(task.group.arms, arm, unfinished) if control is None else ""
    if lacking:
        return Origin("undecided", lacking)
    return verdicts.origin(
        control=control,
        against_baseline=tested.against_baseline.get(control or ""),
        against_control=tested.against_control.get(arm.name),
        share=_share(task, arm.name, control),
        transfers_policy=arm.transfers_policy,
    )


def _control_lacking(arms: Sequence[ArmRuns], arm: ArmRuns, unfinished: Sequence[SkippedRun]) -> str:
    """Returns why an arm has no control though there is one: its runs are not finished, or it is another arm's."""
    control_runs = [run for run in unfinished if shuffles(run.strategy, arm)]
    if control_runs:
        names = ", ".join(f"`{name}`" for name in sorted({run.arm for run in control_runs}))
        counts = Counter(run.state for run in control_runs)
        listed = ", ".join(f"{counts[state]} {state}" for state in sorted(counts))
        return f"no run of its shuffled control {names} is finished ({listed})"
    for control in arms:
        of = control_of(control, arms)
        if of is not None and shuffles(control.strategy, arm) and arm.source_key == control.source_key:
            return f"`{control.name}` counts as the control of `{of.name}`, which has the same strategy"
    return ""


def _share(task: ScoredTask, arm: str, control: str | None) -> Estimate | None:
    if control is None or task.baseline is None:
        return None
    numbers = [usable(task, name) for name in (arm, control, task.baseline)]
    if any(isinstance(number, str) for number in numbers):
        return None
    arm_numbers, controls, zero = (number for number in numbers if not isinstance(number, str))
    paired = scores.is_paired(task.runs[arm], task.runs[control])
    sources, control_sources = (scores.sources_of(task.runs[name]) for name in (arm, control))
    return stats.share_of_gain(
        arm_numbers, controls, zero, paired=paired, sources=sources, control_sources=control_sources
    )


def detectable_by(task: ScoredTask, name: str, tested: Tested) -> Detectable | None:
    """Returns which true difference the test of an arm against the baseline had 80 % power to find."""
    arm_scores, zero = usable(task, name), usable(task, str(task.baseline)) if task.baseline else ""
    if tested.against_baseline[name].p_value is None or isinstance(arm_scores, str) or isinstance(zero, str):
        return None
    return verdicts.detectable(arm_scores, zero, task.spread, tested.tests, task.effect)
