"""Tests each arm against the baseline and against its own control, and says what may be claimed.

Two families of tests, fixed by which arms were run and never by their scores, each corrected by Holm on its own:

- all arms (controls too) against the baseline, for "helps" and "hurts";
- all arms that have a shuffled control, for "beats the baseline and its control", which is what "features" claims. Its
  p-value is the larger one of the two tests (an intersection-union test: Berger, Technometrics 1982).

So the chance of any false "helps" or "hurts" is at most 5 %, and so is the chance of any false "features", whichever
of its two halves is the false one.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from rltransfer import stats
from rltransfer.comparison.tables import Cause, Detectable, NamedEffect, Origin
from rltransfer.stats import ALPHA, Estimate, Spread, Verdict

_MOST_RUNS = 50


@dataclasses.dataclass(frozen=True)
class Contrast:
    """One comparison of two arms: what was tested, and what may be said; ``verdict`` None where ``reason`` says why."""

    difference: Estimate | None
    p_value: float | None
    p_adjusted: float | None
    smallest_p: float | None
    smallest_p_adjusted: float | None
    verdict: Verdict | None
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class Pair:
    """What one test compares: the scores of an arm and of its opponent, and their difference with its interval.

    ``also`` is a p-value that the claim needs too, with the smallest that it could have been: the test counts by the
    larger p of both.
    """

    arm: Sequence[float]
    opponent: Sequence[float]
    difference: Estimate
    also: tuple[float, float] = (0.0, 0.0)


def contrast_family(pairs: Mapping[str, Pair], refused: Mapping[str, str], *, seed: int) -> dict[str, Contrast]:
    """Returns a contrast for each name: those in ``pairs`` are one Holm family, those in ``refused`` are not tested.

    Args:
        pairs: For each tested name what is compared.
        refused: For each other name, why there is no test.
        seed: Seed of the Monte Carlo permutations, where there are too many splits for all of them.
    """
    names = sorted(pairs)
    p_values = [stats.permutation_p(pairs[name].arm, pairs[name].opponent, seed=seed) for name in names]
    least = [stats.smallest_p(len(pairs[name].arm), len(pairs[name].opponent)) for name in names]
    adjusted = stats.holm([max(p, pairs[name].also[0]) for p, name in zip(p_values, names, strict=True)])
    smallest = stats.holm([max(p, pairs[name].also[1]) for p, name in zip(least, names, strict=True)])
    tests = {name: untested(reason) for name, reason in refused.items()}
    for at, name in enumerate(names):
        difference = pairs[name].difference
        said = stats.verdict(difference.value, adjusted[at])
        tests[name] = Contrast(difference, p_values[at], adjusted[at], least[at], smallest[at], said)
    return tests


def untested(reason: str) -> Contrast:
    """Returns the contrast of an arm that is not tested, and why."""
    return Contrast(None, None, None, None, None, None, reason)


def detectable(
    arm: Sequence[float], baseline: Sequence[float], spread: Spread | None, tests: int, named: float | None = None
) -> Detectable | None:
    """Returns which true difference a test had 80 % power to find; None where nothing tells the spread over seeds.

    Args:
        arm: The scores of the arm.
        baseline: The scores of what it is compared with.
        spread: The spread that somebody named; None for that of these runs around the means of their arms.
        tests: How many arms are tested in the family.
        named: A difference that somebody wants to be found.
    """
    origin = "as named" if spread is not None else "pooled over the runs of the arm and the baseline"
    spread = spread or stats.pooled_spread([arm, baseline])
    if spread is None or spread.sd == 0:
        return None
    effect = stats.detectable_effect(spread.sd, len(arm), len(baseline), tests=tests)
    asked = None if named is None else _named(named, spread, (len(arm), len(baseline)), tests)
    return Detectable(effect, stats.POWER, ALPHA / tests, spread.sd, origin, asked)


def _named(effect: float, spread: Spread, runs: tuple[int, int], tests: int) -> NamedEffect:
    return NamedEffect(
        effect,
        stats.power_at(effect, spread.sd, *runs, tests=tests),
        stats.runs_for(effect, spread.sd, tests=tests),
        stats.runs_for(effect, spread.cautious_sd, tests=tests),
    )


def runs_needed(tests: int) -> int:
    """Returns the smallest number of seeds per arm with which a verdict can be reached in a family of so many tests.

    >>> runs_needed(1), runs_needed(4), runs_needed(8)
    (4, 5, 6)
    """
    return next(runs for runs in range(2, _MOST_RUNS) if tests * 2 / math.comb(2 * runs, runs) <= ALPHA)


def origin(
    *,
    control: str | None,
    against_baseline: Contrast | None,
    against_control: Contrast | None,
    share: Estimate | None,
    transfers_policy: bool,
) -> Origin:
    """Returns where the gain of a positive arm comes from.

    Args:
        control: Name of the arm's shuffled control, None if none was run.
        against_baseline: The control's own test against the baseline.
        against_control: The arm's test of beating the baseline and its control.
        share: The share of the gain that the control has too; None where undefined.
        transfers_policy: Whether heads were moved too, so that shuffling destroys the policy and not features alone.
    """
    if control is None or against_baseline is None or against_control is None:
        return Origin("undecided", "no shuffled control of this arm was run")
    facts = dict(
        control=control,
        difference=against_control.difference,
        p_adjusted=against_control.p_adjusted,
        share=share,
    )
    cause, reason = _cause(control, against_baseline, against_control, transfers_policy)
    return Origin(cause, reason, **facts)  # type: ignore[arg-type]


def _cause(
    control: str, against_baseline: Contrast, against_control: Contrast, transfers_policy: bool
) -> tuple[Cause, str]:
    if against_control.verdict is None:
        return "undecided", f"the arm could not be tested against `{control}`: {against_control.reason}"
    if against_control.verdict == "positive":
        if transfers_policy:
            return "policy", (
                f"it beats its control `{control}` too; that control shuffles the heads as well, so it tests the "
                "whole policy, not the features alone"
            )
        return "features", f"it beats its control `{control}` too, which has the same weights in shuffled order"
    if against_baseline.verdict == "positive":
        return "initialisation scale", (
            f"its control `{control}`, which has the same weights in shuffled order, beats the baseline too, and the "
            "arm was not shown to beat that control"
        )
    return "undecided", f"neither did it beat its control `{control}`, nor did that control beat the baseline"
