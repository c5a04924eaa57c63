"""Words what a planned study could find, and which hyperparameters were found for it."""

from rltransfer.comparison import PilotSpread
from rltransfer.stats import ALPHA, POWER, Spread, detectable_effect, power_at, runs_for
from rltransfer.study.tune import Tuned

_SEEDS = (3, 5, 7, 10, 15, 20, 30)
_MORE = 0.9


def describe_power(pilot: PilotSpread, *, effect: float, tests: int) -> str:
    """Returns the seeds that an effect needs, and what usual numbers of seeds can find."""
    spread = pilot.spread
    arms = "1 arm" if tests == 1 else f"{tests} arms"
    lines = [
        *([pilot.title] if pilot.title else []),
        f"a true difference of {effect:g} where scores vary by {spread.sd:.4g} (standard deviation over seeds), {arms} "
        f"tested against scratch at {ALPHA:g}:",
        *_needed(effect, spread.sd, tests),
    ]
    if spread.freedom:
        lines += [
            f"the pilot knows its spread from {spread.freedom} degrees of freedom; it may well be "
            f"{spread.cautious_sd:.4g} (upper end of an 80 % interval), and then:",
            *_needed(effect, spread.cautious_sd, tests),
        ]
    return "\n".join([*lines, "", *_table(effect, spread, tests)])


def _needed(effect: float, sd: float, tests: int) -> list[str]:
    seeds_by_power = {wanted: runs_for(effect, sd, tests=tests, wanted=wanted) for wanted in (POWER, _MORE)}
    return [
        f"  {'more than 1,000' if seeds is None else seeds} seeds per arm find it in {100 * wanted:g} % of studies"
        for wanted, seeds in seeds_by_power.items()
    ]


def _table(effect: float, spread: Spread, tests: int) -> list[str]:
    head = f"{'seeds':>5}  {'finds it in':>11}  {f'finds in {100 * POWER:g} %':>14}"
    rows = []
    for seeds in _SEEDS:
        chance = power_at(effect, spread.sd, seeds, seeds, tests=tests)
        least = detectable_effect(spread.sd, seeds, seeds, tests=tests)
        rows.append(f"{seeds:>5}  {100 * chance:>9.0f} %  {'nothing' if least == float('inf') else f'{least:.4g}':>14}")
    return [head, *rows]


def describe_tuning(tuned: Tuned) -> str:
    """Returns a table of what each arm was tried with and the best of it, and what not to conclude from it."""
    rows = [("task", "arm", "trials", "failed", "untuned", "best", "of trial", "hyperparameters")]
    for (task, arm), best in tuned.best.items():
        trials = tuned.log.of(task, arm)
        failed = sum(trial.score is None for trial in trials)
        settings = ", ".join(f"{name} {_short(value)}" for name, value in best.hyperparams.items()) or "the study's own"
        untuned = tuned.untuned[task, arm].score
        rows.append(
            (task, arm, str(len(trials)), str(failed), _short(untuned), _short(best.score), str(best.number), settings)
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    seeds = ", ".join(map(str, tuned.log.seeds))
    return "\n".join(
        [
            *lines,
            f"The best of many is flattered by luck, and these are scores on the tuning seeds ({seeds}) alone: nothing "
            "follows from them. The study's own seeds decide.",
        ]
    )


def _short(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
