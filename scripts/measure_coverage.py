"""Measures how often the intervals of ``rltransfer.stats`` cover the truth, and how often its test is wrong.

    python scripts/measure_coverage.py --write        # measures, and writes rltransfer/stats/coverage.json
    python scripts/measure_coverage.py --add          # measures what the file lacks, and leaves the rest as it is
    python scripts/measure_coverage.py --markdown     # prints the tables of docs/statistics.md from that file

Every method is asked through the function that the report calls. A study is simulated by drawing the scores of its
runs: normal; skewed (exponential); bimodal (three runs in ten succeed, six standard deviations above the others);
and mixed, for differences: a bimodal arm against a normal baseline. Where sources serve several runs or tasks, each
adds a normal number of twice the spread to what it serves, and their number is that of the runs. A 95 % interval
should hold the truth in 95 % of studies.
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
RUNS = (2, 3, 4, 5, 7, 10, 20)
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

    def twice(self) -> tuple[np.ndarray, list[str]]:
        """Returns the scores of an arm whose sources serve two runs each, and those sources."""
        return self.arm(2) + np.repeat(self.sources(), 2), [str(i // 2) for i in range(2 * self.runs)]

    def tasks(self) -> list[np.ndarray]:
        return [self.arm() for _ in range(TASKS)]

    def baselines(self) -> list[np.ndarray]:
        return [self.baseline() for _ in range(TASKS)]


@dataclasses.dataclass(frozen=True)
class OverTasks:
    """The scores of arm and baseline over several tasks, and the sources of the arm; ``gamma`` is full marks."""

    arm: list[np.ndarray]
    baseline: list[np.ndarray]
    sources: list[list[str] | None]
    gamma: float
    seed: int


def own_sources(study: Study) -> OverTasks:
    return OverTasks(study.tasks(), study.baselines(), [None] * TASKS, study.shape.mean + study.shape.sd, study.seed)


def shared_sources(study: Study) -> OverTasks:
    common, names = study.sources(), [str(i) for i in range(study.runs)]
    arm = [scores + common for scores in study.tasks()]
    return OverTasks(arm, study.baselines(), [names] * TASKS, study.shape.mean + study.shape.sd, study.seed)


def improvement_over_tasks(some: OverTasks) -> stats.Estimate:
    better = [scores + some.gamma for scores in some.arm]
    return stats.improvement_over_tasks(better, some.baseline, some.sources, [None] * TASKS)


def paired(study: Study) -> stats.Estimate:
    shared = study.sources()
    return stats.paired_difference(study.arm() + shared, study.baseline() + shared)


def two_runs_a_source(study: Study) -> stats.Estimate:
    arm, names = study.twice()
    return stats.mean_difference(arm, study.baseline(2), names)


def improvement_two_runs_a_source(study: Study) -> stats.Estimate:
    arm, names = study.twice()
    return stats.probability_of_improvement(arm + study.shape.sd, study.baseline(2), names)


def iqm_two_runs_a_source(study: Study) -> stats.Estimate:
    arm, names = study.twice()
    return stats.iqm_estimate([arm], seed=study.seed, sources=[names], resamples=RESAMPLES)


def share_of_gain(study: Study) -> stats.Estimate | None:
    gained, half = (study.arm() - study.shape.mean + size * study.shape.sd for size in (6.0, 3.0))
    return stats.share_of_gain(gained, half, study.baseline() - MEANS[study.shape.baseline], paired=False)


@functools.cache
def truth(draw: Draw, statistic: Callable[[np.ndarray], float]) -> float:
    return float(np.mean([statistic(draw(np.random.default_rng([7, i]), 1_000_000)) for i in range(5)]))


def iqm(values: np.ndarray) -> float:
    return float(stats.iqm(values))


def median(values: np.ndarray) -> float:
    return float(np.median(values))


@functools.cache
def of_sources(draw: Draw) -> Draw:
    """Returns how scores are spread over new sources and seeds."""
    return lambda rng, runs: draw(rng, runs) + 2 * SDS[draw] * rng.normal(size=runs)


@functools.cache
def better(shape: Shape, *, sourced: bool = False, by: float | None = None) -> float:
    draw = of_sources(shape.arm) if sourced else shape.arm
    a = draw(np.random.default_rng(1), 1_000_000) + (shape.sd if by is None else by)
    b = np.sort(shape.baseline(np.random.default_rng(2), 1_000_000))
    return float(np.searchsorted(b, a).mean() / len(b))


@functools.cache
def gap(shape: Shape, *, sourced: bool = False) -> float:
    draw = of_sources(shape.arm) if sourced else shape.arm
    return truth(draw, lambda values: float(np.maximum(shape.mean + shape.sd - values, 0).mean()))


Ask = Callable[[Study], stats.Estimate | None]


def over_tasks(
    which: Callable[[Study], OverTasks], *, sourced: bool
) -> dict[str, tuple[Ask, Callable[[Shape], float]]]:
    """Returns the methods that put tasks together, with what their intervals should hold."""

    def of(shape: Shape) -> Draw:
        return of_sources(shape.arm) if sourced else shape.arm

    def asked(ask: Callable[[OverTasks], stats.Estimate]) -> Ask:
        return lambda study: ask(which(study))

    return {
        "mean": (asked(lambda some: stats.mean_over_tasks(some.arm, some.sources)), lambda shape: shape.mean),
        "IQM": (
            asked(lambda some: stats.iqm_estimate(some.arm, seed=some.seed, sources=some.sources, resamples=RESAMPLES)),
            lambda shape: truth(of(shape), iqm),
        ),
        "mean difference": (
            asked(lambda some: stats.difference_over_tasks(some.arm, some.baseline, some.sources)),
            lambda shape: shape.difference,
        ),
        "median": (
            asked(
                lambda some: stats.median_over_tasks(
                    some.arm, seed=some.seed, sources=some.sources, resamples=RESAMPLES
                )
            ),
            lambda shape: shape.mean,
        ),
        "optimality gap": (
            asked(
                lambda some: stats.mean_over_tasks(
                    [stats.shortfall(scores, some.gamma) for scores in some.arm], some.sources
                )
            ),
            lambda shape: gap(shape, sourced=sourced),
        ),
        "probability of improvement": (
            asked(improvement_over_tasks),
            lambda shape: better(shape, sourced=sourced, by=shape.mean + shape.sd),
        ),
    }


# Each method: what a study asks of it, and the truth that its interval should hold.
METHODS: dict[str, tuple[Ask, Callable[[Shape], float]]] = {
    "mean": (lambda study: stats.mean(study.arm()), lambda shape: shape.mean),
    "mean difference": (
        lambda study: stats.mean_difference(study.arm(), study.baseline()),
        lambda shape: shape.difference,
    ),
    "paired difference": (paired, lambda shape: shape.difference),
    "mean difference, two runs a source": (two_runs_a_source, lambda shape: shape.difference),
    "mean over tasks": (lambda study: stats.mean_over_tasks(study.tasks()), lambda shape: shape.mean),
    "optimality gap": (lambda study: stats.mean(stats.shortfall(study.arm(), study.shape.mean + study.shape.sd)), gap),
    "median": (lambda study: stats.median(study.arm()), lambda shape: truth(shape.arm, median)),
    "IQM": (
        lambda study: stats.iqm_estimate([study.arm()], seed=study.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm),
    ),
    "IQM difference": (
        lambda study: stats.iqm_difference(study.arm(), study.baseline(), seed=study.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm) - truth(shape.baseline, iqm),
    ),
    "IQM over tasks": (
        lambda study: stats.iqm_estimate(study.tasks(), seed=study.seed, resamples=RESAMPLES),
        lambda shape: truth(shape.arm, iqm),
    ),
    "probability of improvement": (
        lambda study: stats.probability_of_improvement(study.arm() + study.shape.sd, study.baseline()),
        better,
    ),
    "share of the gain": (share_of_gain, lambda _: 0.5),
    "IQM, two runs a source": (iqm_two_runs_a_source, lambda shape: truth(of_sources(shape.arm), iqm)),
    "median, two runs a source": (
        lambda study: stats.median(*study.twice()),
        lambda shape: truth(of_sources(shape.arm), median),
    ),
    "probability of improvement, two runs a source": (
        improvement_two_runs_a_source,
        lambda shape: better(shape, sourced=True),
    ),
}
for _name, _method in over_tasks(own_sources, sourced=False).items():
    METHODS.setdefault(f"{_name} over tasks", _method)
METHODS |= {
    f"{_name} over tasks, shared sources": _method
    for _name, _method in over_tasks(shared_sources, sourced=True).items()
}
OF_TWO_ARMS = ("difference", "improvement", "share of the gain")
OF_ONE_ARM = {name for name in METHODS if not any(word in name for word in OF_TWO_ARMS)}


def measure(task: tuple[str, str, int, int], seed: int = 0) -> tuple[str, str, int, float]:
    """Returns the share of studies whose interval holds the truth; studies without an interval do not count.

    The table has seed 0; another one simulates other studies.
    """
    name, shape, runs, studies = task
    ask, value = METHODS[name][0], METHODS[name][1](SHAPES[shape])
    rng = np.random.default_rng([list(METHODS).index(name), list(SHAPES).index(shape), runs, seed])
    hits = asked = 0
    for number in range(studies):
        result = ask(Study(SHAPES[shape], rng, runs, number // STUDIES_PER_SEED))
        if result is not None and result.low is not None and result.high is not None:
            asked += 1
            hits += result.low <= value <= result.high
    return name, shape, runs, hits / max(asked, 1)


def measure_alarms(task: tuple[tuple[int, int], float, int], seed: int = 0) -> list[float]:
    """Returns how often arms of equal means and unequal spreads get a p-value at each level or below."""
    runs, spread, studies = task
    rng = np.random.default_rng([*runs, int(spread), seed])
    result = np.array(
        [
            stats.permutation_p(spread * rng.normal(size=runs[0]), rng.normal(size=runs[1]), seed=0)
            for _ in range(studies)
        ]
    )
    return [float(np.mean(result <= level)) for level in ALARM_LEVELS]


def lacking(table: dict) -> list[tuple[str, str, int]]:
    """Returns the cells that a table lacks: method, shape, runs."""
    return [
        (name, shape, runs)
        for name in METHODS
        for shape in SHAPES
        if shape != "mixed" or name not in OF_ONE_ARM
        for runs in RUNS
        if shape not in table.get("coverage", {}).get(name, {}).get(str(runs), {})
    ]


def measured(studies: int, jobs: int, table: dict) -> dict[str, object]:
    """Returns a table with all that it lacked."""
    cells = lacking(table)
    results: dict[str, dict[str, dict[str, float]]] = {
        name: {str(runs): dict(table.get("coverage", {}).get(name, {}).get(str(runs), {})) for runs in RUNS}
        for name in METHODS
    }
    command = f"python scripts/measure_coverage.py --{'add' if table else 'write'} --studies {studies}"
    with multiprocessing.Pool(jobs) as pool:
        tasks = [(*cell, studies) for cell in cells]
        for done, (name, shape, runs, share) in enumerate(pool.imap(measure, tasks), start=1):
            results[name][str(runs)][shape] = round(share, 4)
            print(f"{done:>4}/{len(tasks)} {name}, {shape}, {runs} runs: {share:.3f}", file=sys.stderr, flush=True)
        cases = [(runs, spread, studies) for runs in ALARM_RUNS for spread in SPREADS]
        alarms = [] if table else pool.map(measure_alarms, cases, chunksize=1)
    return {
        "command": "; ".join(filter(None, [table.get("command", ""), command])),
        "coverage": results,
        "alarms": table.get("alarms")
        or [
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
    parser.add_argument("--add", action="store_true", help=f"measure what {TABLE.name} lacks, and add it")
    parser.add_argument("--markdown", action="store_true", help="print the tables from that file")
    arguments = parser.parse_args()
    if arguments.markdown:
        print(markdown(json.loads(TABLE.read_text())))
        return
    table = json.loads(TABLE.read_text()) if arguments.add else {}
    text = json.dumps(measured(arguments.studies, arguments.jobs, table), indent=1)
    if arguments.write or arguments.add:
        TABLE.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
