"""Refuses what a plan's agent cannot experience as planned, and finds what its user should know of the rest."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gymnasium import spaces

from rltransfer.strategies import Augment, Replay, Residual, TeacherPart, held_parts
from rltransfer.transfer.experience.augment import augmentation_of
from rltransfer.transfer.experience.replay import source_replay_of
from rltransfer.transfer.experience.residual import refuse_residual
from rltransfer.transfer.matching.action_bounds import describe_bounds, other_bounds
from rltransfer.transfer.plan import Finding, Plan

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm


def experience_findings(plan: Plan, agent: "BaseAlgorithm") -> Iterator[Finding]:
    """Yields what is to be known of the parts that change what an agent does, remembers or sees.

    Raises:
        RLTransferError: One of them cannot be done, with the reason.
    """
    if any(isinstance(part, TeacherPart | Residual) for part in held_parts(plan.strategy)):
        yield from _of_clipped_actions(plan, agent)
    for part in held_parts(plan.strategy):
        if isinstance(part, Residual):
            refuse_residual(plan, agent)
            yield _of_residual(plan)
        elif isinstance(part, Replay):
            yield from _of_replay(plan, agent, part)
        elif isinstance(part, Augment):
            augmentation_of(part, agent)


def _of_clipped_actions(plan: Plan, agent: "BaseAlgorithm") -> Iterator[Finding]:
    source = None if plan.encoder is None else plan.encoder.action_space
    bounds = other_bounds(source, agent.action_space, plan.actions)
    clipped = [bound for bound in bounds if bound.clips]
    if clipped:
        which = describe_bounds(clipped, spaces.flatdim(agent.action_space))
        words = f"what the source does is clipped to the bounds of the target's actions: {which}"
        yield Finding(kind="actions_clipped", severity="warning", words=words, numbers={"actions": len(clipped)})


def _of_residual(plan: Plan) -> Finding:
    source = "its source" if plan.encoder is None else plan.encoder.source.path
    words = (
        f"what is saved is half of a policy: it acts on top of {source}, in environments from rltransfer.equip(env, "
        "plan)"
    )
    return Finding(kind="half_policy", severity="note", words=words)


def _of_replay(plan: Plan, agent: "BaseAlgorithm", part: Replay) -> Iterator[Finding]:
    found = source_replay_of(plan, agent, part)
    size, left_out = len(found.transitions), found.n_left_out
    words = f"the source remembers {size:,} transitions that are mixed in"
    if left_out:
        words += f"; {left_out:,} more are left out, since the target does not have their actions"
    yield Finding(kind="replay", severity="note", words=words, numbers={"transitions": size, "left_out": left_out})
    if part.reward is None:
        words = (
            "the rewards of the source's transitions are the source's own: right only where both tasks reward alike, "
            "otherwise name the target's function with reward"
        )
        yield Finding(kind="source_rewards", severity="warning", words=words)
