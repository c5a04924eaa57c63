"""Collects what a reader must know before believing the numbers of a task."""

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

from rltransfer import metrics
from rltransfer.comparison.groups import ArmRuns, TaskGroup
from rltransfer.comparison.scores import curve_of
from rltransfer.comparison.selection import is_confirmed, judged
from rltransfer.comparison.tables import Arm, SkippedRun
from rltransfer.comparison.verdicts import runs_needed
from rltransfer.rl_zoo import TRAINING_POINTS, UNKNOWN
from rltransfer.stats import ACCEPTED, ALPHA, POWER, Coverage, Estimate

_CLAIMS = ("positive", "negative")


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the notes of one task are about; ``tests`` share the level, over ``tested_tasks`` tasks."""

    group: TaskGroup
    arms: Sequence[Arm]
    baseline_problem: str
    metric: str
    coverages: Sequence[Coverage]
    unfinished: Sequence[SkippedRun]
    tasks: int
    tests: int
    tested_tasks: int


def task_notes(facts: Facts) -> tuple[str, ...]:
    """Returns the notes of one task, the ones that limit the verdict first."""
    # What a verdict is of: the arms that a sweep picked on their fresh seeds.
    claimed = [judged(arm) for arm in facts.arms]
    notes = [
        *([f"No verdict: {facts.baseline_problem}."] if facts.baseline_problem else []),
        *_unfinished(facts.unfinished),
        *_out_of_reach([arm for arm in facts.arms if not is_confirmed(arm)], facts.tests),
        *_power(claimed),
        *_uneven_seeds(facts.arms),
        *_of_rl_zoo(facts.group.arms),
        *_sources(facts.group.arms),
        *_sources_uncovered(claimed, facts.metric),
        *_outliers(claimed, facts.metric),
        *_coverage(facts.coverages),
        *_several_tasks(facts),
        *_short_curves(facts.group),
        *facts.group.notes,
    ]
    return tuple(dict.fromkeys(notes))


def _unfinished(runs: Sequence[SkippedRun]) -> list[str]:
    if not runs:
        return []
    counts = Counter(run.state for run in runs)
    listed = ", ".join(f"{counts[state]} {state}" for state in sorted(counts))
    return [
        f"Not all runs are in ({listed}): the verdicts are preliminary. To look again and again and to stop at "
        f"a verdict that pleases raises false alarms above {_percent(ALPHA)}; failed runs may be those that would have "
        "scored worst."
    ]


def _out_of_reach(arms: Sequence[Arm], tests: int) -> list[str]:
    hopeless = [arm for arm in arms if (arm.smallest_p_adjusted or 0.0) > ALPHA]
    if not hopeless:
        return []
    names = ", ".join(f"`{arm.name}`" for arm in hopeless)
    least = min(arm.smallest_p_adjusted or 0.0 for arm in hopeless)
    return [
        f"No verdict but “inconclusive” is reachable for {names}: with so few seeds and {tests} tested arms the "
        f"smallest possible p-value after Holm is {least:.2g}. The fewest seeds per arm that can reach {ALPHA:g} are "
        f"{runs_needed(tests)}."
    ]


def _power(arms: Sequence[Arm]) -> list[str]:
    """Says what the tests of the inconclusive arms would have found: not to be found is not to be equal."""
    effects = {
        arm.name: arm.detectable.effect
        for arm in arms
        if arm.verdict == "inconclusive" and arm.detectable is not None and math.isfinite(arm.detectable.effect)
    }
    if not effects:
        return []
    names = ", ".join(f"`{name}`" for name in effects)
    least, most = (f"{end:.3g}" for end in (min(effects.values()), max(effects.values())))
    size = least if least == most else f"{least} to {most}, depending on the arm,"
    return [
        f"{names}: inconclusive. A true difference below {size} would have been missed in more than "
        f"{_percent(1 - POWER)} of such studies (see “Power”)."
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
        *_unrecorded(arms),
        "RL Zoo evaluates neither at step 0 (a jumpstart is not seen, and the area before the first evaluation is "
        "taken at its value) nor on seeds that chose no checkpoint (there is no asymptotic performance), and not on "
        "the same episodes in each run, so that its curves are noisier than ours.",
    ]


def _unrecorded(arms: Sequence[ArmRuns]) -> list[str]:
    """Says what was put in place of settings and evaluations that runs of RL Zoo do not have."""
    records = [run.record for arm in arms for run in arm.runs if run.record.written_by == "rl_zoo"]
    notes = []
    if any(record.algo == UNKNOWN for record in records):
        notes.append(
            "These runs kept no settings (`args.yml`): the budget is where the longest of them ends, seeds are numbers "
            "in the order of the folders, and neither algorithm nor hyperparameters are known to be the same."
        )
    if any(not record.evaluation.episodes for record in records):
        notes.append(
            "These runs were never evaluated: curves and scores are of training episodes, with exploring actions, "
            f"averaged over each {TRAINING_POINTS}th of the budget."
        )
    return notes


def _sources(arms: Sequence[ArmRuns]) -> list[str]:
    """Says over what the results generalise: one agent, or agents of the source task."""
    names: dict[str, list[str]] = {}
    for arm in arms:
        sentence = _source_sentence(arm)
        if sentence:
            names.setdefault(sentence, []).append(f"`{arm.name}`")
    return [f"{', '.join(arms_of)}: {sentence}" for sentence, arms_of in names.items()]


def _source_sentence(arm: ArmRuns) -> str:
    facts = [run.record.source for run in arm.runs if run.record.source is not None]
    sources = {source.sha256 for source in facts}
    runs = len(arm.runs)
    if not sources:
        return ""
    if len(sources) == 1:
        seeds = f"all {runs} seeds start" if runs > 1 else "the one seed starts"
        if facts[0].network is not None:
            return f"{seeds} from {facts[0].network.name}, so what is found holds for this pretrained network."
        return f"{seeds} from a single source agent, so what is found holds for this agent, not for the source task."
    if len(sources) < runs:
        return (
            f"{len(sources)} sources for {runs} seeds: the verdict holds for these {len(sources)} agents; the "
            "intervals are over new sources too, so that they are wider."
        )
    paired = all(run.record.source is not None and run.record.source.seed == run.record.seed for run in arm.runs)
    how = "target seed i starts from source seed i" if paired else "each seed starts from a source of its own"
    return f"sources vary over seeds ({how}), so the intervals cover the choice of the source agent."


def _sources_uncovered(arms: Sequence[Arm], metric: str) -> list[str]:
    """Names arms whose verdict holds for their few sources, and may not hold for others."""
    names = [
        f"`{arm.name}`"
        for arm in arms
        if arm.verdict in _CLAIMS and _shares_sources(arm) and _holds_zero(arm.scores[metric].difference)
    ]
    if not names:
        return []
    return [f"{', '.join(names)}: shown for the sources that were used; the interval over new sources too holds 0."]


def _shares_sources(arm: Arm) -> bool:
    sources = [run.source.sha256 for run in arm.runs if run.source is not None]
    return 1 < len(set(sources)) < len(sources)


def _holds_zero(estimate: Estimate | None) -> bool:
    return (
        estimate is not None
        and estimate.low is not None
        and estimate.high is not None
        and estimate.low <= 0 <= estimate.high
    )


def _outliers(arms: Sequence[Arm], metric: str) -> list[str]:
    """Names arms whose mean and interquartile mean lie on different sides of the baseline's."""
    names = []
    for arm in arms:
        mean, iqm = arm.scores[metric].difference, arm.robust and arm.robust.iqm_difference
        if arm.verdict in _CLAIMS and mean and iqm and mean.value * iqm.value < 0:
            names.append(f"`{arm.name}` (mean {mean.value:+.3g}, interquartile mean {iqm.value:+.3g})")
    if not names:
        return []
    return [f"A few runs decide over {', '.join(names)}: without the outer quarters of the runs the sign is another."]


def _coverage(coverages: Sequence[Coverage]) -> list[str]:
    """Says which intervals of so few runs were measured to hold the truth less often than they claim."""
    weak = [coverage for coverage in coverages if coverage.least < ACCEPTED]
    if not weak:
        return []
    by_share: dict[str, list[str]] = {}
    for coverage in sorted(weak, key=lambda coverage: coverage.least):
        by_share.setdefault(f"{100 * coverage.least:.1f} %", []).append(coverage.method)
    listed = "; ".join(f"{share}: {', '.join(methods)}" for share, methods in by_share.items())
    return [
        f"With so few seeds some intervals of 95 % hold the truth less often than they say, in simulations in less "
        f"than {_percent(ACCEPTED)} of studies with the distribution of scores that suits them least ({listed}; see "
        "“How often the intervals hold”). The verdict does not rest on intervals."
    ]


def _several_tasks(facts: Facts) -> list[str]:
    tested = any(arm.p_adjusted is not None for arm in facts.arms)
    if facts.tasks < 2 or not tested:
        return []
    if facts.tested_tasks > 1:
        others = facts.tasks - facts.tested_tasks
        beside = f", not for the other {others} of this report" if others else ""
        return [
            f"Verdicts are corrected for the {facts.tests} tests of the {facts.tested_tasks} tasks of the matrix "
            f"together{beside}."
        ]
    return [
        f"Verdicts are corrected for the arms of this task, not for the {facts.tasks} tasks of this report: without "
        f"any effect, up to {_percent(ALPHA)} of tasks show a false one."
    ]


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


def _percent(share: float) -> str:
    return f"{round(100 * share)} %"
