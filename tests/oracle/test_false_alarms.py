"""How often whole studies claim something that is not there, and how often they find what is."""

import numpy as np
import pytest
from simulated import Studies, bell, permutation_ps, skewed

from rltransfer import stats

ARMS = 5
LEVEL = stats.ALPHA


def noise(studies):
    return 3 * np.sqrt(LEVEL * (1 - LEVEL) / studies)


def equal_arms(draw, *, runs, studies, seed):
    rng = np.random.default_rng(seed)
    return {name: draw(rng, (studies, runs)) for name in ("scratch", *map(str, range(ARMS)))}


def false_alarms(draw, monkeypatch, **sizes):
    """The share of A/A studies, all arms alike, in which any arm gets a verdict."""
    result = Studies(equal_arms(draw, **sizes)).verdicts(monkeypatch)
    return np.mean([set(verdicts.values()) != {"inconclusive"} for verdicts in result])


@pytest.mark.parametrize("runs", [(3, 3), (5, 5), (7, 7), (10, 10), (12, 12), (3, 9), (5, 20)])
def test_many_tests_at_once_are_our_test(runs):
    rng = np.random.default_rng(1)
    arms, baselines = (rng.normal(size=(3, n)) for n in runs)
    one_by_one = [stats.permutation_p(a, b, seed=0) for a, b in zip(arms, baselines, strict=True)]
    assert permutation_ps(arms, baselines) == pytest.approx(one_by_one, abs=1e-4)


@pytest.mark.parametrize(("runs", "studies"), [(5, 2_000), (10, 400), (20, 400)])
@pytest.mark.parametrize("draw", [bell, skewed])
def test_a_study_of_five_equal_arms_rarely_claims_a_difference(draw, runs, studies, monkeypatch):
    assert false_alarms(draw, monkeypatch, runs=runs, studies=studies, seed=3) <= LEVEL + noise(studies)


@pytest.mark.long
@pytest.mark.parametrize("draw", [bell, skewed])
@pytest.mark.parametrize("runs", [5, 10, 20])
def test_at_most_5_percent_of_2000_studies_of_five_equal_arms_claim_a_difference(draw, runs, monkeypatch):
    rate = false_alarms(draw, monkeypatch, runs=runs, studies=2_000, seed=4)
    print(f"A/A, {draw.__name__}, {runs} seeds: {100 * rate:.2f} % of 2,000 studies")
    assert rate <= LEVEL


def power_found(monkeypatch, *, runs, studies, effect, seed):
    """How often a harmful arm is called negative and a helpful one positive, beside three arms without effect."""
    rng = np.random.default_rng(seed)
    scores = {name: rng.normal(size=(studies, runs)) for name in ("scratch", *map(str, range(ARMS)))}
    scores["0"] -= effect
    scores["1"] += effect
    verdicts = Studies(scores).verdicts(monkeypatch)
    return [np.mean([item[arm] == said for item in verdicts]) for arm, said in (("0", "negative"), ("1", "positive"))]


@pytest.mark.parametrize(("runs", "studies"), [(5, 1_500), (10, 500)])
def test_a_harmful_arm_and_a_helpful_one_are_found_with_the_power_that_was_predicted(runs, studies, monkeypatch):
    effect = stats.detectable_effect(1.0, runs, runs, tests=ARMS)
    for power in power_found(monkeypatch, runs=runs, studies=studies, effect=effect, seed=5):
        assert stats.POWER - 0.05 <= power <= stats.POWER + 0.05


@pytest.mark.long
@pytest.mark.parametrize("wanted", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("runs", [5, 7, 10, 20])
def test_the_power_of_2000_studies_is_the_one_predicted(runs, wanted, monkeypatch):
    effect = stats.detectable_effect(1.0, runs, runs, tests=ARMS, wanted=wanted)
    for power in power_found(monkeypatch, runs=runs, studies=2_000, effect=effect, seed=6):
        print(f"power, {runs} seeds: predicted {wanted:g}, found {power:.3f}")
        assert abs(power - wanted) <= 0.05


@pytest.mark.parametrize(
    ("runs", "tests"),
    [((5, 20), 1), ((5, 20), 4), ((20, 5), 4), ((3, 40), 1), ((6, 10), 4), ((10, 20), 4), ((8, 8), 90), ((7, 9), 40)],
)
def test_power_with_unequal_numbers_of_runs_or_many_tests_is_the_one_predicted(runs, tests):
    rng = np.random.default_rng(12)
    arms, baselines = (rng.normal(size=(1_000, n)) for n in runs)
    for wanted in (0.5, 0.8, 0.95):
        effect = stats.detectable_effect(1.0, *runs, tests=tests, wanted=wanted)
        assert stats.power_at(effect, 1.0, *runs, tests=tests) == pytest.approx(wanted, abs=0.001)
        assert np.mean(permutation_ps(arms + effect, baselines) <= LEVEL / tests) == pytest.approx(wanted, abs=0.05)


@pytest.mark.parametrize("runs", [5, 10])
def test_the_spread_of_the_runs_predicts_the_power_on_average(runs):
    rng = np.random.default_rng(7)
    effect = stats.detectable_effect(1.0, runs, runs, tests=ARMS)
    pairs = rng.normal(size=(300, 2, runs))
    spreads = [stats.pooled_spread(list(pair)).sd for pair in pairs]
    predicted = [stats.power_at(effect, sd, runs, runs, tests=ARMS) for sd in spreads]
    assert np.mean(predicted) == pytest.approx(stats.POWER, abs=0.05)


def shared_gain(draw, *, runs, studies, seed, by_source=0.0):
    """Two arms that gain by the scale of their weights alone, which their controls have too."""
    rng = np.random.default_rng(seed)
    scores = {"scratch": draw(rng, (studies, runs))}
    for name in ("a", "b"):
        source = by_source * rng.normal(size=(studies, runs))
        scores |= {arm: draw(rng, (studies, runs)) + 150 + source for arm in (name, f"control_{name}")}
    return Studies(scores, {name: f"control_{name}" for name in ("a", "b")})


@pytest.mark.parametrize(("runs", "studies"), [(5, 1_000), (10, 200)])
@pytest.mark.parametrize("by_source", [0.0, 40.0])
def test_a_gain_that_the_control_shares_is_not_called_features(runs, studies, by_source, monkeypatch):
    result = shared_gain(bell, runs=runs, studies=studies, seed=8, by_source=by_source).causes(monkeypatch)
    assert np.mean(["features" in causes.values() for causes in result]) <= LEVEL + noise(studies)
    assert np.mean(["initialisation scale" in causes.values() for causes in result]) > 0.75


@pytest.mark.long
@pytest.mark.parametrize("draw", [bell, skewed])
@pytest.mark.parametrize("runs", [5, 10, 20])
def test_95_percent_of_2000_studies_call_a_shared_gain_initialisation_scale_or_undecided(draw, runs, monkeypatch):
    result = shared_gain(draw, runs=runs, studies=2_000, seed=9).causes(monkeypatch)
    rate = np.mean(["features" in causes.values() for causes in result])
    print(f"shared gain, {draw.__name__}, {runs} seeds: features in {100 * rate:.2f} % of 2,000 studies")
    assert rate <= LEVEL


def test_features_are_not_claimed_more_often_where_either_half_of_the_claim_may_be_false(monkeypatch):
    """Half of the arms beat their control and not scratch, half beat scratch and not their control."""
    rng = np.random.default_rng(10)
    studies, runs = 1_500, 5
    scores = {name: bell(rng, (studies, runs)) for name in ("scratch", "a", "b", "c", "d")}
    scores |= {f"control_{name}": bell(rng, (studies, runs)) for name in "abcd"}
    for name in "ab":
        scores[f"control_{name}"] -= 600
    for name in "cd":
        scores[name] += 600
        scores[f"control_{name}"] += 600
    result = Studies(scores, {name: f"control_{name}" for name in "abcd"}).causes(monkeypatch)
    assert np.mean(["features" in causes.values() for causes in result]) <= LEVEL + noise(studies)


def test_features_are_found_where_they_are(monkeypatch):
    rng = np.random.default_rng(11)
    scores = {name: bell(rng, (300, 5)) for name in ("scratch", "a", "control_a")}
    scores["a"] += 150
    result = Studies(scores, {"a": "control_a"}).causes(monkeypatch)
    assert np.mean([causes.get("a") == "features" for causes in result]) > 0.9
