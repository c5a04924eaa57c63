"""What a study could have found: the power of the verdict's test for effects that somebody names.

Power is computed for normal scores with one spread in both arms, at the level that Holm's first step asks of one of
``tests`` arms (0.05 / tests): Holm only makes the test easier from there, so it is the least power, whatever the other
arms do. With unequal numbers of runs the test is the stricter one of two (``permutation_p``), and its power is
simulated. It is never computed from an observed effect, which only says the p-value again (Hoenig and Heisey, The
American Statistician 2001).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.stats
from jaxtyping import Float

from rltransfer.stats.estimates import Numbers, finite
from rltransfer.stats.tests import ALPHA, EXACT_SPLITS, all_splits, smallest_p

POWER = 0.8
MOST_RUNS = 1_000
# Where there are few splits, or few of them in the tail, attainable p-values are coarse and the permutation test itself
# is simulated; elsewhere it has the power of the t test.
_SIMULATED_SPLITS = 4_000
_COARSE_TAIL = 20
_SIMULATED_STUDIES = 4_000
_CELLS_IN_ALL = 100_000_000
_CELLS_AT_ONCE = 2_000_000
_SIMULATION_SEED = 0
# Beyond this non-centrality scipy's t distribution loses its digits; power is 1 to more of them than anyone reads.
_CERTAIN = 30.0
_PILOT_LEVEL = 0.8


@dataclasses.dataclass(frozen=True)
class Spread:
    """A standard deviation over seeds, with the degrees of freedom that it was estimated with (None: named)."""

    sd: float
    freedom: int | None = None

    @property
    def cautious_sd(self) -> float:
        """The upper end of the one-sided 80 % interval: a small pilot underestimates a spread every other time."""
        if not self.freedom:
            return self.sd
        return self.sd * math.sqrt(self.freedom / float(scipy.stats.chi2.ppf(1 - _PILOT_LEVEL, self.freedom)))


def pooled_spread(arms: Sequence[Numbers]) -> Spread | None:
    """Returns the standard deviation of runs around the mean of their arm; None without two runs in any arm.

    >>> pooled_spread([[1.0, 3.0], [11.0, 13.0]])
    Spread(sd=1.4142135623730951, freedom=2)
    """
    arrays = [finite(arm) for arm in arms if len(arm) > 1]
    freedom = sum(len(array) - 1 for array in arrays)
    if not freedom:
        return None
    return Spread(math.sqrt(math.fsum(((array - array.mean()) ** 2).sum() for array in arrays) / freedom), freedom)


def power_at(effect: float, sd: float, runs_arm: int, runs_baseline: int, *, tests: int) -> float:
    """Returns the chance that an arm whose true difference is ``effect`` gets the verdict that it deserves.

    Args:
        effect: True difference in means.
        sd: Standard deviation over seeds, the same in both arms.
        runs_arm: Seeds of the arm.
        runs_baseline: Seeds of the baseline.
        tests: How many arms are tested against the baseline (Holm's family).
    """
    level = ALPHA / tests
    if smallest_p(runs_arm, runs_baseline) > level:
        return 0.0
    size = math.inf if sd == 0 else abs(effect) / sd
    if _is_simulated(runs_arm, runs_baseline, level):
        return float(np.mean(_critical_sizes(runs_arm, runs_baseline, level) <= size))
    return 1.0 if math.isinf(size) else _t_power(size, runs_arm, runs_baseline, level)


def detectable_effect(sd: float, runs_arm: int, runs_baseline: int, *, tests: int, wanted: float = POWER) -> float:
    """Returns the smallest true difference that is found with the wanted power; infinity where none would be.

    See ``power_at`` for the arguments.
    """
    level = ALPHA / tests
    if smallest_p(runs_arm, runs_baseline) > level:
        return math.inf
    if _is_simulated(runs_arm, runs_baseline, level):
        return sd * float(np.quantile(_critical_sizes(runs_arm, runs_baseline, level), wanted))
    return sd * _detectable_size(runs_arm, runs_baseline, level, wanted)


def runs_for(effect: float, sd: float, *, tests: int, wanted: float = POWER) -> int | None:
    """Returns the fewest seeds per arm with which an effect is found with the wanted power; None beyond 1,000.

    See ``power_at`` for the arguments.

    >>> runs_for(30.0, 20.0, tests=1)
    9
    """

    def enough(runs: int) -> bool:
        return power_at(effect, sd, runs, runs, tests=tests) >= wanted

    if not enough(MOST_RUNS):
        return None
    low, high = 1, MOST_RUNS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@functools.lru_cache(maxsize=64)
def _detectable_size(runs_arm: int, runs_baseline: int, level: float, wanted: float) -> float:
    return float(
        scipy.optimize.brentq(lambda size: _t_power(size, runs_arm, runs_baseline, level) - wanted, 0.0, 100.0)
    )


def _t_power(size: float, runs_arm: int, runs_baseline: int, level: float) -> float:
    freedom = runs_arm + runs_baseline - 2
    apart = size / math.sqrt(1 / runs_arm + 1 / runs_baseline)
    if apart > _CERTAIN:
        return 1.0
    return float(scipy.stats.nct.sf(scipy.stats.t.ppf(1 - level / 2, freedom), freedom, apart))


def _is_simulated(runs_arm: int, runs_baseline: int, level: float) -> bool:
    """Returns whether the test differs from the t test: by unequal numbers of runs, or by coarse p-values."""
    return runs_arm != runs_baseline or _is_coarse(runs_arm, runs_baseline, level)


def _is_coarse(runs_arm: int, runs_baseline: int, level: float) -> bool:
    splits = math.comb(runs_arm + runs_baseline, runs_arm)
    return splits <= _SIMULATED_SPLITS or (splits <= EXACT_SPLITS and _allowed(splits, level) < _COARSE_TAIL)


def _allowed(splits: int, level: float) -> int:
    """Returns how many splits may be at least as extreme, on the observed side, for a p-value at the level."""
    return math.floor(level * splits / 2 + 1e-9)


@functools.lru_cache(maxsize=64)
def _critical_sizes(runs_arm: int, runs_baseline: int, level: float) -> Float[np.ndarray, " studies"]:
    """Returns for each of many simulated studies without effect how large one has to be added for a verdict.

    With unequal numbers of runs the verdict waits for Welch's test as well.
    """
    coarse = _is_coarse(runs_arm, runs_baseline, level)
    most = _CELLS_IN_ALL // math.comb(runs_arm + runs_baseline, runs_arm) if coarse else _SIMULATED_STUDIES
    size = (min(most, _SIMULATED_STUDIES), runs_arm + runs_baseline)
    scores = np.random.default_rng(_SIMULATION_SEED).normal(size=size)
    sizes = (_split_sizes if coarse else _pooled_sizes)(scores, runs_arm, level)
    return sizes if runs_arm == runs_baseline else np.maximum(sizes, _welch_sizes(scores, runs_arm, level))


def _split_sizes(
    scores: Float[np.ndarray, "studies runs"], runs_arm: int, level: float
) -> Float[np.ndarray, " studies"]:
    """Returns how large an effect has to be added to each study for the permutation test to reach the level.

    Adding d to every run of the arm moves the sum of a split by d for each of the arm's runs in it: the observed split
    overtakes every other one at a d of that other's own. So the verdict begins where all but those splits are
    overtaken that a p-value at the level allows.
    """
    picks = all_splits(runs_arm, scores.shape[1] - runs_arm)
    chosen = np.zeros((len(picks), scores.shape[1]))
    np.put_along_axis(chosen, picks.astype(int), 1.0, axis=1)
    foreign = runs_arm - chosen[:, :runs_arm].sum(axis=1)
    others = foreign > 0
    last = int(others.sum()) - _allowed(len(picks), level)
    sizes = []
    for some in np.array_split(scores, max(1, len(picks) * len(scores) // _CELLS_AT_ONCE)):
        behind = some @ chosen[others].T - some[:, :runs_arm].sum(axis=1, keepdims=True)
        sizes.append(np.partition(behind / foreign[others], last, axis=1)[:, last])
    all_sizes: Float[np.ndarray, " studies"] = np.concatenate(sizes)
    return all_sizes


def _pooled_sizes(
    scores: Float[np.ndarray, "studies runs"], runs_arm: int, level: float
) -> Float[np.ndarray, " studies"]:
    """Returns how large an effect has to be added to each study for Student's test to reach the level."""
    parts = scores[:, :runs_arm], scores[:, runs_arm:]
    freedom = scores.shape[1] - 2
    square = sum(part.var(axis=1) * part.shape[1] for part in parts) / freedom
    needed = scipy.stats.t.ppf(1 - level / 2, freedom) * np.sqrt(square * sum(1 / part.shape[1] for part in parts))
    sizes: Float[np.ndarray, " studies"] = needed - (parts[0].mean(axis=1) - parts[1].mean(axis=1))
    return sizes


def _welch_sizes(
    scores: Float[np.ndarray, "studies runs"], runs_arm: int, level: float
) -> Float[np.ndarray, " studies"]:
    """Returns how large an effect has to be added to each study for Welch's test to reach the level.

    With a single run on either side that test is not asked, and no size is too small.
    """
    arm, baseline = scores[:, :runs_arm], scores[:, runs_arm:]
    if min(arm.shape[1], baseline.shape[1]) < 2:
        return np.full(len(scores), -np.inf)
    squares = [part.var(axis=1, ddof=1) / part.shape[1] for part in (arm, baseline)]
    whole = squares[0] + squares[1]
    freedom = whole**2 / (squares[0] ** 2 / (runs_arm - 1) + squares[1] ** 2 / (baseline.shape[1] - 1))
    needed = scipy.stats.t.ppf(1 - level / 2, freedom) * np.sqrt(whole)
    sizes: Float[np.ndarray, " studies"] = needed - (arm.mean(axis=1) - baseline.mean(axis=1))
    return sizes
