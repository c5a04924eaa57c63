"""Estimates shares of right answers over runs and test items at once: another study would have others of both.

Runs and items are crossed: each run answers each item. The variance of a mean over both is that over items plus that
over runs, each of means over the other (Cameron, Gelbach and Miller, JBES 2011, without the term that is taken off for
what both share, so that intervals are rather too wide).
"""

import math

import numpy as np
import scipy.stats
from jaxtyping import Bool, Float

from rltransfer.stats.estimates import LEVEL, Estimate
from rltransfer.stats.intervals import t_quantile, welch_freedom, wilson

Hits = Bool[np.ndarray, "runs items"]
_NORMAL_QUANTILE = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))


def accuracy(hits: Hits) -> Estimate:
    """Returns the share of right answers with Wilson's interval, for as many items as its variance is worth.

    Of one run the interval is over items alone; an accuracy of 0 or 1 counts each item once.

    >>> accuracy(np.arange(100)[None] < 90)
    Estimate(value=0.9, low=0.824..., high=0.945...)

    Args:
        hits: Whether each run is right about each item.
    """
    n_items = hits.shape[1]
    value = float(hits.mean())
    squares = _squares(hits.astype(float))
    total = math.fsum(square for square, _ in squares)
    worth = float(n_items)
    if total > 0:
        cost = (_NORMAL_QUANTILE / t_quantile(welch_freedom(squares))) ** 2
        worth = min(worth, value * (1 - value) / total * cost)
    low, high = wilson(np.asarray(value * worth), worth)
    return Estimate(value, float(low), float(high))


def accuracy_difference(hits: Hits, others: Hits) -> Estimate:
    """Returns the difference of two accuracies on the same items, with its t interval over items and runs."""
    value = float(hits.mean() - others.mean())
    squares = _squares_of_difference(hits, others)
    total = math.fsum(square for square, _ in squares)
    margin = t_quantile(welch_freedom(squares)) * math.sqrt(total) if total > 0 else 0.0
    return Estimate(value, value - margin, value + margin)


def accuracy_p(hits: Hits, others: Hits) -> float:
    """Returns the two-sided p-value of the t test over items and runs that two accuracies are equal.

    >>> right, wrong = np.ones((2, 9), dtype=bool), np.zeros((2, 9), dtype=bool)
    >>> accuracy_p(right, right), accuracy_p(right, wrong)
    (1.0, 0.0)
    """
    squares = _squares_of_difference(hits, others)
    total = math.fsum(square for square, _ in squares)
    difference = abs(float(hits.mean() - others.mean()))
    if total == 0:
        return 0.0 if difference else 1.0
    return float(2 * scipy.stats.t.sf(difference / math.sqrt(total), welch_freedom(squares)))


def _squares_of_difference(hits: Hits, others: Hits) -> list[tuple[float, float]]:
    """Returns the variances of a difference over items, in pairs, and over the runs of both, each with its freedom."""
    of_runs = [_square(rows.mean(axis=1)) for rows in (hits, others) if len(rows) > 1]
    return [_square(hits.mean(axis=0) - others.mean(axis=0)), *of_runs]


def _squares(hits: Float[np.ndarray, "runs items"]) -> list[tuple[float, float]]:
    return [_square(hits.mean(axis=0)), *([_square(hits.mean(axis=1))] if len(hits) > 1 else [])]


def _square(values: Float[np.ndarray, " values"]) -> tuple[float, float]:
    """Returns the variance of a mean with its degrees of freedom."""
    return float(values.var(ddof=1)) / len(values), len(values) - 1.0
