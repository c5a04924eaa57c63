"""Bootstrap over runs, for estimates without a closed form: the interquartile mean and the median over tasks.

Whole runs are resampled with replacement, within their task (stratified), and never cells of curves; where sources
serve several runs each, whole sources are, and for all tasks at once where they serve several tasks. A percentile
interval of a few runs is too narrow, since a sample's own spread is sqrt((runs - 1) / runs) of what it estimates: the
tails are taken further out by that factor (Hesterberg, The American Statistician 2015, without the further factor for
Student's t, which makes the interval of the interquartile mean of one task too wide; over tasks that share their
sources it is needed, since an average over tasks varies as a mean does).
"""

import functools
from collections.abc import Sequence

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from rltransfer.stats.clusters import Sources, fewest_units, linked, units_of
from rltransfer.stats.estimates import LEVEL, Band, Estimate, Numbers, Tasks, finite, iqm

RESAMPLES = 50_000
BAND_RESAMPLES = 2_000
_CELLS_AT_ONCE = 2_000_000
Counts = Int[np.ndarray, "resamples runs"]
Replicates = Float[np.ndarray, " resamples"]


def iqm_estimate(
    tasks: Tasks, *, seed: int, sources: Sequence[Sources] | None = None, resamples: int = RESAMPLES
) -> Estimate:
    """Returns the interquartile mean of the runs of all tasks together, with a stratified bootstrap interval.

    "IQM" of Agarwal et al., NeurIPS 2021, section 4.3; with one task it is that of its runs.

    Args:
        tasks: The numbers of each task, one per run.
        seed: Seed of the resampling.
        sources: For each task, which source each run started from; whole sources are resampled where they serve
            several runs each, of one task or of several.
        resamples: How many resamples are drawn.
    """
    value = float(iqm(np.concatenate([finite(task) for task in tasks])))
    units = smallest_stratum(tasks, sources)
    if units < 2:
        return Estimate(value)
    drawn = iqm_replicates(tasks, seed=seed, sources=sources, resamples=resamples)
    return _widened(value, drawn, units, of_sources=bool(linked(sources or ())))


def iqm_difference(
    arm: Numbers,
    baseline: Numbers,
    *,
    seed: int,
    sources: Sources = None,
    baseline_sources: Sources = None,
    resamples: int = RESAMPLES,
) -> Estimate:
    """Returns iqm(arm) - iqm(baseline) with a bootstrap interval; the two are resampled independently.

    Args:
        arm: One number per run of the arm.
        baseline: One number per run of what it is compared with.
        seed: Seed of the resampling.
        sources: Which source each run of the arm started from, as in ``iqm_estimate``.
        baseline_sources: The same of the baseline's runs.
        resamples: How many resamples are drawn.
    """
    value = float(iqm(finite(arm)) - iqm(finite(baseline)))
    units = min(smallest_stratum([arm], [sources]), smallest_stratum([baseline], [baseline_sources]))
    if units < 2:
        return Estimate(value)
    arm_replicates = iqm_replicates([arm], seed=seed, sources=[sources], resamples=resamples)
    baseline_replicates = iqm_replicates(
        [baseline], seed=seed, sources=[baseline_sources], resamples=resamples, stream=1
    )
    return _widened(value, arm_replicates - baseline_replicates, units)


def median_over_tasks(
    tasks: Tasks, *, seed: int, sources: Sequence[Sources] | None = None, resamples: int = RESAMPLES
) -> Estimate:
    """Returns the median over tasks of the mean over runs, with a stratified bootstrap interval.

    "Median" of Agarwal et al., NeurIPS 2021, section 4.1. See ``iqm_estimate`` for the arguments.
    """
    arrays = [finite(task) for task in tasks]
    value = float(np.median([array.mean() for array in arrays]))
    units = smallest_stratum(tasks, sources)
    if units < 2:
        return Estimate(value)
    drawn = median_replicates(tasks, seed=seed, sources=sources, resamples=resamples)
    return _widened(value, drawn, units, of_sources=bool(linked(sources or ())))


def median_replicates(
    tasks: Tasks, *, seed: int, sources: Sequence[Sources] | None = None, resamples: int = RESAMPLES
) -> Replicates:
    """Returns the median over tasks of the mean over runs, for every resample of the tasks' runs.

    Where tasks have not all of the sources, resamples without any run of some task are left out.
    """
    means = []
    for values, counts in _drawn(tasks, sources, seed=seed, resamples=resamples):
        total = counts.sum(axis=1)
        means.append(np.where(total > 0, counts @ values, np.nan) / np.maximum(total, 1))
    medians = np.median(means, axis=0)
    whole: Replicates = medians[~np.isnan(medians)]
    return whole


def iqm_replicates(
    tasks: Tasks,
    *,
    seed: int,
    sources: Sequence[Sources] | None = None,
    resamples: int = RESAMPLES,
    stream: int = 0,
) -> Replicates:
    """Returns the interquartile mean of every resample of the tasks' runs.

    ``stream`` tells apart draws that have to be independent of each other under one seed.
    """
    drawn = _drawn(tasks, sources, seed=seed, resamples=resamples, stream=stream)
    values, counts = [array for array, _ in drawn], [array for _, array in drawn]
    pooled = np.concatenate(values)
    ascending = np.argsort(pooled, kind="stable")
    step = max(1, _CELLS_AT_ONCE // len(pooled))
    return np.concatenate(
        [
            _iqm_of_counts(
                pooled[ascending],
                np.concatenate([array[start : start + step] for array in counts], axis=1)[:, ascending],
            )
            for start in range(0, resamples, step)
        ]
    )


def iqm_band(
    curves: Float[np.ndarray, "runs points"], *, seed: int, sources: Sources = None, resamples: int = BAND_RESAMPLES
) -> Band:
    """Returns the IQM curve with a pointwise 95 % bootstrap band over runs.

    Whole runs (or sources) are resampled, so every replicate is a curve. The band is pointwise: a whole curve leaves
    it more often than in 5 % of cases.
    """
    curves = np.asarray(curves, dtype=float)
    order, units = _arranged(curves, sources)
    middle = iqm(curves[order], axis=0)
    strata = int(units[-1]) + 1
    if strata < 2:
        return Band(middle, None, None)
    counts = counts_of(strata, resamples, seed, 0)[:, units]
    drawn = np.empty((resamples, curves.shape[1]))
    for point, column in enumerate(curves[order].T):
        ascending = np.argsort(column, kind="stable")
        drawn[:, point] = _iqm_of_counts(column[ascending], counts[:, ascending])
    low, high = np.quantile(drawn, widened_tails(strata), axis=0)
    return Band(middle, low, high)


def widened_tails(runs: int, *, of_sources: bool = False) -> tuple[float, float]:
    """Returns the tails of a percentile interval of so many runs; see the module's text.

    Args:
        runs: How many runs (or sources) are resampled.
        of_sources: Whether they are sources that serve several tasks.

    >>> [round(tail, 4) for tail in widened_tails(5)]
    [0.0142, 0.9858]
    """
    outer = scipy.stats.t(runs - 1) if of_sources else scipy.stats.norm
    tail = float(scipy.stats.norm.cdf(outer.ppf((1 - LEVEL) / 2) * np.sqrt(runs / (runs - 1))))
    return tail, 1 - tail


def smallest_stratum(tasks: Tasks, sources: Sequence[Sources] | None = None) -> int:
    """Returns how many runs (or sources, where these serve several runs each) the smallest task has to resample."""
    return fewest_units([len(task) for task in tasks], sources or [None] * len(tasks))


@functools.lru_cache(maxsize=16)
def counts_of(units: int, resamples: int, seed: int, stream: int) -> Counts:
    """Returns how often each unit occurs in each resample; every row sums to ``units``."""
    picks = np.random.default_rng([seed, stream]).integers(units, size=(resamples, units))
    cells = (picks + units * np.arange(resamples)[:, None]).ravel()
    counts: Counts = np.bincount(cells, minlength=resamples * units).reshape(resamples, units).astype(np.int16)
    counts.setflags(write=False)
    return counts


def _drawn(
    tasks: Tasks, sources: Sequence[Sources] | None, *, seed: int, resamples: int, stream: int = 0
) -> list[tuple[Float[np.ndarray, " runs"], Counts]]:
    """Returns the numbers of each task, with how often each is in each resample."""
    given = sources or [None] * len(tasks)
    together = linked(given)
    places = _places([(tasks[at], given[at] or ()) for at in together])
    drawn = []
    for task, (numbers, run_sources) in enumerate(zip(tasks, given, strict=True)):
        array = np.asarray(numbers, dtype=float)
        if task in together:
            counts = counts_of(len(places), resamples, seed, stream + 2 * together[0])
            drawn.append((array, counts[:, [places[source] for source in run_sources or ()]]))
        else:
            order, units = _arranged(array[:, None], run_sources)
            drawn.append((array[order], counts_of(int(units[-1]) + 1, resamples, seed, stream + 2 * task)[:, units]))
    return drawn


def _places(tasks: Sequence[tuple[Numbers, Sequence[str]]]) -> dict[str, int]:
    """Returns a place for each source of several tasks that depends on its numbers, and not on the order of runs."""
    every = {source for _, sources in tasks for source in sources}
    scores = {
        source: [
            sorted(float(value) for value, whose in zip(values, sources, strict=True) if whose == source)
            for values, sources in tasks
        ]
        for source in every
    }
    return {source: place for place, source in enumerate(sorted(every, key=scores.__getitem__))}


def _arranged(
    rows: Float[np.ndarray, "runs points"], sources: Sources
) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Returns an order of the runs that does not depend on the one given, and the unit that each belongs to in it."""
    order = np.lexsort(rows.T[::-1])
    if sources is None or units_of(len(rows), sources) == len(rows):
        return order, np.arange(len(rows))
    members = [[i for i in order if sources[i] == source] for source in set(sources)]
    members.sort(key=lambda runs: [tuple(rows[i]) for i in runs])
    return np.concatenate(members), np.repeat(np.arange(len(members)), [len(runs) for runs in members])


def _iqm_of_counts(ascending: Float[np.ndarray, " runs"], counts: Counts) -> Replicates:
    """Returns the interquartile mean of each resample, from how often each of the ascending values is in it."""
    upto = np.cumsum(counts, axis=1, dtype=np.int32)
    total = upto[:, -1:]
    cut = total // 4
    kept = np.diff(np.clip(upto, cut, total - cut), axis=1, prepend=cut)
    means: Replicates = kept @ ascending / (total - 2 * cut)[:, 0]
    return means


def _widened(value: float, replicates: Replicates, units: int, *, of_sources: bool = False) -> Estimate:
    low, high = np.quantile(replicates, widened_tails(units, of_sources=of_sources))
    return Estimate(value, float(low), float(high))
