"""How often whole studies claim something that is not there, and how often they miss what is."""

import numpy as np
import pytest

from rltransfer import stats
from rltransfer.comparison.verdicts import contrast_family, origin

ARMS = 5
LEVEL = stats.ALPHA


def skewed(rng, runs):
    """Scores as they are in RL: most runs fail, some succeed."""
    return rng.choice([20.0, 200.0], p=[0.7, 0.3], size=runs) * rng.lognormal(0, 0.4, size=runs)


def bell(rng, runs):
    return rng.normal(100, 30, size=runs)


def false_alarm_rate(draw, *, runs, studies, seed):
    """The share of A/A studies, all arms alike, in which any arm gets a verdict."""
    rng = np.random.default_rng(seed)
    alarms = 0
    for _ in range(studies):
        baseline = draw(rng, runs)
        pairs = {str(arm): (draw(rng, runs), baseline) for arm in range(ARMS)}
        alarms += any(one.verdict != "inconclusive" for one in contrast_family(pairs, {}, seed=0).values())
    return alarms / studies


def noise(studies):
    return 3 * np.sqrt(LEVEL * (1 - LEVEL) / studies)


@pytest.mark.parametrize("draw", [bell, skewed])
def test_a_study_of_five_equal_arms_rarely_claims_a_difference(draw):
    studies = 250
    assert false_alarm_rate(draw, runs=5, studies=studies, seed=3) <= LEVEL + noise(studies)


@pytest.mark.long
@pytest.mark.parametrize("draw", [bell, skewed])
@pytest.mark.parametrize("runs", [5, 7])
def test_a_study_of_five_equal_arms_rarely_claims_a_difference_in_many_studies(draw, runs):
    studies = 1_500
    assert false_alarm_rate(draw, runs=runs, studies=studies, seed=4) <= LEVEL + noise(studies)


def test_a_clear_difference_is_found_with_five_seeds():
    rng = np.random.default_rng(5)
    found = 0
    studies = 100
    for _ in range(studies):
        baseline = rng.normal(0, 1, 5)
        pairs = {str(arm): (rng.normal(6 if arm == 0 else 0, 1, 5), baseline) for arm in range(ARMS)}
        found += contrast_family(pairs, {}, seed=0)["0"].verdict == "positive"
    assert found / studies > 0.9


def test_a_gain_that_the_control_shares_is_rarely_called_features():
    """Both arms gain the same, all by the scale of their weights: "features" is the false claim."""
    rng = np.random.default_rng(6)
    studies = 150
    causes = []
    for _ in range(studies):
        scratch = bell(rng, 5)
        scores = {name: bell(rng, 5) + 150 for name in ("a", "b", "control_a", "control_b")}
        against_baseline = contrast_family({name: (runs, scratch) for name, runs in scores.items()}, {}, seed=0)
        against_control = contrast_family({n: (scores[n], scores[f"control_{n}"]) for n in ("a", "b")}, {}, seed=0)
        causes.append(
            {
                origin(
                    control=f"control_{name}",
                    against_baseline=against_baseline[f"control_{name}"],
                    against_control=against_control[name],
                    share=None,
                    transfers_policy=False,
                ).cause
                for name in ("a", "b")
                if against_baseline[name].verdict == "positive"
            }
        )
    assert sum("initialisation scale" in found for found in causes) > 0.8 * studies
    assert sum("features" in found for found in causes) / studies <= LEVEL + noise(studies)
