"""Words why a value is undefined, once for all arms that share the reason."""

from collections.abc import Callable, Sequence

from rltransfer.comparison import Arm
from rltransfer.metrics import Undefined
from rltransfer.report.blocks import Block, Bullets, Paragraph

Cell = Callable[[Arm], str]


def blocks(lines: Sequence[str]) -> tuple[Block, ...]:
    """Returns the list of what is undefined, nothing where there is nothing."""
    return (Paragraph("Undefined:"), Bullets(tuple(lines))) if lines else ()


def of(arm: Arm, value: object) -> str:
    """Returns why a value is undefined; a baseline is compared with nothing, which is no reason to be told."""
    return value.reason if isinstance(value, Undefined) and arm.kind != "baseline" else ""


def lines(title: str, why: Cell, arms: Sequence[Arm]) -> list[str]:
    """Returns one line per reason why a metric is undefined, with the arms that it holds for."""
    by_reason: dict[str, list[Arm]] = {}
    for arm in arms:
        if why(arm):
            by_reason.setdefault(why(arm), []).append(arm)
    concerned = len([arm for arm in arms if arm.kind != "baseline"])
    return [
        f"{title}{_names(members) if len(members) < concerned else ''}: {reason}."
        for reason, members in by_reason.items()
    ]


def _names(arms: Sequence[Arm]) -> str:
    return f" of {', '.join(f'`{arm.name}`' for arm in arms)}"
