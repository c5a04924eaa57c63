"""Performance profiles: the share of runs above each score, so that a mean cannot hide a tail."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from rltransfer.stats.clusters import Part, Sources, is_clustered, linked
from rltransfer.stats.estimates import Tasks, finite
from rltransfer.stats.intervals import share_interval, wilson


@dataclasses.dataclass(frozen=True)
class Profile:
    """The share of runs that score more than each of ``at``, with a pointwise 95 % band (None for a single run)."""

    at: Float[np.ndarray, " points"]
    share: Float[np.ndarray, " points"]
    low: Float[np.ndarray, " points"] | None
    high: Float[np.ndarray, " points"] | None


def profile(tasks: Tasks, at: Float[np.ndarray, " points"], sources: Sequence[Sources] | None = None) -> Profile:
    """Returns the share of runs above each score, averaged over tasks.

    The run-score distribution of Agarwal et al., NeurIPS 2021, section 4.3. At each score the number of runs above it
    is binomial: its interval is Wilson's, and those of several tasks are put together as by Zou and Donner (Statistics
    in Medicine 2008). So a share of 0 or 1 has an interval too. Where sources serve several runs, of one task or of
    several, the band is over new sources as well (``share_interval``).

    Args:
        tasks: The numbers of each task, one per run.
        at: Scores at which the share is asked.
        sources: For each task, which source each run started from.

    >>> profile([[1.0, 2.0, 3.0, 4.0]], np.array([0.0, 2.0])).share.tolist()
    [1.0, 0.5]
    """
    arrays = [finite(task) for task in tasks]
    above = [(array[None, :] > at[:, None]).sum(axis=1) for array in arrays]
    shares = [hits / len(array) for hits, array in zip(above, arrays, strict=True)]
    share = np.mean(shares, axis=0)
    if min(map(len, arrays)) < 2:
        return Profile(at, share, None, None)
    if sources is not None and (
        linked(sources)
        or any(is_clustered(len(task), run_sources) for task, run_sources in zip(tasks, sources, strict=True))
    ):
        return _over_sources(tasks, at, share, sources)
    ends = [wilson(hits, len(array)) for hits, array in zip(above, arrays, strict=True)]
    below = np.sqrt(sum((mean - low) ** 2 for mean, (low, _) in zip(shares, ends, strict=True))) / len(tasks)
    upper = np.sqrt(sum((high - mean) ** 2 for mean, (_, high) in zip(shares, ends, strict=True))) / len(tasks)
    return Profile(at, share, share - below, share + upper)


def _over_sources(
    tasks: Tasks,
    at: Float[np.ndarray, " points"],
    share: Float[np.ndarray, " points"],
    sources: Sequence[Sources],
) -> Profile:
    ends = []
    for point, value in zip(at, share, strict=True):
        parts = [
            Part(1 / len(tasks), (np.asarray(task, dtype=float) > point).astype(float), run_sources)
            for task, run_sources in zip(tasks, sources, strict=True)
        ]
        ends.append(share_interval(float(value), parts))
    if any(interval.low is None or interval.high is None for interval in ends):
        return Profile(at, share, None, None)
    low, high = (
        np.array(side, dtype=float) for side in zip(*((interval.low, interval.high) for interval in ends), strict=True)
    )
    return Profile(at, share, low, high)


def profile_points(arms: Tasks, most: int = 200) -> Float[np.ndarray, " points"]:
    """Returns the scores at which the profiles of several arms are drawn: every run's, and one below them all.

    A profile only steps at the scores of runs, so that nothing is lost; beyond ``most`` an even choice of them is made.
    """
    scores = np.unique(np.concatenate([finite(arm) for arm in arms]))
    if len(scores) > most:
        scores = scores[np.linspace(0, len(scores) - 1, most).round().astype(int)]
    span = max(float(scores[-1] - scores[0]), 1e-9)
    points: Float[np.ndarray, " points"] = np.concatenate([[scores[0] - 0.05 * span], scores])
    return points
