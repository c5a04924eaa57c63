"""Measures how often the intervals of ``rltransfer.stats`` cover the truth, and how often its test is wrong.

    python scripts/measure_coverage.py --write        # measures, and writes rltransfer/stats/coverage.json
    python scripts/measure_coverage.py --markdown     # prints the tables of docs/statistics.md from that file

Every method is asked through the function that the report calls. A study is simulated by drawing the scores of its
runs: normal; skewed (exponential); bimodal (three runs in ten succeed, six standard deviations above the others);
and mixed, for differences: a bimodal arm against a normal baseline. A 95 % interval should hold the truth in 95 % of
studies.
"""

import argparse
import dataclasses
import functools
import json
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rltransfer import stats

TABLE = Path(__file__).parents[1] / "rltransfer" / "stats" / "coverage.json"
RUNS = (3, 4, 5, 7, 10, 20)
ALARM_LEVELS = (0.05, 0.01)
ALARM_RUNS = ((5, 5), (10, 10), (20, 20), (5, 20), (20, 5))
SPREADS = (1.0, 3.0, 10.0)
RESAMPLES = 2_000
TASKS = 3
SUCCESS, STEP = 0.3, 6.0
STUDIES_PER_SEED = 250
Draw = Callable[[np.random.Generator, int], np.ndarray]


def normal(rng: np.random.Generator, runs: int) -> np.ndarray:
    return rng.normal(size=runs)


def skewed(rng: np.random.Generator, runs: int) -> np.ndarray:
    return rng.exponential(size=runs)


def bimodal(rng: np.random.Generator, runs: int) -> np.ndarray:
    return rng.normal(size=runs) + STEP * (rng.random(runs) < SUCCESS)


MEANS = {normal: 0.0, skewed: 1.0, bimodal: STEP * SUCCESS}
SDS = {normal: 1.0, skewed: 1.0, bimodal: float(np.sqrt(1 + STEP**2 * SUCCESS * (1 - SUCCESS)))}


@dataclasses.dataclass(frozen=True)
class Shape:
    """How the scores of arm and baseline are spread."""

    arm: Draw
    baseline: Draw

    @property
    def mean(self) -> float:
        return MEANS[self.arm]

    @property
    def sd(self) -> float:
        return SDS[self.arm]

    @property
    def difference(self) -> float:
        return MEANS[self.arm] - MEANS[self.baseline]


SHAPES = {
    "normal": Shape(normal, normal),
    "skewed": Shape(skewed, skewed),
    "bimodal": Shape(bimodal, bimodal),
    "mixed": Shape(bimodal, normal),
}


@dataclasses.dataclass(frozen=True)
class Study:
    """One simulated study: where its scores come from, runs per arm (or sources), the seed of what is resampled."""

    shape: Shape
    rng: np.random.Generator
    runs: int
    seed: int

    def arm(self, times: int = 1) -> np.ndarray:
        return self.shape.arm(self.rng, times * self.runs)

    def baseline(self, times: int = 1) -> np.ndarray:
        return self.shape.baseline(self.rng, times * self.runs)

    def sources(self) -> np.ndarray:
        """Returns what each source adds to its runs."""
        return 2 * self.shape.sd * self.rng.normal(size=self.runs)

    def tasks(self) -> list[np.ndarray]:
        return [self.arm() for _ in range(TASKS)]


def paired(one: Study) -> stats.Estimate:
    shared = one.sources()
    return stats.paired_difference(one.arm() + shared, one.baseline() + shared)


def two_runs_a_source(one: Study) -> stats.Estimate:
    names = [str(i // 2) for i in range(2 * one.runs)]
    return stats.mean_difference(one.arm(2) + np.repeat(one.sources(), 2), one.baseline(2), names)


def share_of_gain(one: Study) -> stats.Estimate | None:
    gained, half = (one.arm() - one.shape.mean + size * one.shape.sd for size in (6.0, 3.0))
    return stats.share_of_gain(gained, half, one.baseline() - MEANS[one.shape.baseline], paired=False)


@functools.cache
def truth(draw: Draw, statistic: Callable[[np.ndarray], float]) -> float:
    return float(np.mean([statistic(draw(np.random.default_rng([7, i]), 1_000_000)) for i in range(5)]))


def iqm(values: np.ndarray) -> float:
    return float(stats.iqm(values))


def median(values: np.ndarray) -> float:
    return float(np.median(values))


@functools.cache
def better(shape: Shape) -> float:
    a = shape.arm(np.random.default_rng(1), 1_000_000) + shape.sd
    b = np.sort(shape.baseline(np.random.default_rng(2), 1_000_000))
    return float(np.searchsorted(b, a).mean() / len(b))


@functools.cache
def gap(shape: Shape) -> float:
    return truth(shape.arm, lambda values: float(np.maximum(shape.mean + shape.sd - values, 0).mean()))


# Each method: what a study asks of it, and the truth that its interval should hold.
METHODS: dict[str, tuple[Callable[[Study], stats.Estimate | None], Callable[[Shape], float]]] = {
    "mean": (lambda one: stats.mean(one.arm()), lambda shape: shape.mean),
    "mean difference": (
        lambda one: stats.mean_difference(one.arm(), one.baseline()),
        lambda shape: shape.difference,
    ),
    "paired difference": (paired, lambda shape: shape.difference),
    "mean difference, two runs a source": (two_runs_a_source, lambda shape: shape.difference),
    "mean over tasks": (lambda one: stats.mean_over_tasks(one.tasks()), lambda shape: shape.mean),
    "optimality gap": (lambda one: stats.mean(stats.shortfall(one.arm(), one.shape.mean + one.shape.sd)), gap),
    "median": (lambda one: stats.median(one.arm()), lambda shape: truth(shape.arm, median)),
    "IQM": (
        lambda one: stats.iqm_estimate([one.arm()], seed=one.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm),
    ),
    "IQM difference": (
        lambda one: stats.iqm_difference(one.arm(), one.baseline(), seed=one.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm) - truth(shape.baseline, iqm),
    ),
    "IQM over tasks": (
        lambda one: stats.iqm_estimate(one.tasks(), seed=one.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm),
    ),
    "probability of improvement": (
        lambda one: stats.probability_of_improvement(one.arm() + one.shape.sd, one.baseline()),
        better,
    ),
    "share of the gain": (share_of_gain, lambda _: 0.5),
}
OF_ONE_ARM = {"mean", "mean over tasks", "optimality gap", "median", "IQM", "IQM over tasks"}


def measure(task: tuple[str, str, int, int], seed: int = 0) -> tuple[str, str, int, float]:
    """Returns the share of studies whose interval holds the truth; studies without an interval do not count.

    The table has seed 0; another one simulates other studies.
    """
    name, shape, runs, studies = task
    ask, value = METHODS[name][0], METHODS[name][1](SHAPES[shape])
    rng = np.random.default_rng([list(METHODS).index(name), list(SHAPES).index(shape), runs, seed])
    hits = asked = 0
    for number in range(studies):
        found = ask(Study(SHAPES[shape], rng, runs, number // STUDIES_PER_SEED))
        if found is not None and found.low is not None and found.high is not None:
            asked += 1
            hits += found.low <= value <= found.high
    return name, shape, runs, hits / max(asked, 1)


def measure_alarms(task: tuple[tuple[int, int], float, int], seed: int = 0) -> list[float]:
    """Returns how often arms of equal means and unequal spreads get a p-value at each level or below."""
    runs, spread, studies = task
    rng = np.random.default_rng([*runs, int(spread), seed])
    found = np.array(
        [
            stats.permutation_p(spread * rng.normal(size=runs[0]), rng.normal(size=runs[1]), seed=0)
            for _ in range(studies)
        ]
    )
    return [float(np.mean(found <= level)) for level in ALARM_LEVELS]


def measured(studies: int, jobs: int) -> dict[str, object]:
    tasks = [
        (name, shape, runs, studies)
        for name in METHODS
        for shape in SHAPES
        if shape != "mixed" or name not in OF_ONE_ARM
        for runs in RUNS
    ]
    found: dict[str, dict[str, dict[str, float]]] = {}
    with multiprocessing.Pool(jobs) as pool:
        for done, (name, shape, runs, share) in enumerate(pool.imap(measure, tasks), start=1):
            found.setdefault(name, {}).setdefault(str(runs), {})[shape] = round(share, 4)
            print(f"{done:>4}/{len(tasks)} {name}, {shape}, {runs} runs: {share:.3f}", file=sys.stderr, flush=True)
        cases = [(runs, spread, studies) for runs in ALARM_RUNS for spread in SPREADS]
        alarms = pool.map(measure_alarms, cases, chunksize=1)
    return {
        "command": f"python scripts/measure_coverage.py --write --studies {studies}",
        "coverage": found,
        "alarms": [
            {"runs": list(runs), "spread": spread, "shares": [round(share, 4) for share in shares]}
            for (runs, spread, _), shares in zip(cases, alarms, strict=True)
        ],
    }


def markdown(table: dict) -> str:
    lines = []
    for name, rows in table["coverage"].items():
        shapes = list(next(iter(rows.values())))
        lines += ["", f"**{name}**", "", "| runs | " + " | ".join(shapes) + " |", "|---:" * (len(shapes) + 1) + "|"]
        for runs, shares in rows.items():
            cells = [
                f"{100 * shares[shape]:.1f}" + ("" if shares[shape] >= stats.ACCEPTED else " (!)") for shape in shapes
            ]
            lines.append(f"| {runs} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "| runs of arm, baseline | spread of the arm | p at most 0.05 | p at most 0.01 |",
        "|---|---:|---:|---:|",
    ]
    for row in table["alarms"]:
        shares = " | ".join(f"{100 * share:.1f} %" for share in row["shares"])
        lines.append(f"| {row['runs'][0]}, {row['runs'][1]} | {row['spread']:g} | {shares} |")
    return "\n".join(lines).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--studies", type=int, default=5_000, help="simulated studies of each kind (default: 5,000)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    parser.add_argument("--write", action="store_true", help=f"measure, and write {TABLE.name} of the package")
    parser.add_argument("--markdown", action="store_true", help="print the tables from that file")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown(json.loads(TABLE.read_text())))
        return
    text = json.dumps(measured(arguments.studies, arguments.jobs), indent=1)
    if arguments.write:
        TABLE.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
