"""Prints a plan as a table: a line for each tensor, what is not weights, and the totals."""

import textwrap
from collections.abc import Sequence

from rltransfer.records import Column, LeftOut, PlanEntry, PlanFacts, StatisticsStart, moved_words
from rltransfer.strategies import Strategy, acting, strategy_label

_WIDTH = 120
_MANY = 40
_REASONS = {
    "no_place": "no place in the agent",
    "inputs": "inputs or actions that the agent lacks",
    "strategy": "by the strategy",
    "norm": "but for its norm",
}


def plan_table(plan: PlanFacts, strategy: Strategy) -> str:
    """Returns what ``print(plan)`` shows of a plan's data and its strategy."""
    rows: list[tuple[str, ...]] = [("tensor", "shape", "branch", "role", "weights", "training")]
    rows += [_row(entry) for entry in plan.entries]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    totals = plan.totals
    facts = [
        f"strategy: {strategy_label(strategy)}",
        f"observation statistics: {_describe_start(plan.statistics.observation, plan.statistics.hold_observation)}",
        f"reward statistics: {_describe_start(plan.statistics.reward, hold=False)}",
        "optimizer moments: fresh",
        *_beside_weights(plan),
        *(line for method in acting(strategy) for line in method.description()),
        f"online networks: {totals['values']:,} values; moved {moved_words(totals)}, frozen {totals['frozen']:,}, "
        f"trained {totals['trained']:,} ({_share(totals['trained'], totals['values'])})",
        *_left_out(plan),
    ]
    return "\n".join([*lines, "", *facts, *map(str, plan.findings)])


def _left_out(plan: PlanFacts) -> list[str]:
    """Returns a line for each reason for which tensors of the source do not move, with their names."""
    lines = []
    for reason, words in _REASONS.items():
        tensors = [tensor for tensor in plan.left_out if tensor.reason == reason]
        whole = [tensor for tensor in tensors if tensor.values == tensor.size]
        names = [_left_out_name(tensor) for tensor in tensors]
        if len(whole) > _MANY:
            layers = dict.fromkeys(f"{tensor.layer}{_of_source(tensor)}" for tensor in whole)
            names = [_left_out_name(tensor) for tensor in tensors if tensor not in whole]
            names.append(f"{len(whole)} tensors of {', '.join(layers)}")
        if names:
            text = f"left out of the source, {words}: {', '.join(names)}"
            lines.append(textwrap.fill(text, _WIDTH, subsequent_indent="  ", break_long_words=False))
    return lines


def _left_out_name(tensor: LeftOut) -> str:
    part = f" ({tensor.values:,} of {tensor.size:,} values)" if tensor.values < tensor.size else ""
    return f"{tensor.tensor}{_of_source(tensor)}{part}"


def _beside_weights(plan: PlanFacts) -> list[str]:
    """Returns what no row of the table shows."""
    lines = []
    if plan.critic_warmup_steps:
        lines.append(f"critic warm-up: the actor is held for {plan.critic_warmup_steps:,} env_steps")
    if plan.quiet_steps is not None:
        lines.append(f"exploration: goes on, no random actions; updates count from step {plan.quiet_steps:,} on")
    if plan.statistics_steps:
        steps = f"{plan.statistics_steps:,} env_steps of a random policy in the target"
        lines.append(f"running statistics: recomputed over {steps}, counted")
    return lines


def _row(entry: PlanEntry) -> tuple[str, ...]:
    shape = "x".join(str(length) for length in entry.shape) or "scalar"
    return entry.tensor, shape, entry.branch, entry.role, _describe_origin(entry), _describe_training(entry)


def _describe_origin(entry: PlanEntry) -> str:
    match entry.origin:
        case "synced":
            return f"synced with {entry.twin}"
        case "mapped":
            return _describe_map(entry) + _describe_mix(entry)
        case "set":
            return f"set to {entry.value:g}"
        case "copied":
            return f"copied{', shuffled' if entry.permuted else ''}{_from(entry)}{_describe_mix(entry)}"
        case _:
            return entry.origin


def _describe_map(entry: PlanEntry) -> str:
    words = []
    if entry.rows is not None:
        taken = sum(row is not None for row in entry.rows)
        new = len(entry.rows) - taken
        words.append(
            f"{taken} of {len(entry.rows)} rows copied" + (f", {new} initialised" if new else ", in new order")
        )
    if entry.columns is not None:
        kinds = {
            kind: entry.columns.count(kind) for kind in ("zero", "random", "fresh", "mean") if kind in entry.columns
        }
        side = "entries" if len(entry.shape) == 1 else "columns"
        taken = sum(isinstance(column, int) for column in entry.columns)
        copied = f"{taken} of {len(entry.columns)} {side} copied"
        if _is_reordered(entry.columns):
            copied += " in new order"
        words.append(", ".join([copied, *(f"{n} {kind}" for kind, n in kinds.items())]))
    if entry.gain != 1.0:
        words.append(f"times {entry.gain:g}")
    return f"mapped: {'; '.join(words)}{', shuffled' if entry.permuted else ''}{_from(entry)}"


def _is_reordered(columns: Sequence[Column]) -> bool:
    taken = [column for column in columns if isinstance(column, int)]
    return taken != sorted(taken)


def _describe_mix(entry: PlanEntry) -> str:
    return f", times {entry.shrink:g} plus {entry.perturb:g} x fresh" if entry.is_mixed else ""


def _from(entry: PlanEntry) -> str:
    return f", from {entry.source}{_of_source(entry)}" if entry.source not in (None, entry.tensor) else ""


def _of_source(item: LeftOut | PlanEntry) -> str:
    return f" of source {item.source_number + 1}" if item.source_number else ""


def _describe_training(entry: PlanEntry) -> str:
    if entry.branch == "target":
        return "held equal to its twin" if entry.frozen else "follows its twin"
    if entry.frozen:
        return "frozen (by you)" if entry.frozen_by_user else "frozen"
    if not entry.trains:
        return "statistic"
    words = f"low-rank update (rank {entry.rank})" if entry.rank else "trained"
    if entry.lr_scale != 1.0:
        words += f" at {entry.lr_scale:.3g} x lr"
    if entry.held_until:
        words += f" from step {entry.held_until:,} on"
    if entry.pull:
        words += f", pulled to the source ({entry.pull:g})"
    elif entry.decay:
        words += f", pulled to zero ({entry.decay:g})"
    if entry.importance:
        words += f", pulled to the source by importance ({entry.importance:g})"
    if entry.return_pull:
        words += f", pulled to its start ({entry.return_pull:g})"
    return words


def _describe_start(start: StatisticsStart, hold: bool) -> str:
    match start:
        case "none":
            return "none"
        case "fresh":
            return "fresh, held" if hold else "fresh, updated"
        case "copied" | "mapped":
            return f"{start} from the source, {'held' if hold else 'continued'}"


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "0 %"
