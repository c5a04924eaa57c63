"""Means of runs that share sources, within a task or between tasks: the source is the independent unit."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from rltransfer.stats.estimates import Numbers, finite

Sources = Sequence[str] | None


@dataclasses.dataclass(frozen=True)
class MeanFacts:
    """A mean, the variance of that mean, and the degrees of freedom of the variance (0: a single run, no variance)."""

    value: float
    variance: float
    freedom: float


@dataclasses.dataclass(frozen=True)
class Part:
    """The runs of one arm on one task as part of a sum of means: their factor in it, one number and source per run."""

    factor: float
    values: Numbers
    sources: Sources = None


def is_clustered(runs: int, sources: Sources) -> bool:
    """Returns whether several sources serve several runs each, so that these are not independent."""
    return 1 < len(set(sources or ())) < runs


def units_of(runs: int, sources: Sources) -> int:
    """Returns how many independent units the runs are: the sources where several serve several runs each."""
    return len(set(sources or ())) if is_clustered(runs, sources) else runs


def linked(groups: Sequence[Sources]) -> list[int]:
    """Returns which groups of runs share sources with another group; none where it is a single source that they share.

    As with the runs of one task, what is said of a single source is said of this source.

    >>> linked([["a", "b"], ["b", "a"], None, ["c", "d"]])
    [0, 1]
    """
    of = [set(sources or ()) for sources in groups]
    shared = [
        at for at, names in enumerate(of) if any(names & others for other, others in enumerate(of) if other != at)
    ]
    return shared if len(set().union(*(of[at] for at in shared))) > 1 else []


def fewest_units(runs: Sequence[int], groups: Sequence[Sources]) -> int:
    """Returns how many independent units the smallest of several groups of runs has.

    Args:
        runs: How many runs each group has.
        groups: For each group, which source each run started from; in linked groups (``linked``) they are the units.
    """
    together = linked(groups)
    return min(
        len(set(sources or ())) if at in together else units_of(number, sources)
        for at, (number, sources) in enumerate(zip(runs, groups, strict=True))
    )


def mean_facts(values: Numbers, sources: Sources = None) -> MeanFacts:
    """Returns a mean with its variance over new seeds.

    Args:
        values: One number per run.
        sources: Which source each run started from. Where several runs share one of several sources, they are not
            independent: the variance is that of the sources' means (each weighted by its runs), with one degree of
            freedom less than there are sources. With a single source the mean is that of this source.
    """
    array = finite(values)
    if sources is not None and is_clustered(len(array), sources):
        return _over_sources([Part(1.0, values, sources)])
    mean, runs = float(array.mean()), len(array)
    return MeanFacts(mean, 0.0, 0) if runs < 2 else MeanFacts(mean, float(array.var(ddof=1)) / runs, runs - 1)


def independent_terms(parts: Sequence[Part]) -> list[tuple[float, MeanFacts]]:
    """Returns independent terms, each with its factor, that add up to the sum of the parts' means.

    Parts that share sources (``linked``) become one term: what a source adds to all of them is added up first, and
    the variance is that of these sums over sources. For balanced parts it is that of the sources' averages over parts.
    """
    together = linked([part.sources for part in parts])
    terms = [
        (part.factor, mean_facts(part.values, part.sources)) for at, part in enumerate(parts) if at not in together
    ]
    return [*terms, (1.0, _over_sources([parts[at] for at in together]))] if together else terms


def _over_sources(parts: Sequence[Part]) -> MeanFacts:
    """Returns the sum of the parts' means, with the degrees of freedom that the part with the fewest sources has."""
    value, pulls = 0.0, defaultdict[str, list[float]](list)
    for part in parts:
        mean = float(finite(part.values).mean())
        value += part.factor * mean
        for number, source in zip(np.asarray(part.values, dtype=float), part.sources or (), strict=True):
            pulls[source].append(part.factor * (float(number) - mean) / len(part.values))
    units = min(len(set(part.sources or ())) for part in parts)
    if units < 2:
        return MeanFacts(value, 0.0, 0)
    variance = math.fsum(math.fsum(pull) ** 2 for pull in pulls.values()) * units / (units - 1)
    return MeanFacts(value, variance, units - 1)
