"""Checks the numbers of layers that a strategy names against the layers that an agent has."""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from rltransfer.anatomy import Anatomy, Branch, Layer, depth_of, describe_layers
from rltransfer.errors import IncompatibleError
from rltransfer.strategies import GradualUnfreeze, LayerSettings


@dataclasses.dataclass(frozen=True)
class LayerCount:
    """The first ``count`` layers of ``branches``, as a setting of a method asks for them."""

    kind: str
    setting: str
    count: int
    branches: tuple[Branch, ...]


def refuse_missing_layers(counts: Iterable[LayerCount], anatomy: Anatomy) -> None:
    """Refuses a number of layers that no path has.

    Where some paths are shorter than others, the longest one decides: see ``shorter_branches``.

    Raises:
        IncompatibleError: A setting asks for more layers than there are.
    """
    for stated in counts:
        # A number that applies to no layer at all is compared with the whole encoder.
        layers = _layers_of(anatomy, stated.branches) or anatomy.encoders()
        there = depth_of(layers)
        if stated.count > there:
            raise IncompatibleError(
                f"'{stated.kind}' with {stated.setting}:{stated.count} takes more layers than there are: this agent "
                f"has {describe_layers(layers)}. Write {stated.setting}:all or {stated.setting}:{there}."
            )


def shorter_branches(counts: Iterable[LayerCount], anatomy: Anatomy) -> Iterator[tuple[LayerCount, Branch, int]]:
    """Yields each number of layers that a branch does not have, though another one does, and how many it has."""
    for stated in counts:
        for branch in ("actor", "critic"):
            if branch in stated.branches and any(layer.branch == branch for layer in anatomy.encoders()):
                there = depth_of(_layers_of(anatomy, (branch, "shared")))
                if there < stated.count:
                    yield stated, branch, there


def refuse_idle_steps(
    settings: GradualUnfreeze, anatomy: Anatomy, chosen: Collection[str], distances: Mapping[str, int]
) -> None:
    """Refuses steps of ``gradual_unfreeze`` at which no layer is released.

    Args:
        settings: Of the method.
        anatomy: Of the agent.
        chosen: The encoder layers that the strategy moves.
        distances: How far each encoder layer is from the heads above it, 1 for the last one: each is released at the
            step of its distance, or at the last step.

    Raises:
        IncompatibleError: The message says which steps are left.
    """

    def idle(count: int) -> list[int]:
        released = {min(distances[name], count) for name in chosen}
        return [number for number in range(1, count + 1) if number not in released]

    unused = idle(len(settings.at))
    if not unused:
        return
    layers = [layer for layer in anatomy.encoders() if layer.name in chosen]
    fewer = next((count for count in range(len(settings.at), 0, -1) if not idle(count)), 0)
    at = f"'gradual_unfreeze' with at:[{_listed(settings.at)}]"
    if len(layers) == len(anatomy.encoders()):
        words = (
            f"{at} releases {len(settings.at)} layers one after the other, and this agent has {describe_layers(layers)}"
        )
    else:
        far = sorted({distances[layer.name] for layer in layers})
        names = "; ".join(
            f"{distance}: {' and '.join(layer.name for layer in layers if distances[layer.name] == distance)}"
            for distance in far
        )
        words = (
            f"{at} releases nothing at {_listed([settings.at[number - 1] for number in unused])}: "
            f"of the layers, counted from the heads, the strategy moves {names or 'none'}"
        )
    raise IncompatibleError(
        f"{words}. " + (f"Write at:[{_listed(settings.at[:fewer])}]." if fewer else "Leave 'gradual_unfreeze' out.")
    )


def _listed(steps: Sequence[int]) -> str:
    return ",".join(map(str, steps))


def layer_counts(settings: LayerSettings) -> Iterator[LayerCount]:
    """Yields the numbers of layers in the settings of a method that chooses layers."""
    choices: dict[Branch, object] = {"actor": settings.actor, "critic": settings.critic}
    for branch, choice in choices.items():
        if isinstance(choice, int):
            yield LayerCount(settings.kind, branch, choice, (branch, "shared"))
    if isinstance(settings.layers, int):
        following = tuple(branch for branch, choice in choices.items() if choice is None)
        yield LayerCount(settings.kind, "layers", settings.layers, ("shared", *following))


def _layers_of(anatomy: Anatomy, branches: tuple[Branch, ...]) -> tuple[Layer, ...]:
    return tuple(layer for layer in anatomy.encoders() if layer.branch in branches)
