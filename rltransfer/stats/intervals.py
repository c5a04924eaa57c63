"""Intervals in closed form, over the runs of one task: means, differences, ratios, medians, shares of pairs.

Which method serves which estimate was chosen by measured coverage (``rltransfer.stats.coverage``, docs/statistics.md).
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.stats
from jaxtyping import Float

from rltransfer.stats.clusters import (
    MeanFacts,
    Part,
    Sources,
    fewest_units,
    independent_terms,
    is_clustered,
    mean_facts,
)
from rltransfer.stats.estimates import LEVEL, Estimate, Numbers, finite, share_better

_UPPER = (1 + LEVEL) / 2
_NORMAL_QUANTILE = float(scipy.stats.norm.ppf(_UPPER))


@dataclasses.dataclass(frozen=True)
class CensoredMean:
    """Times that are censored at a common horizon: their restricted mean, and how many runs reached the event."""

    restricted_mean: Estimate
    reached: int
    runs: int


def mean(values: Numbers, sources: Sources = None) -> Estimate:
    """Returns the mean with Student's t interval, the uncertainty of the mean over new seeds.

    With ``sources`` that serve several runs each it is the interval over new sources and seeds (``mean_facts``).
    """
    return _combined([(1.0, mean_facts(values, sources))])


def mean_difference(
    arm: Numbers,
    baseline: Numbers,
    sources: Sources = None,
    baseline_sources: Sources = None,
) -> Estimate:
    """Returns mean(arm) - mean(baseline) with Welch's 95 % t interval; no interval if either has a single run.

    Welch's interval allows the arms different variances. It describes this one difference: it is not corrected for
    the number of arms, so it may exclude 0 where the verdict, which is corrected, is inconclusive.

    Args:
        arm: One number per run of the arm.
        baseline: One number per run of what it is compared with.
        sources: Which source each run of the arm started from (``mean_facts``).
        baseline_sources: The same of the baseline's runs.

    >>> mean_difference([4.0, 6.0], [1.0, 3.0]).value
    3.0
    """
    return _combined([(1.0, mean_facts(arm, sources)), (-1.0, mean_facts(baseline, baseline_sources))])


def paired_difference(arm: Numbers, other: Numbers, sources: Sources = None) -> Estimate:
    """Returns the mean of arm - other, pair by pair in the order given, with its t interval over pairs.

    For runs that share something by pairs, as an arm and its control share the source agent of each seed: what a
    strong source adds to both falls out of the difference.

    Args:
        arm: One number per run of the arm.
        other: One number per run of the other arm, in the order of the first's.
        sources: Which source each pair started from (``mean_facts``).

    >>> paired_difference([3.0, 13.0], [1.0, 11.0])
    Estimate(value=2.0, low=2.0, high=2.0)
    """
    return mean(np.asarray(arm, dtype=float) - np.asarray(other, dtype=float), sources)


def mean_over_tasks(tasks: Sequence[Numbers], sources: Sequence[Sources] | None = None) -> Estimate:
    """Returns the average of the tasks' means; the interval is over new seeds on these tasks, not over new tasks.

    The tasks' variances add up, with the degrees of freedom of Welch and Satterthwaite; where the same sources serve
    several tasks, a source is averaged over tasks first, and the interval is over sources.

    Args:
        tasks: The numbers of each task, one per run.
        sources: For each task, which source each run started from.
    """
    return _combined(independent_terms(_parts(1 / len(tasks), tasks, sources)))


def difference_over_tasks(
    arm: Sequence[Numbers],
    baseline: Sequence[Numbers],
    sources: Sequence[Sources] | None = None,
    baseline_sources: Sequence[Sources] | None = None,
) -> Estimate:
    """Returns the average over tasks of mean(arm) - mean(baseline), with its t interval over new seeds.

    Args:
        arm: The arm's numbers on each task, one per run.
        baseline: Those of what it is compared with.
        sources: For each task, which source each run of the arm started from (``mean_over_tasks``).
        baseline_sources: The same of the baseline's runs.
    """
    parts = [*_parts(1 / len(arm), arm, sources), *_parts(-1 / len(arm), baseline, baseline_sources)]
    return _combined(independent_terms(parts))


def ratio(
    terms: Sequence[tuple[float, float, MeanFacts]], constants: tuple[float, float] = (0.0, 0.0)
) -> Estimate | None:
    """Returns a ratio of two sums of independent means, with Fieller's interval; None where it would be unbounded.

    Args:
        terms: For each mean its factor in the numerator, its factor in the denominator, and the mean.
        constants: What is added to numerator and denominator.

    None is returned where the denominator is not clearly apart from 0 at the interval's level (Fieller, Journal of the
    Royal Statistical Society B 1954): a ratio to it would mean nothing.
    """
    above = constants[0] + math.fsum(up * part.value for up, _, part in terms)
    below = constants[1] + math.fsum(down * part.value for _, down, part in terms)
    if below == 0 or any(part.freedom == 0 for _, _, part in terms):
        return None
    share = above / below
    freedom = welch_freedom([((up - share * down) ** 2 * part.variance, part.freedom) for up, down, part in terms])
    variances = (
        math.fsum(up**2 * part.variance for up, _, part in terms),
        math.fsum(down**2 * part.variance for _, down, part in terms),
        math.fsum(up * down * part.variance for up, down, part in terms),
    )
    return _fieller((above, below), variances, freedom)


def share_of_gain(
    arm: Numbers,
    control: Numbers,
    baseline: Numbers,
    *,
    paired: bool,
    sources: Sources = None,
    control_sources: Sources = None,
) -> Estimate | None:
    """Returns (control - baseline) / (arm - baseline) on means, with Fieller's interval; None where that is unbounded.

    The share of an arm's gain that its control has too. None when the gain itself is not clearly positive, or an arm
    is a single run: a ratio to it means nothing. It is asked of arms that were found to gain, whose gains are
    overestimated for being found: so the share is, if anything, an underestimate.

    Args:
        arm: One number per run of the arm.
        control: One number per run of its control.
        baseline: One number per run of the baseline.
        paired: Whether run i of arm and control share their source agent.
        sources: Which source each run of the arm started from (``mean_facts``).
        control_sources: The same of the control's runs; where these are paired it is the arm's.
    """
    facts = [
        mean_facts(arm, sources),
        mean_facts(control, sources if paired else control_sources),
        mean_facts(baseline),
    ]
    gain, shared, zero = facts
    if min(part.freedom for part in facts) == 0 or gain.value <= zero.value:
        return None
    if not paired:
        return ratio([(0.0, 1.0, gain), (1.0, 0.0, shared), (-1.0, -1.0, zero)])
    a, c = (np.asarray(values, dtype=float) for values in (arm, control))
    common = _covariance(a - gain.value, c - shared.value, sources)
    above, below = shared.value - zero.value, gain.value - zero.value
    left = mean_facts(c - above / below * a, sources)
    variances = (shared.variance + zero.variance, gain.variance + zero.variance, common + zero.variance)
    freedom = welch_freedom([(left.variance, left.freedom), ((1 - above / below) ** 2 * zero.variance, zero.freedom)])
    return _fieller((above, below), variances, freedom)


def median(values: Numbers, sources: Sources = None) -> Estimate:
    """Returns the median with an interval between order statistics, which holds for any continuous distribution.

    Interpolated as in Hettmansperger and Sheather, Statistics & Probability Letters 1986. With fewer than six runs no
    two order statistics reach 95 %: the interval is the range, which covers 1 - 2^(1 - runs). With ``sources`` that
    serve several runs each its ends are the order statistics around those of the interval of the share of runs below
    the median (``share_interval``; Woodruff, JASA 1952).

    >>> median([1.0, 2.0, 4.0, 8.0, 9.0])
    Estimate(value=4.0, low=1.0, high=9.0)
    """
    ordered = finite(values)
    runs = len(ordered)
    middle = float(np.median(ordered))
    if runs < 2:
        return Estimate(middle)
    if sources is not None and is_clustered(runs, sources):
        whole = share_interval(0.5, [Part(1.0, np.asarray(values, dtype=float) <= middle, sources)])
        low = float(np.quantile(ordered, whole.low or 0.0, method="lower"))
        return Estimate(middle, low, float(np.quantile(ordered, whole.high or 1.0, method="higher")))
    covers = [1 - 2 * float(scipy.stats.binom.cdf(depth, runs, 0.5)) for depth in range((runs + 1) // 2)]
    outer = sum(cover >= LEVEL for cover in covers)
    if outer == 0:
        return Estimate(middle, float(ordered[0]), float(ordered[-1]))
    inner = covers[outer] if outer < len(covers) else 0.0
    way = (covers[outer - 1] - LEVEL) / (covers[outer - 1] - inner)
    weight = (runs - outer) * way / (outer + (runs - 2 * outer) * way)
    low, high = (float((1 - weight) * side[outer - 1] + weight * side[outer]) for side in (ordered, ordered[::-1]))
    return Estimate(middle, low, high)


def probability_of_improvement(
    arm: Numbers, baseline: Numbers, sources: Sources = None, baseline_sources: Sources = None
) -> Estimate:
    """Returns the chance that a run of the arm beats a run of the baseline, with its interval; ties count half.

    Newcombe, Statistics in Medicine 2006 (part 2), method 5: a score interval, which stays honest where every run of
    the arm is better (a bootstrap of runs would call that certain). It is too narrow where spreads differ much.
    Where sources serve several runs each it is that of ``improvement_over_tasks``.
    """
    value = share_better(arm, baseline)
    runs = (len(finite(arm)), len(finite(baseline)))
    if min(runs) < 2:
        return Estimate(value)
    if is_clustered(runs[0], sources) or is_clustered(runs[1], baseline_sources):
        return improvement_over_tasks([arm], [baseline], [sources], [baseline_sources])
    return Estimate(value, *_newcombe(value, *runs))


def improvement_over_tasks(
    arm: Sequence[Numbers],
    baseline: Sequence[Numbers],
    sources: Sequence[Sources],
    baseline_sources: Sequence[Sources],
) -> Estimate:
    """Returns the probability of improvement averaged over tasks, over new sources where these serve several runs.

    The share of the baseline that each run beats, and the share of the arm that beats each run of the baseline, are
    what the runs add to the average: its variance is that of these (Obuchowski, Biometrics 1997).

    Args:
        arm: The arm's numbers on each task, one per run.
        baseline: Those of what it is compared with.
        sources: For each task, which source each run of the arm started from.
        baseline_sources: The same of the baseline's runs.
    """
    wins = [_wins(arm_runs, baseline_runs) for arm_runs, baseline_runs in zip(arm, baseline, strict=True)]
    value = math.fsum(
        share_better(arm_runs, baseline_runs) for arm_runs, baseline_runs in zip(arm, baseline, strict=True)
    ) / len(wins)
    parts = [
        *_parts(1 / len(wins), [task_wins.mean(axis=1) for task_wins in wins], sources),
        *_parts(1 / len(wins), [task_wins.mean(axis=0) for task_wins in wins], baseline_sources),
    ]
    return share_interval(value, parts)


def share_interval(value: float, parts: Sequence[Part]) -> Estimate:
    """Returns a share with Wilson's interval for as many runs as its variance over sources is worth.

    Korn and Graubard, Survey Methodology 1998: that many independent runs would have this variance, less what a
    variance costs that few sources tell. A share of 0 or 1 shows no variance, and then each source counts as one run,
    which is the most that a share can vary.

    Args:
        value: The share, from 0 to 1.
        parts: What the runs add to it; the sum of their means varies as the share does.
    """
    terms = independent_terms(parts)
    if any(term.freedom == 0 for _, term in terms):
        return Estimate(value)
    squares = [(factor**2 * term.variance, term.freedom) for factor, term in terms]
    units = fewest_units([len(part.values) for part in parts], [part.sources for part in parts])
    return share_of_variance(value, squares, most=sum(len(part.values) for part in parts), without_variance=units)


def share_of_variance(
    value: float, squares: Sequence[tuple[float, float]], *, most: int, without_variance: int
) -> Estimate:
    """Returns a share with Wilson's interval for as many independent cases as would have its variance.

    Args:
        value: The share.
        squares: The terms of its variance, each with its degrees of freedom.
        most: How many cases it stands for at most.
        without_variance: How many it stands for where it shows no variance.
    """
    total = math.fsum(square for square, _ in squares)
    worth = float(without_variance)
    if total > 0:
        cost = (_NORMAL_QUANTILE / _t_quantile(welch_freedom(squares))) ** 2
        worth = min(value * (1 - value) / total * cost, most)
    low, high = wilson(np.asarray(value * worth), worth)
    return Estimate(value, float(low), float(high))


def wilson(hits: Float[np.ndarray, "..."], runs: float) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Returns the ends of Wilson's score interval of shares ``hits / runs`` (JASA 1927)."""
    z = _NORMAL_QUANTILE
    share = np.asarray(hits, dtype=float) / runs
    centre = (share + z**2 / (2 * runs)) / (1 + z**2 / runs)
    margin = z / (1 + z**2 / runs) * np.sqrt(share * (1 - share) / runs + z**2 / (4 * runs**2))
    # Rounding leaves an end of 0 or 1 a hair outside, where a share of 0 or 1 would not lie in its own interval.
    return np.minimum(np.maximum(centre - margin, 0.0), share), np.maximum(np.minimum(centre + margin, 1.0), share)


def censored_mean(times: Numbers, reached: Sequence[bool], *, horizon: float, sources: Sources = None) -> CensoredMean:
    """Returns the mean of times that are cut at a common horizon, with the number of runs that reached the event.

    The restricted mean keeps failures, at the horizon: leaving them out would reward arms for failing. Its interval
    is cut to what such a mean can be; with ``sources`` that serve several runs each it is over new sources too.

    >>> censored_mean([30.0, 100.0], [True, False], horizon=100).restricted_mean
    Estimate(value=65.0, low=0.0, high=100.0)
    """
    whole = mean(times, sources)
    if whole.low is not None and whole.high is not None:
        whole = Estimate(whole.value, max(whole.low, 0.0), min(whole.high, float(horizon)))
    return CensoredMean(whole, int(np.sum(reached)), len(reached))


def welch_freedom(squares: Sequence[tuple[float, float]]) -> float:
    """Returns the degrees of freedom of a sum of variances by Welch and Satterthwaite."""
    total = math.fsum(square for square, _ in squares)
    if total == 0:
        return math.fsum(freedom for _, freedom in squares)
    return total**2 / math.fsum(square**2 / freedom for square, freedom in squares)


def _combined(parts: Sequence[tuple[float, MeanFacts]]) -> Estimate:
    """Returns a sum of independent means, each with its factor, and the t interval of Welch and Satterthwaite."""
    value = math.fsum(factor * part.value for factor, part in parts)
    if any(part.freedom == 0 for _, part in parts):
        return Estimate(value)
    return t_interval(value, [(factor**2 * part.variance, part.freedom) for factor, part in parts])


def t_interval(value: float, squares: Sequence[tuple[float, float]]) -> Estimate:
    """Returns a value with the t interval of a sum of variances, each with its degrees of freedom."""
    total = math.fsum(square for square, _ in squares)
    if total == 0:
        return Estimate(value, value, value)
    margin = _t_quantile(welch_freedom(squares)) * math.sqrt(total)
    return Estimate(value, value - margin, value + margin)


def _parts(factor: float, tasks: Sequence[Numbers], sources: Sequence[Sources] | None) -> list[Part]:
    given = sources or [None] * len(tasks)
    return [Part(factor, task, run_sources) for task, run_sources in zip(tasks, given, strict=True)]


def _wins(arm: Numbers, baseline: Numbers) -> Float[np.ndarray, "runs others"]:
    """Returns 1 where a run of the arm beats one of the baseline, 1/2 where they are equal, else 0."""
    a, b = np.asarray(arm, dtype=float), np.asarray(baseline, dtype=float)
    wins: Float[np.ndarray, "runs others"] = (np.sign(a[:, None] - b[None, :]) + 1) / 2
    return wins


def _covariance(first: Float[np.ndarray, " runs"], second: Float[np.ndarray, " runs"], sources: Sources) -> float:
    """Returns the covariance of two means, from the deviations of their runs (or sources), pair by pair."""
    if sources is not None and is_clustered(len(first), sources):
        belongs = [np.array([run_source == source for run_source in sources]) for source in sorted(set(sources))]
        first, second = (np.array([math.fsum(some[members]) for members in belongs]) for some in (first, second))
        return math.fsum(first * second) * len(belongs) / (len(belongs) - 1) / len(sources) ** 2
    return math.fsum(first * second) / (len(first) - 1) / len(first)


def _t_quantile(freedom: float) -> float:
    return float(scipy.stats.t.ppf(_UPPER, freedom))


def _fieller(terms: tuple[float, float], variances: tuple[float, float, float], freedom: float) -> Estimate | None:
    """Returns a ratio with all ratios r for which numerator - r * denominator is within its t interval of 0.

    Args:
        terms: Numerator and denominator.
        variances: The variance of each, and their covariance.
        freedom: Degrees of freedom of these.
    """
    above, below = terms
    of_above, of_below, of_both = variances
    t2 = _t_quantile(freedom) ** 2
    room = below**2 - t2 * of_below
    if room <= 0:
        return None
    # The discriminant of the quadratic, multiplied out: as a difference of squares it would lose what is small.
    spread = below**2 * of_above + above**2 * of_below - 2 * above * below * of_both
    half = math.sqrt(max(t2 * spread - t2**2 * (of_above * of_below - of_both**2), 0.0))
    middle = above * below - t2 * of_both
    return Estimate(above / below, (middle - half) / room, (middle + half) / room)


def _newcombe(value: float, runs: int, others: int) -> tuple[float, float]:
    def excess(share: float) -> float:
        pairs = (runs + others) / 2 - 1
        spread = 1 + pairs * ((1 - share) / (2 - share) + share / (1 + share))
        return (value - share) ** 2 - _NORMAL_QUANTILE**2 * share * (1 - share) * spread / (runs * others)

    tiny = 1e-12
    low = 0.0 if value <= tiny else float(scipy.optimize.brentq(excess, 0.0, min(value, 1 - tiny)))
    high = 1.0 if value >= 1 - tiny else float(scipy.optimize.brentq(excess, max(value, tiny), 1.0))
    return low, high
