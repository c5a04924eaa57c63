"""What an estimate is, and the estimates that are plain numbers."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

LEVEL = 0.95
Numbers = Sequence[float] | Float[np.ndarray, " runs"]
Tasks = Sequence[Numbers]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval; one run has no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Band:
    """A curve over seeds: the interquartile mean and a pointwise 95 % band (None for a single run)."""

    middle: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"] | None
    high: Float[np.ndarray, " points"] | None


def finite(values: Numbers) -> Float[np.ndarray, " runs"]:
    """Returns the values in ascending order, so that no statistic depends on the order of runs.

    Raises:
        ValueError: There is none, or one is not finite: callers say which run lacks a score, and why.
    """
    array = np.sort(np.asarray(values, dtype=float))
    if not len(array) or not np.all(np.isfinite(array)):
        raise ValueError(f"statistics need at least one number, all finite; got {array.tolist()}")
    return array


def iqm(values: Float[np.ndarray, "... runs"], axis: int = -1) -> Float[np.ndarray, "..."]:
    """Returns the interquartile mean: the mean without the lowest and highest quarter (each rounded down) of the runs.

    Agarwal et al., NeurIPS 2021, section 4.3.

    >>> float(iqm(np.array([0.0, 1.0, 2.0, 100.0])))
    1.5
    """
    ordered = np.sort(np.moveaxis(np.asarray(values, dtype=float), axis, -1), axis=-1)
    cut = ordered.shape[-1] // 4
    middle = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    # Sorting puts a NaN among the highest, where it would be trimmed as if the run had done well.
    whole: Float[np.ndarray, ...] = np.where(np.isnan(ordered[..., -1]), np.nan, middle)
    return whole


def share_better(arm: Numbers, baseline: Numbers) -> float:
    """Returns the share of pairs of runs in which the arm's is better; ties count half.

    The Mann-Whitney statistic over its largest value: "probability of improvement" of Agarwal et al., NeurIPS 2021,
    section 4.3.

    >>> share_better([2.0, 3.0], [1.0, 2.0])
    0.875
    """
    a, b = finite(arm), finite(baseline)
    return float(((np.sign(a[:, None] - b[None, :]) + 1) / 2).mean())


def shortfall(normalised: Numbers, gamma: float = 1.0) -> Float[np.ndarray, " runs"]:
    """Returns by how much each run falls short of ``gamma``, 0 where it does not, in the order of the runs.

    Its mean is the optimality gap of Agarwal et al., NeurIPS 2021, section 4.3, for scores that are 0 for a random
    policy and 1 for the reference.

    >>> shortfall([0.25, 1.5]).tolist()
    [0.75, 0.0]
    """
    gaps: Float[np.ndarray, " runs"] = gamma - np.minimum(np.asarray(normalised, dtype=float), gamma)
    return gaps
