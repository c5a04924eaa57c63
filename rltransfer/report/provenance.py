"""Reads what a study and its runs left on disk about themselves: the study as resolved, commands, plans.

Nothing here can stop a report: what is missing or damaged is said in it.
"""

import dataclasses
from collections.abc import Mapping

from rltransfer.comparison import Arm, Comparison
from rltransfer.config import STUDY_FILE
from rltransfer.errors import RunError
from rltransfer.records import PlanFacts, read_command, read_plan_facts
from rltransfer.report.paths import below


@dataclasses.dataclass(frozen=True)
class ArmPlan:
    """What the runs of an arm moved: the plan of the first seed, and whether those of the others say the same."""

    facts: PlanFacts | None
    alike: bool = True
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """Where a comparison's runs come from.

    Attributes:
        studies: The study file of each root that has one, as text.
        commands: The command of one run of each arm, where it was made by one.
        plans: The plans by task and arm.
        problems: What could not be read, as sentences.
    """

    studies: Mapping[str, str]
    commands: tuple[str, ...]
    plans: Mapping[str, Mapping[str, ArmPlan]]
    problems: tuple[str, ...]


def read_provenance(comparison: Comparison) -> Provenance:
    """Returns what is on disk beside the records and curves of a comparison."""
    studies: dict[str, str] = {}
    problems = list(comparison.problems)
    for root in comparison.roots:
        path = root / STUDY_FILE
        if not path.is_file():
            continue
        try:
            studies[root.as_posix()] = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            problems.append(f"{path} cannot be read: {error}")
    plans = {
        task.name: {arm.name: plan for arm in task.arms if (plan := _plan(comparison, arm)) is not None}
        for task in comparison.tasks
    }
    commands = [read_command(arm.runs[0].folder) for task in comparison.tasks for arm in task.arms]
    return Provenance(studies, tuple(filter(None, commands)), plans, tuple(problems))


def _plan(comparison: Comparison, arm: Arm) -> ArmPlan | None:
    """Returns the plan of an arm, None where none of its runs has one."""
    plans = []
    for run in arm.runs:
        try:
            plan = read_plan_facts(run.folder)
        except RunError as error:
            return ArmPlan(None, problem=f"the plan of `{below(comparison, run.folder)}` cannot be read: {error}")
        if plan is not None:
            plans.append(plan)
    if not plans:
        return None
    return ArmPlan(plans[0], alike=all(plan.same_moves(plans[0]) for plan in plans))
