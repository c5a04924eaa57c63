"""Finds what the user of a plan should know of a pretrained network that the agent's features extractor is."""

from collections.abc import Iterator
from typing import Literal

from gymnasium import spaces

from rltransfer.records import MOVED, Finding, NetworkFacts, PlanEntry
from rltransfer.transfer.matching.pair import Pair
from rltransfer.transfer.plan import Plan


def findings_of_network(plan: Plan, pair: Pair, network: NetworkFacts) -> Iterator[Finding]:
    """Yields what is to be known of a plan whose source is a pretrained network."""
    entries = [entry for entry in plan.entries if entry.twin is None and _is_in_network(entry)]
    yield from _of_images(pair, network)
    if network.contract_is_assumed:
        words = (
            "the file of weights does not tell the images that it was trained on: those of the library's default "
            "weights are assumed"
        )
        yield _finding("contract_assumed", "warning", words)
    at_full_rate = [entry for entry in entries if entry.origin in MOVED and entry.trains and not entry.rank]
    if any(entry.lr_scale == 1.0 for entry in at_full_rate):
        words = (
            "the network learns at the rate of the new layers, which can ruin its features in a few updates: a tenth "
            "is usual (--strategy-kwargs lr_scale:0.1)"
        )
        yield _finding("network_rate", "warning", words)
    if any(entry.origin in MOVED and entry.trains for entry in entries):
        words = "the network stays in evaluation mode: its running statistics are held, and dropout does nothing"
        yield _finding("network_mode", "note", words)
    unmoved = [entry for entry in entries if entry.origin == "initialised"]
    fresh = {entry.layer for entry in unmoved if entry.tensor in pair.running_statistics}
    if fresh and any(entry.origin in MOVED for entry in entries):
        words = (
            f"{len(fresh)} blocks of the network start afresh, under running statistics that are held as they start "
            "(mean 0, variance 1): move all of them, or cut the network in front of these (rltransfer extract --cut)"
        )
        yield _finding("fresh_blocks", "warning", words, blocks=len(fresh))


def _is_in_network(entry: PlanEntry) -> bool:
    return ".network." in f".{entry.tensor}" and entry.role == "encoder"


def _of_images(pair: Pair, network: NetworkFacts) -> Iterator[Finding]:
    space = pair.observation_space
    if not isinstance(space, spaces.Box) or len(space.shape) != 3:
        return
    channels, *sides = space.shape
    wanted = network.contract.size
    words = f"the network receives images of {wanted[0]}x{wanted[1]}"
    if tuple(sides) != wanted:
        words += f", to which the target's of {sides[0]}x{sides[1]} are resized"
        if wanted[0] * wanted[1] > sides[0] * sides[1]:
            times = wanted[0] * wanted[1] / (sides[0] * sides[1])
            words += (
                f": {times:.1f} times as many pixels to compute on, none of them new (rltransfer extract "
                f"{network.name} --size {max(sides)} -o DIR has it take them as they are)"
            )
    if channels == 1:
        words += "; the one channel of the target is repeated for its three"
    yield _finding("network_images", "note", words)


def _finding(kind: str, severity: Literal["note", "warning"], words: str, **numbers: float) -> Finding:
    return Finding(kind=kind, severity=severity, words=words, numbers=numbers)
