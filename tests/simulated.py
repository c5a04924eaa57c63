"""Many simulated studies at once: the p-values of all their tests from one matrix product, the rest by our own code."""

from collections.abc import Mapping, Sequence

import numpy as np
import scipy.stats

from rltransfer import stats
from rltransfer.comparison.verdicts import Pair, contrast_family, origin
from rltransfer.stats import tests

_SPLITS_AT_ONCE = 4_096
_PAIRS_AT_ONCE = 2_000
_TIE = 1e-6


def skewed(rng, shape):
    """Scores as they are in RL: most runs fail, some succeed."""
    return rng.choice([20.0, 200.0], p=[0.7, 0.3], size=shape) * rng.lognormal(0, 0.4, size=shape)


def bell(rng, shape):
    return rng.normal(100, 30, size=shape)


def permutation_ps(arms, baselines):
    """Returns ``stats.permutation_p(arm, baseline, seed=0)`` of each row of two arrays, pairs x runs."""
    runs = arms.shape[1]
    picks, exact = tests._splits(runs, baselines.shape[1], 0)
    pooled = np.concatenate([np.sort(arms, axis=1), np.sort(baselines, axis=1)], axis=1)
    low, high = pooled.min(axis=1, keepdims=True), pooled.max(axis=1, keepdims=True)
    pooled = ((pooled - low) / (high - low)).astype(np.float32)
    results = [_tails(pooled[i : i + _PAIRS_AT_ONCE], picks) for i in range(0, len(pooled), _PAIRS_AT_ONCE)]
    extra = 0 if exact else 1
    p_values = np.minimum(1.0, 2 * (np.concatenate(results) + extra) / (len(picks) + extra))
    if runs == baselines.shape[1]:
        return p_values
    return np.maximum(p_values, scipy.stats.ttest_ind(arms, baselines, axis=1, equal_var=False).pvalue)


def _tails(pooled, picks):
    observed = pooled[:, : picks.shape[1]].sum(axis=1)
    above, below = np.zeros(len(pooled), int), np.zeros(len(pooled), int)
    for start in range(0, len(picks), _SPLITS_AT_ONCE):
        some = picks[start : start + _SPLITS_AT_ONCE].astype(int)
        chosen = np.zeros((len(some), pooled.shape[1]), np.float32)
        np.put_along_axis(chosen, some, 1.0, axis=1)
        sums = chosen @ pooled.T
        above += np.count_nonzero(sums >= observed - _TIE, axis=0)
        below += np.count_nonzero(sums <= observed + _TIE, axis=0)
    return np.minimum(above, below)


class Studies:
    """Studies with the same arms: scores by arm, each studies x runs; ``controls`` names the control of an arm."""

    def __init__(self, scores: Mapping[str, np.ndarray], controls: Mapping[str, str] | None = None) -> None:
        self.scores = scores
        self.controls = controls or {}
        self.studies = len(scores["scratch"])
        self.tests = [(name, "scratch") for name in scores if name != "scratch"] + list(self.controls.items())
        self._p = {pair: permutation_ps(scores[pair[0]], scores[pair[1]]) for pair in self.tests}

    def verdicts(self, monkeypatch) -> list[dict[str, str]]:
        """Returns the verdict of each arm against scratch, study by study."""
        return [
            {name: item.verdict for name, item in self._against_scratch(i, monkeypatch).items()} for i in self._all()
        ]

    def causes(self, monkeypatch) -> list[dict[str, str]]:
        """Returns what is said of the origin of each gain of an arm that has a control, study by study."""
        return [self._causes(i, monkeypatch) for i in self._all()]

    def _all(self) -> Sequence[int]:
        return range(self.studies)

    def _family(self, opponents, study, monkeypatch, also=None):
        """Returns our contrasts of one study; the p-values, which are known, are handed to the code that asks."""
        pairs, cache = {}, {}
        for name, opponent in opponents.items():
            scores, opponent_scores = self.scores[name][study], self.scores[opponent][study]
            needed = (0.0, 0.0) if also is None else (also[name].p_value, also[name].smallest_p)
            pairs[name] = Pair(
                scores, opponent_scores, stats.Estimate(float(scores.mean() - opponent_scores.mean())), needed
            )
            cache[scores.tobytes(), opponent_scores.tobytes()] = float(self._p[name, opponent][study])
        monkeypatch.setattr(stats, "permutation_p", lambda a, b, seed: cache[a.tobytes(), b.tobytes()])
        return contrast_family(pairs, {}, seed=0)

    def _against_scratch(self, study, monkeypatch):
        return self._family({name: "scratch" for name in self.scores if name != "scratch"}, study, monkeypatch)

    def _causes(self, study, monkeypatch):
        against_scratch = self._against_scratch(study, monkeypatch)
        against_control = self._family(self.controls, study, monkeypatch, against_scratch)
        return {
            name: origin(
                control=control,
                against_baseline=against_scratch[control],
                against_control=against_control[name],
                share=None,
                transfers_policy=False,
            ).cause
            for name, control in self.controls.items()
            if against_scratch[name].verdict == "positive"
        }
