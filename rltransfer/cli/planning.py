"""Words what a planned study could find."""

from rltransfer.comparison import PilotSpread
from rltransfer.stats import ALPHA, POWER, Spread, detectable_effect, power_at, runs_for

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
    found = {wanted: runs_for(effect, sd, tests=tests, wanted=wanted) for wanted in (POWER, _MORE)}
    return [
        f"  {'more than 1,000' if seeds is None else seeds} seeds per arm find it in {100 * wanted:g} % of studies"
        for wanted, seeds in found.items()
    ]


def _table(effect: float, spread: Spread, tests: int) -> list[str]:
    head = f"{'seeds':>5}  {'finds it in':>11}  {f'finds in {100 * POWER:g} %':>14}"
    rows = []
    for seeds in _SEEDS:
        chance = power_at(effect, spread.sd, seeds, seeds, tests=tests)
        least = detectable_effect(spread.sd, seeds, seeds, tests=tests)
        rows.append(f"{seeds:>5}  {100 * chance:>9.0f} %  {'nothing' if least == float('inf') else f'{least:.4g}':>14}")
    return [head, *rows]
