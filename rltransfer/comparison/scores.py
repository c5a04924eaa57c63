"""Reduces each run to its scores, and the runs of an arm to estimates."""

import dataclasses
import datetime
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from rltransfer import metrics, stats
from rltransfer.comparison.tables import Effort, Retention, Robust, RunScores, Score, ThresholdTime
from rltransfer.errors import RunError
from rltransfer.metrics import Undefined
from rltransfer.records import Curve, Run, RunRecord, read_training_episodes
from rltransfer.reference_returns import Reference
from rltransfer.stats import Estimate, MeanFacts

PRIMARY_METRICS = ("auc", "success_auc", "final")
RUN_METRICS = ("auc", "success_auc", "final", "final_success", "initial", "training_auc")
NORMALISED = "normalised"
METRICS = (*RUN_METRICS, NORMALISED)
_GRID_POINTS = 400
# A baseline that leaves less of the scale than this is too near to perfect, however little it varies over seeds.
_LEAST_ROOM = 0.05
# Return scales that are 0 to 1 by the environment's definition: MiniGrid pays 1 - 0.9 * steps / limit at the goal.
_UNIT_RETURNS = ("minigrid", "babyai")


@dataclasses.dataclass(frozen=True)
class Measuring:
    """What the runs of one task are measured by."""

    metric: str
    budget_steps: int
    thresholds: tuple[float, ...]
    reference: Reference | Undefined
    grid_steps: Int[np.ndarray, " points"]


def curve_of(run: Run) -> Curve:
    """Returns the run's curve; groups hold only runs that have one."""
    if run.curve is None:
        raise RunError(f"{run.folder} has no evaluation curve.")
    return run.curve


def grid(runs: Sequence[Run], budget_steps: int) -> Int[np.ndarray, " points"]:
    """Returns the steps at which curves are drawn: all evaluations of all runs up to the budget, or evenly spaced."""
    steps = np.unique(np.concatenate([curve_of(run).env_steps for run in runs] + [np.array([0, budget_steps])]))
    steps = steps[steps <= budget_steps]
    if len(steps) <= _GRID_POINTS:
        return steps
    return np.linspace(0, budget_steps, _GRID_POINTS).round().astype(int)


def score_run(run: Run, measuring: Measuring) -> RunScores:
    """Returns the scalars of one run."""
    curve, record, budget = curve_of(run), run.record, measuring.budget_steps
    scores = {
        "auc": metrics.auc(curve, budget),
        "success_auc": metrics.success_auc(curve, budget),
        "final": metrics.asymptotic_performance(record.final),
        "final_success": metrics.final_success_rate(record.final),
        "initial": metrics.initial_performance(record.initial),
        "training_auc": _training_auc(run),
    }
    scores[NORMALISED] = _normalised(scores[measuring.metric], measuring)
    return RunScores(
        folder=run.folder,
        seed=record.seed,
        source=record.source,
        env_steps=record.env_steps or record.n_timesteps,
        scores=scores,
        times=tuple(metrics.time_to_threshold(curve, level, budget) for level in measuring.thresholds),
        curve=metrics.on_grid(curve, measuring.grid_steps, success=measuring.metric == "success_auc"),
        retention=metrics.retention(record.retention, record.no_retention),
        wall_seconds=record.wall_seconds,
        evaluation_seconds=record.evaluation_seconds,
        n_updates=record.n_updates,
        ended=_ended(record),
        race=record.race,
    )


def _ended(record: RunRecord) -> float:
    if not record.started:
        return 0.0
    try:
        if record.written_by == "rl_zoo":
            # Its monitor files tell seconds since 1970, our records a date.
            return float(record.started) + record.wall_seconds
        return datetime.datetime.fromisoformat(record.started).timestamp() + record.wall_seconds
    except (ValueError, OverflowError):
        # Only TensorBoard's files have use for it: a bad date must not stop a report.
        return 0.0


def sources_of(runs: Sequence[RunScores]) -> list[str] | None:
    """Returns which source agent each run started from, by the hash of its weights; None where one has none."""
    hashes = [run.source.sha256 for run in runs if run.source is not None]
    return hashes if len(hashes) == len(runs) else None


def values(runs: Sequence[RunScores], metric: str) -> list[float] | Undefined:
    """Returns the scores of all runs, or why one of them has none: leaving single runs out would bias the arm."""
    return all_of(runs, [run.scores[metric] for run in runs])


def all_of(runs: Sequence[RunScores], numbers: Sequence[float | Undefined]) -> list[float] | Undefined:
    """Returns the values of all runs, or why one of them has none."""
    missing = {
        run.seed: number.reason for run, number in zip(runs, numbers, strict=True) if isinstance(number, Undefined)
    }
    if not missing:
        return [number for number in numbers if not isinstance(number, Undefined)]
    reasons = set(missing.values())
    if len(missing) == len(runs) and len(reasons) == 1:
        return Undefined(reasons.pop())
    return Undefined("; ".join(f"seed {seed}: {reason}" for seed, reason in missing.items()))


def score(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str) -> Score:
    """Returns the mean of a metric over the runs and its difference to the baseline's."""
    run_values = values(runs, metric)
    if isinstance(run_values, Undefined):
        return Score(None, None, run_values.reason)
    baseline_values = values(baseline, metric) if baseline is not None and baseline is not runs else Undefined("")
    mean = stats.mean(run_values, sources_of(runs))
    return Score(
        mean,
        None
        if isinstance(baseline_values, Undefined)
        else difference(runs, run_values, baseline or (), baseline_values),
    )


def difference(
    runs: Sequence[RunScores], run_values: Sequence[float], others: Sequence[RunScores], other_values: Sequence[float]
) -> Estimate:
    """Returns the mean difference of two arms; pair by pair where run i of both started from one source agent."""
    if is_paired(runs, others):
        return stats.paired_difference(run_values, other_values, sources_of(runs))
    return stats.mean_difference(run_values, other_values, sources_of(runs), sources_of(others))


def is_paired(runs: Sequence[RunScores], others: Sequence[RunScores]) -> bool:
    """Returns whether two arms share the source agents of their seeds, and these vary: then a strong one helps both."""
    sources, other_sources = sources_of(runs), sources_of(others)
    same_seeds = [run.seed for run in runs] == [run.seed for run in others]
    return same_seeds and sources is not None and sources == other_sources and len(set(sources)) > 1


def robust(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str, *, seed: int) -> Robust | None:
    """Returns what does not rest on the mean of the primary metric; None where a run lacks it."""
    run_values = values(runs, metric)
    if isinstance(run_values, Undefined):
        return None
    sources = sources_of(runs)
    baseline_values = values(baseline, metric) if baseline is not None and baseline is not runs else Undefined("")
    gap = values(runs, NORMALISED)
    return Robust(
        iqm=stats.iqm_estimate([run_values], seed=seed, sources=[sources]),
        iqm_difference=None
        if isinstance(baseline_values, Undefined)
        else stats.iqm_difference(
            run_values, baseline_values, seed=seed, sources=sources, baseline_sources=sources_of(baseline or ())
        ),
        median=stats.median(run_values, sources),
        optimality_gap=gap if isinstance(gap, Undefined) else stats.mean(stats.shortfall(gap), sources),
    )


def improvement(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str) -> Estimate | None:
    """Returns the probability that a run of the arm beats a run of the baseline; None without several runs of both."""
    if baseline is None or baseline is runs or min(len(runs), len(baseline)) < 2:
        return None
    run_values, baseline_values = values(runs, metric), values(baseline, metric)
    if isinstance(run_values, Undefined) or isinstance(baseline_values, Undefined):
        return None
    return stats.probability_of_improvement(run_values, baseline_values, sources_of(runs), sources_of(baseline))


def threshold_times(
    runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, measuring: Measuring
) -> tuple[ThresholdTime, ...]:
    """Returns the restricted mean time to each threshold and what was saved of it, with times cut at the budget."""
    entries = []
    for index, level in enumerate(measuring.thresholds):
        times = [run.times[index] for run in runs]
        steps = [time.env_steps for time in times]
        entries.append(
            ThresholdTime(
                level,
                stats.censored_mean(
                    steps,
                    [time.reached for time in times],
                    horizon=measuring.budget_steps,
                    sources=sources_of(runs),
                ),
                _steps_saved(runs, baseline, index),
            )
        )
    return tuple(entries)


def _steps_saved(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, index: int) -> Estimate | Undefined:
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    if not any(run.times[index].reached for run in (*runs, *baseline)):
        return Undefined("no run reached the threshold")
    run_steps, baseline_steps = ([run.times[index].env_steps for run in some] for some in (runs, baseline))
    longer = difference(runs, run_steps, baseline, baseline_steps)
    saved = metrics.steps_saved(float(np.mean(run_steps)), float(np.mean(baseline_steps)))
    if longer.low is None or longer.high is None:
        return Estimate(saved)
    return Estimate(saved, -longer.high, -longer.low)


def transfer_ratio(
    runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, random_returns: Sequence[float]
) -> Estimate | Undefined:
    """Returns the transfer ratio of the arm's AUC above the random policy; refused where scratch's is not positive."""
    areas = _areas(runs, baseline, "auc")
    if isinstance(areas, Undefined):
        return areas
    if not random_returns:
        return Undefined("no run measured the random policy")
    arm, zero = areas
    random = stats.mean_facts(random_returns)
    if random.freedom == 0:
        random = dataclasses.replace(random, freedom=math.inf)
    value = metrics.transfer_ratio(arm.value, zero.value, random=random.value)
    if isinstance(value, Undefined):
        return value
    if min(arm.freedom, zero.freedom) == 0:
        return Undefined("one seed cannot show that scratch learned more than the random policy")
    whole = stats.ratio([(1.0, 0.0, arm), (-1.0, 1.0, zero), (0.0, -1.0, random)])
    return whole or Undefined("scratch is not clearly above the random policy, so a ratio to it means nothing")


def forward_transfer(runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, env: str) -> Estimate | Undefined:
    """Returns forward transfer on success rates, or on returns where the environment pays from 0 to 1 by definition."""
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    has_success = not isinstance(values([*runs, *baseline], "success_auc"), Undefined)
    if not has_success and not any(word in env.lower() for word in _UNIT_RETURNS):
        return Undefined("neither success rates nor returns from 0 to 1 by definition are available")
    areas = _areas(runs, baseline, "success_auc" if has_success else "auc")
    if isinstance(areas, Undefined):
        return areas
    arm, zero = areas
    value = metrics.forward_transfer(arm.value, zero.value)
    return value if isinstance(value, Undefined) else _share_of_room(arm, zero)


def _share_of_room(arm: MeanFacts, zero: MeanFacts) -> Estimate | Undefined:
    """Returns how much of the room above the baseline the arm gains; refused where that room is little."""
    if 1 - zero.value < _LEAST_ROOM:
        return Undefined(
            f"scratch is too near to perfect: the room above it is {1 - zero.value:.2g} of the scale, and a ratio to "
            f"less than {_LEAST_ROOM:g} means nothing"
        )
    if min(arm.freedom, zero.freedom) == 0:
        return Undefined("one seed cannot show that scratch leaves room for improvement")
    whole = stats.ratio([(1.0, 0.0, arm), (-1.0, -1.0, zero)], constants=(0.0, 1.0))
    return whole or Undefined("scratch is too near to perfect: the room above it is not clearly more than 0")


def retention(runs: Sequence[RunScores]) -> Retention | Undefined:
    """Returns what the last agents score in the source task, and how that changed from the source agents' own score."""
    after = all_of(runs, [run.retention for run in runs])
    if isinstance(after, Undefined):
        return after
    sources = sources_of(runs)
    before = [run.source.mean_return for run in runs if run.source is not None]
    measured = [score for score in before if score is not None]
    change = stats.paired_difference(after, measured, sources) if len(measured) == len(runs) else None
    return Retention(stats.mean(after, sources), change)


def effort(runs: Sequence[RunScores]) -> Effort:
    """Returns what a run costs on average."""
    updates = [run.n_updates for run in runs if run.n_updates is not None]
    evaluating = [run.evaluation_seconds for run in runs if run.evaluation_seconds is not None]
    return Effort(
        wall_seconds=float(np.mean([run.wall_seconds for run in runs])),
        evaluation_seconds=float(np.mean(evaluating)) if len(evaluating) == len(runs) else None,
        env_steps=float(np.mean([run.env_steps for run in runs])),
        n_updates=float(np.mean(updates)) if len(updates) == len(runs) else None,
    )


def _areas(
    runs: Sequence[RunScores], baseline: Sequence[RunScores] | None, metric: str
) -> tuple[MeanFacts, MeanFacts] | Undefined:
    """Returns the mean areas of arm and baseline with their variances."""
    if baseline is None or baseline is runs:
        return Undefined("there is no baseline to compare with")
    run_values, baseline_values = values(runs, metric), values(baseline, metric)
    if isinstance(run_values, Undefined) or isinstance(baseline_values, Undefined):
        return run_values if isinstance(run_values, Undefined) else Undefined("the baseline has no AUC")
    return stats.mean_facts(run_values, sources_of(runs)), stats.mean_facts(baseline_values, sources_of(baseline))


def _normalised(score: float | Undefined, measuring: Measuring) -> float | Undefined:
    """Returns the primary score from 0 (random policy) to 1 (reference); a success rate is on that scale already."""
    if isinstance(score, Undefined) or measuring.metric == "success_auc":
        return score
    scale = measuring.reference
    if isinstance(scale, Undefined):
        return scale
    return metrics.normalised(score, random=scale.random, reference=scale.reference)


def _training_auc(run: Run) -> float | Undefined:
    try:
        return metrics.training_auc(read_training_episodes(run.folder))
    except RunError as error:
        return Undefined(str(error))
