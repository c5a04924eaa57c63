"""Measures which kind of interval covers best with few runs: Student's t, percentiles, widened percentiles, BCa.

    python scripts/compare_intervals.py --studies 2000

Prints the share of simulated studies whose 95 % interval of the mean, or of the interquartile mean, holds the truth.
``rltransfer.stats`` uses the kind that this shows to be the best: t for means, widened percentiles for the
interquartile mean. What it uses is then measured with more studies by ``measure_coverage.py``.
"""

import argparse
from collections.abc import Callable

import measure_coverage as shapes
import numpy as np
import scipy.stats

from rltransfer import stats
from rltransfer.stats.bootstrap import widened_tails

RUNS = (5, 10, 20)
RESAMPLES = 1_000
AT_ONCE = 50
Statistic = Callable[[np.ndarray], np.ndarray]


def mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=-1)


STATISTICS: dict[str, Statistic] = {"mean": mean, "IQM": lambda values: np.asarray(stats.iqm(values))}
KINDS = ("t", "percentiles", "widened percentiles", "BCa")


def hits(statistic: Statistic, scores: np.ndarray, value: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns for each kind of interval in which of the studies (rows of scores) it holds the value."""
    studies, runs = scores.shape
    picks = rng.integers(runs, size=(studies, RESAMPLES, runs))
    drawn = np.sort(statistic(np.take_along_axis(scores[:, None, :], picks, axis=2)), axis=1)
    result = statistic(scores)
    left_out = np.stack([statistic(np.delete(scores, run, axis=1)) for run in range(runs)], axis=1)
    ends = {
        "t": student(scores, result),
        "percentiles": np.quantile(drawn, (0.025, 0.975), axis=1),
        "widened percentiles": np.quantile(drawn, widened_tails(runs), axis=1),
        "BCa": bca(drawn, result, left_out),
    }
    return {kind: (low <= value) & (value <= high) for kind, (low, high) in ends.items()}


def student(scores: np.ndarray, result: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    runs = scores.shape[1]
    margin = scipy.stats.t.ppf(0.975, runs - 1) * scores.std(axis=1, ddof=1) / np.sqrt(runs)
    return result - margin, result + margin


def bca(drawn: np.ndarray, result: np.ndarray, left_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bias-corrected and accelerated ends (Efron, JASA 1987)."""
    below = ((drawn < result[:, None]).mean(axis=1) + (drawn <= result[:, None]).mean(axis=1)) / 2
    bias = scipy.stats.norm.ppf(np.clip(below, 1 / RESAMPLES, 1 - 1 / RESAMPLES))
    pulls = left_out.mean(axis=1, keepdims=True) - left_out
    spread = (pulls**2).sum(axis=1)
    skew = (pulls**3).sum(axis=1) / (6 * np.where(spread > 0, spread, 1.0) ** 1.5)
    ends = []
    for z in scipy.stats.norm.ppf((0.025, 0.975)):
        level = scipy.stats.norm.cdf(bias + (bias + z) / (1 - skew * (bias + z)))
        place = np.clip((level * (RESAMPLES - 1)).round().astype(int), 0, RESAMPLES - 1)
        ends.append(np.take_along_axis(drawn, place[:, None], axis=1)[:, 0])
    return ends[0], ends[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=2_000, help="simulated studies of each kind (default: 2,000)")
    studies = parser.parse_args().studies
    print(f"| statistic | scores | runs | {' | '.join(KINDS)} |")
    print("|---|---|---:" + "|---:" * len(KINDS) + "|")
    for name, statistic in STATISTICS.items():
        for shape in ("normal", "skewed", "bimodal"):
            draw = shapes.SHAPES[shape].arm
            value = shapes.MEANS[draw] if name == "mean" else shapes.truth(draw, shapes.iqm)
            for runs in RUNS:
                rng = np.random.default_rng([runs, len(name), len(shape)])
                results = [
                    hits(statistic, draw(rng, AT_ONCE * runs).reshape(AT_ONCE, runs), value, rng)
                    for _ in range(studies // AT_ONCE)
                ]
                shares = (100 * np.mean([item[kind] for item in results]) for kind in KINDS)
                cells = " | ".join(f"{share:.1f}" for share in shares)
                print(f"| {name} | {shape} | {runs} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
