"""Collects what a reader must know before believing the numbers of a task."""

from collections.abc import Sequence

from rltransfer import metrics
from rltransfer.comparison.groups import ArmRuns, TaskGroup
from rltransfer.comparison.scores import curve_of
from rltransfer.comparison.tables import Arm
from rltransfer.comparison.verdicts import runs_needed
from rltransfer.stats import ALPHA


def task_notes(group: TaskGroup, arms: Sequence[Arm], baseline_problem: str) -> tuple[str, ...]:
    """Returns the notes of one task, the ones that limit the verdict first."""
    found = [
        *([f"No verdict: {baseline_problem}."] if baseline_problem else []),
        *_out_of_reach(arms),
        *_uneven_seeds(arms),
        *_of_rl_zoo(group.arms),
        *_sources(group.arms),
        *_short_curves(group),
        *group.notes,
    ]
    return tuple(dict.fromkeys(found))


def _out_of_reach(arms: Sequence[Arm]) -> list[str]:
    tested = [arm for arm in arms if arm.smallest_p_adjusted is not None]
    hopeless = [arm for arm in tested if (arm.smallest_p_adjusted or 0.0) > ALPHA]
    if not hopeless:
        return []
    names = ", ".join(f"`{arm.name}`" for arm in hopeless)
    least = min(arm.smallest_p_adjusted or 0.0 for arm in hopeless)
    return [
        f"No verdict but “inconclusive” is reachable for {names}: with so few seeds and {len(tested)} tested arms the "
        f"smallest possible p-value after Holm is {least:.2g}. The fewest seeds per arm that can reach {ALPHA:g} are "
        f"{runs_needed(len(tested))}."
    ]


def _uneven_seeds(arms: Sequence[Arm]) -> list[str]:
    everything = {seed for arm in arms for seed in arm.seeds}
    missing = {arm.name: sorted(everything - set(arm.seeds)) for arm in arms}
    lacking = [f"`{name}` lacks {', '.join(map(str, seeds))}" for name, seeds in missing.items() if seeds]
    if not lacking:
        return []
    return [
        f"Not every arm has the same seeds: {'; '.join(lacking)}. The test allows this, but if runs are missing "
        "because they failed, what is left looks better than the arm is."
    ]


def _of_rl_zoo(arms: Sequence[ArmRuns]) -> list[str]:
    """Says what is unknown of runs that RL Zoo wrote, and what follows for the verdict."""
    names = [arm.name for arm in arms if any(run.record.written_by == "rl_zoo" for run in arm.runs)]
    if not names:
        return []
    return [
        f"{', '.join(f'`{name}`' for name in names)}: runs of RL Zoo, put into arms by whoever made this report. "
        "What was moved, and whether the arms differ in nothing else, is not recorded, and no run checked itself: "
        "a verdict says that the arms differ, not why.",
        "RL Zoo evaluates neither at step 0 (a jumpstart is not seen, and the area before the first evaluation is "
        "taken at its value) nor on seeds that chose no checkpoint (there is no asymptotic performance), and not on "
        "the same episodes in each run, so that its curves are noisier than ours.",
    ]


def _sources(arms: Sequence[ArmRuns]) -> list[str]:
    """Says over what the results generalise: one agent, or agents of the source task."""
    names: dict[str, list[str]] = {}
    for arm in arms:
        sentence = _source_sentence(arm)
        if sentence:
            names.setdefault(sentence, []).append(f"`{arm.name}`")
    return [f"{', '.join(arms_of)}: {sentence}" for sentence, arms_of in names.items()]


def _source_sentence(arm: ArmRuns) -> str:
    sources = {run.record.source.sha256 for run in arm.runs if run.record.source is not None}
    runs = len(arm.runs)
    if not sources:
        return ""
    if len(sources) == 1:
        seeds = f"all {runs} seeds start" if runs > 1 else "the one seed starts"
        return f"{seeds} from a single source agent, so what is found holds for this agent, not for the source task."
    if len(sources) < runs:
        return f"{len(sources)} sources for {runs} seeds; seeds that share a source are not independent."
    paired = all(run.record.source is not None and run.record.source.seed == run.record.seed for run in arm.runs)
    how = "target seed i starts from source seed i" if paired else "each seed starts from a source of its own"
    return f"sources vary over seeds ({how}), so the intervals cover the choice of the source agent."


def _short_curves(group: TaskGroup) -> list[str]:
    budget = group.settings.n_timesteps
    short = [
        f"`{arm.name}` seed {run.record.seed}"
        for arm in group.arms
        for run in arm.runs
        if not metrics.covers_budget(curve_of(run), budget)
    ]
    if not short:
        return []
    return [
        f"The evaluations of {', '.join(short)} do not span step 0 to the budget of {budget:,} steps; the curve is "
        "continued with its first or last value."
    ]
