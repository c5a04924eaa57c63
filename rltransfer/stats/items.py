"""Estimates shares of right answers over runs and test items at once: another study would have others of both.

Runs and items are crossed: each run answers each item. The variance of a mean over both is that over items plus that
over runs, each of means over the other (Cameron, Gelbach and Miller, JBES 2011, without the term that is taken off for
what both share, so that intervals are rather too wide).
"""

import math

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from rltransfer.stats.estimates import Estimate
from rltransfer.stats.intervals import share_of_variance, t_interval, welch_freedom

Hits = Bool[np.ndarray, "runs items"]


def accuracy(hits: Hits) -> Estimate:
    """Returns the share of right answers with Wilson's interval, for the number of items that its variance stands for.

    Of one run the interval is over items alone. An accuracy of 0 or 1 shows no variance, and every item counts.

    >>> accuracy(np.arange(100)[None] < 90)
    Estimate(value=0.9, low=0.824..., high=0.945...)

    Args:
        hits: Whether each run is right about each item, of which there are two or more.
    """
    n_items = hits.shape[1]
    value = float(hits.mean())
    terms = [_term(hits.mean(axis=0)), *([_term(hits.mean(axis=1))] if len(hits) > 1 else [])]
    return share_of_variance(value, terms, most=n_items, without_variance=n_items)


def accuracy_difference(hits: Hits, others: Hits) -> Estimate:
    """Returns the difference of two accuracies on the same items, with its t interval over items and runs.

    Where all items and runs show the same difference there is no variance, and the interval is Newcombe's (Statistics
    in Medicine 1998), from those of both accuracies.
    """
    value = float(hits.mean() - others.mean())
    low, high = _ends(t_interval(value, _terms_of_difference(hits, others)))
    if low == high:
        (low_hits, high_hits), (low_others, high_others) = _ends(accuracy(hits)), _ends(accuracy(others))
        low = value - math.hypot(hits.mean() - low_hits, high_others - others.mean())
        high = value + math.hypot(high_hits - hits.mean(), others.mean() - low_others)
    return Estimate(value, max(-1.0, low), min(1.0, high))


def accuracy_p(hits: Hits, others: Hits) -> float:
    """Returns the two-sided p-value of the t test over items and runs that two accuracies are equal.

    Where all items show the same difference there is no variance, and it is that of the sign test over items.

    >>> right, wrong = np.ones((2, 9), dtype=bool), np.zeros((2, 9), dtype=bool)
    >>> accuracy_p(right, right), accuracy_p(right, wrong)
    (1.0, 0.00390625)
    """
    difference = abs(float(hits.mean() - others.mean()))
    terms = _terms_of_difference(hits, others)
    variance = math.fsum(term for term, _ in terms)
    if variance == 0:
        return float(2 * 0.5 ** hits.shape[1]) if difference else 1.0
    return float(2 * scipy.stats.t.sf(difference / math.sqrt(variance), welch_freedom(terms)))


def _terms_of_difference(hits: Hits, others: Hits) -> list[tuple[float, float]]:
    """Returns the variances of a difference over items, in pairs, and over the runs of both, each with its freedom."""
    of_runs = [_term(rows.mean(axis=1)) for rows in (hits, others) if len(rows) > 1]
    return [_term(hits.mean(axis=0) - others.mean(axis=0)), *of_runs]


def _ends(estimate: Estimate) -> tuple[float, float]:
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


def _term(values: Float[np.ndarray, " values"]) -> tuple[float, float]:
    """Returns the variance of a mean with its degrees of freedom."""
    if len(values) < 2:
        raise ValueError("an interval over items needs two of them")
    return float(values.var(ddof=1)) / len(values), len(values) - 1.0
