"""Words what each arm moved, layer by layer, from the plans that the runs left behind."""

from collections.abc import Iterable

from rltransfer.comparison import TaskComparison
from rltransfer.records import PlanEntry, PlanFacts, moved_words
from rltransfer.report.blocks import Block, Folded, Paragraph, Table, bullets
from rltransfer.report.provenance import ArmPlan, Provenance


def blocks(task: TaskComparison, provenance: Provenance) -> tuple[Block, ...]:
    """Returns the plan of each arm that has one; nothing where no run of the task left a plan."""
    plans = provenance.plans.get(task.name, {})
    if not plans:
        return ()
    return (
        Folded("What was moved", 3, tuple(block for name, plan in plans.items() for block in arm_blocks(name, plan))),
    )


def summary(plan: PlanFacts) -> str:
    """Returns in one line how many values were moved, frozen and trained."""
    totals = {"values": 0, "frozen": 0, "trained": 0} | plan.totals
    return (
        f"{totals['values']:,} values; moved {moved_words(totals)}, frozen {totals['frozen']:,}, "
        f"trained {totals['trained']:,}"
    )


def layer_rows(plan: PlanFacts) -> tuple[tuple[str, ...], ...]:
    """Returns a row for each layer: name, branch, role, number of values, what its weights are and how they train."""
    layers: dict[tuple[str, str, str], list[PlanEntry]] = {}
    for entry in plan.entries:
        layers.setdefault((entry.layer, entry.branch, entry.role), []).append(entry)
    return tuple(
        (
            f"`{layer}`",
            branch,
            role,
            f"{sum(entry.size for entry in entries):,}",
            _together(_weights(entry) for entry in entries),
            _together(_training(entry) for entry in entries),
        )
        for (layer, branch, role), entries in layers.items()
    )


HEAD = ("layer", "branch", "role", "values", "weights", "training")


def arm_blocks(name: str, plan: ArmPlan) -> tuple[Block, ...]:
    """Returns what an arm moved: the totals, a row for each layer, what is not weights, and what to know about it."""
    if plan.facts is None:
        return (Paragraph(f"**`{name}`**: {plan.problem}."),)
    lead = f"**`{name}`**: {summary(plan.facts)}{'' if plan.alike else '; the seeds differ, shown is the first'}."
    return (
        Paragraph(lead),
        Table(HEAD, layer_rows(plan.facts), left=True),
        *bullets(
            [*_beside_weights(plan.facts), *(f"{finding.severity}: {finding.words}" for finding in plan.facts.findings)]
        ),
    )


def _beside_weights(plan: PlanFacts) -> list[str]:
    statistics = plan.statistics
    held = ", held" if statistics.hold_observation else ""
    lines = []
    if (statistics.observation, statistics.reward) != ("none", "none"):
        lines.append(f"statistics: observations {statistics.observation}{held}; rewards {statistics.reward}")
    if plan.critic_warmup_steps:
        lines.append(f"critic warm-up: the actor is held for {plan.critic_warmup_steps:,} steps")
    if plan.quiet_steps is not None:
        lines.append(f"no random actions at the start; updates count from step {plan.quiet_steps:,} on")
    if plan.statistics_steps:
        lines.append(f"running statistics: recomputed over {plan.statistics_steps:,} steps of a random policy, counted")
    return lines


def _weights(entry: PlanEntry) -> str:
    words = entry.origin + (", shuffled" if entry.permuted else "")
    return words + (", mixed with fresh ones" if entry.shrink != 1.0 or entry.perturb != 0.0 else "")


def _training(entry: PlanEntry) -> str:
    if entry.branch == "target":
        return "held equal to its twin" if entry.frozen else "follows its twin"
    if entry.frozen or not entry.trains:
        return "frozen" if entry.frozen else "statistic"
    words = f"low-rank update (rank {entry.rank})" if entry.rank else "trained"
    words += "" if entry.lr_scale == 1.0 else f" at {entry.lr_scale:.3g} x lr"
    if entry.held_until:
        words += f" from step {entry.held_until:,} on"
    if entry.pull or entry.importance:
        return f"{words}, pulled to the source"
    return words + (", pulled to its start" if entry.return_pull else ", pulled to zero" if entry.decay else "")


def _together(words: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(words))
