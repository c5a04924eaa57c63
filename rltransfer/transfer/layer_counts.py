"""Checks the numbers of layers that a strategy names against the layers that an agent has."""

import dataclasses
from collections.abc import Iterator

from rltransfer.anatomy import Anatomy, Branch, Layer, depth_of, describe_layers
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import (
    Finetune,
    Frozen,
    GradualUnfreeze,
    LoRA,
    RandomFrozen,
    Rescaled,
    Shuffled,
    Strategy,
    held_parts,
    modifiers,
    weights_part,
)


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """The first ``count`` layers of ``branches``, as a setting of a part asks for them."""

    kind: str
    setting: str
    count: int
    branches: tuple[Branch, ...]


def refuse_missing_layers(strategy: Strategy, anatomy: Anatomy) -> None:
    """Refuses a number of layers that no path has.

    Where some paths are shorter than others, the longest one decides: see ``shorter_branches``.

    Raises:
        IncompatibleError: A setting asks for more layers than there are, or for more steps than layers to release.
    """
    for stated in _layer_counts(strategy):
        # A number that applies to no layer at all is compared with the whole encoder.
        layers = _layers_of(anatomy, stated.branches) or anatomy.encoders()
        there = depth_of(layers)
        if stated.count > there:
            raise IncompatibleError(
                f"'{stated.kind}' with {stated.setting}:{stated.count} takes more layers than there are: this agent "
                f"has {describe_layers(layers)}. Write {stated.setting}:all or {stated.setting}:{there}."
            )
    for part in held_parts(strategy):
        if isinstance(part, GradualUnfreeze) and len(part.at) > depth_of(anatomy.encoders()):
            raise _too_many_steps(part, anatomy)


def shorter_branches(strategy: Strategy, anatomy: Anatomy) -> Iterator[tuple[LayerCount, Branch, int]]:
    """Yields each number of layers that a branch does not have, though another one does, and how many it has."""
    for stated in _layer_counts(strategy):
        for branch in ("actor", "critic"):
            if branch in stated.branches and any(layer.branch == branch for layer in anatomy.encoders()):
                there = depth_of(_layers_of(anatomy, (branch, "shared")))
                if there < stated.count:
                    yield stated, branch, there


def _too_many_steps(part: GradualUnfreeze, anatomy: Anatomy) -> IncompatibleError:
    layers = anatomy.encoders()
    fewer = ",".join(map(str, part.at[: depth_of(layers)]))
    return IncompatibleError(
        f"'gradual_unfreeze' with at:[{','.join(map(str, part.at))}] releases {len(part.at)} layers one after the "
        f"other, and this agent has {describe_layers(layers)}. "
        + (f"Write at:[{fewer}]." if fewer else "Leave 'gradual_unfreeze' out.")
    )


def _layer_counts(strategy: Strategy) -> Iterator[LayerCount]:
    part = weights_part(strategy)
    if isinstance(part, Shuffled):
        yield from _layer_counts(part.of)
    if isinstance(part, Finetune | Frozen | RandomFrozen | Rescaled):
        own: dict[Branch, object] = {"actor": part.actor, "critic": part.critic}
        for branch, choice in own.items():
            if isinstance(choice, int):
                yield LayerCount(part.kind, branch, choice, (branch, "shared"))
        if isinstance(part.layers, int):
            following = tuple(branch for branch, choice in own.items() if choice is None)
            yield LayerCount(part.kind, "layers", part.layers, ("shared", *following))
    for modifier in modifiers(strategy):
        if isinstance(modifier, LoRA) and isinstance(modifier.layers, int):
            yield LayerCount(modifier.kind, "layers", modifier.layers, ("shared", "actor", "critic"))


def _layers_of(anatomy: Anatomy, branches: tuple[Branch, ...]) -> tuple[Layer, ...]:
    return tuple(layer for layer in anatomy.encoders() if layer.branch in branches)
