"""Decides what may be said: permutation tests, their correction for several arms, and the verdict."""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

from rltransfer.stats.estimates import Numbers, finite
from rltransfer.stats.intervals import welch_freedom

ALPHA = 0.05
EXACT_SPLITS = 200_000
MONTE_CARLO_SPLITS = 99_999
_TIE = 1e-8

Verdict = Literal["positive", "negative", "inconclusive"]


def permutation_p(arm: Numbers, baseline: Numbers, *, seed: int) -> float:
    """Returns the p-value of the two-sided unpaired permutation test on the difference of means.

    Null hypothesis: the labels of the runs are exchangeable, so transfer changes nothing about the scores. Exact over
    all splits when there are at most ``EXACT_SPLITS``; otherwise Monte Carlo from ``seed`` with the +1 correction,
    which keeps the test valid. Two-sided: twice the smaller tail.

    With more runs of one than of the other a wide spread in the smaller group alone would look like a difference of
    means far too often (measured: docs/statistics.md). There the p-value is the larger one of this test's and Welch's.

    >>> permutation_p([4.0, 5.0, 6.0], [1.0, 2.0, 3.0], seed=0)
    0.1
    """
    a, b = finite(arm), finite(baseline)
    low, high = min(a[0], b[0]), max(a[-1], b[-1])
    if low == high:
        return 1.0
    # On one scale, so that rounding is told from real differences by one tolerance, whatever the unit and the zero.
    a, b = (a - low) / (high - low), (b - low) / (high - low)
    picks, exact = _splits(len(a), len(b), seed)
    # All splits have the same total and sizes: the sum of the first orders them as the difference of means does.
    sums, observed = np.concatenate([a, b])[picks].sum(axis=1), a.sum()
    above, below = (int(np.count_nonzero(tail)) for tail in (sums >= observed - _TIE, sums <= observed + _TIE))
    extra = 0 if exact else 1
    p_value = min(1.0, 2 * (min(above, below) + extra) / (len(picks) + extra))
    return p_value if len(a) == len(b) else max(p_value, _welch_p(a, b))


def smallest_p(runs_arm: int, runs_baseline: int) -> float:
    """Returns the smallest p-value that ``permutation_p`` can reach with so many runs, whatever the scores.

    >>> smallest_p(3, 3), round(smallest_p(5, 5), 4)
    (0.1, 0.0079)
    """
    splits = math.comb(runs_arm + runs_baseline, runs_arm)
    return min(1.0, 2 / (splits if splits <= EXACT_SPLITS else MONTE_CARLO_SPLITS + 1))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Returns p-values adjusted by Holm's step-down method, in the order given.

    Rejecting where an adjusted value is at most alpha keeps the chance of any false alarm in the family at alpha or
    below, whatever the dependence between the tests (Holm, Scandinavian Journal of Statistics 1979). Of the smallest
    p-values that an arm can reach, it returns the smallest adjusted ones, since it never decreases in any argument.

    >>> holm([0.01, 0.04, 0.03])
    (0.03, 0.06, 0.06)
    """
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, running)
    return tuple(adjusted)


def verdict(difference: float, p_adjusted: float) -> Verdict:
    """Returns what the test allows to say at ``ALPHA``; "inconclusive" is not "equal".

    >>> verdict(3.0, 0.01), verdict(-3.0, 0.01), verdict(3.0, 0.2)
    ('positive', 'negative', 'inconclusive')
    """
    if p_adjusted > ALPHA or difference == 0:
        return "inconclusive"
    return "positive" if difference > 0 else "negative"


def _splits(first: int, second: int, seed: int) -> tuple[Int[np.ndarray, "splits first"], bool]:
    """Returns which of the pooled runs are taken for the arm's in each split, and whether these are all splits."""
    exact = math.comb(first + second, first) <= EXACT_SPLITS
    return (all_splits(first, second) if exact else _drawn_splits(first, second, MONTE_CARLO_SPLITS, seed)), exact


@functools.lru_cache(maxsize=4)
def all_splits(first: int, second: int) -> Int[np.ndarray, "splits first"]:
    """Returns every way of taking ``first`` of the pooled runs for the arm's."""
    flat = itertools.chain.from_iterable(itertools.combinations(range(first + second), first))
    return np.fromiter(flat, dtype=np.int16).reshape(-1, first)


@functools.lru_cache(maxsize=4)
def _drawn_splits(first: int, second: int, splits: int, seed: int) -> Int[np.ndarray, "splits first"]:
    everyone = np.tile(np.arange(first + second, dtype=np.int16), (splits, 1))
    return np.random.default_rng(seed).permuted(everyone, axis=1)[:, :first].copy()


def _welch_p(a: Float[np.ndarray, " runs"], b: Float[np.ndarray, " others"]) -> float:
    """Returns the p-value of Welch's t test; 0 where it cannot be asked, since a single run has no spread."""
    if min(len(a), len(b)) < 2:
        return 0.0
    squares = [float(x.var(ddof=1)) / len(x) for x in (a, b)]
    difference = abs(float(a.mean() - b.mean()))
    if sum(squares) == 0:
        return float(difference == 0)
    freedom = welch_freedom([(square, len(x) - 1) for square, x in zip(squares, (a, b), strict=True)])
    return 2 * float(scipy.stats.t.sf(difference / math.sqrt(sum(squares)), freedom))
