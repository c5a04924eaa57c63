"""Finds what the user of a plan should know of a pretrained network that the agent's features extractor is."""

from collections.abc import Iterator

from gymnasium import spaces

from rltransfer.artifact import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import is_readable_image
from rltransfer.records import MOVED, Finding, NetworkFacts, SourceFacts
from rltransfer.spaces import parts_by_key
from rltransfer.transfer.matching.pair import Pair
from rltransfer.transfer.plan import Plan


def refuse_wrong_network_inputs(pair: Pair, encoder: Encoder) -> None:
    """Raises IncompatibleError if a map of inputs is given that means nothing to a pretrained network."""
    if encoder.source.network is None or pair.inputs is None:
        return
    given = [name for name in ("map", "source", "keys", "adapter") if getattr(pair.inputs, name)]
    given += ["new"] if pair.inputs.new != "zero" else []
    if given:
        raise IncompatibleError(
            f"inputs: {' and '.join(given)} is of sources that are agents. A pretrained network reads colour images as "
            "it was trained on them: an image of one channel is repeated, each of stacked frames is read alone, and of "
            "a dictionary each image is read. Leave it out."
        )
    if pair.inputs.channels is not None and all(space.shape[0] != pair.frames for space in _images(pair).values()):
        raise IncompatibleError(
            f"inputs: channels {pair.inputs.channels!r} has nothing to do: the images have three channels, as the "
            "network reads them. Leave it out."
        )


def findings_of_network(plan: Plan, pair: Pair, source: SourceFacts) -> Iterator[Finding]:
    """Yields what is to be known of a plan whose source is a pretrained network."""
    assert source.network is not None
    behind = {layer.name for layer in pair.anatomy.encoders() if pair.is_behind_network(layer)}
    entries = [
        entry for entry in plan.entries if entry.twin is None and entry.role == "encoder" and entry.layer not in behind
    ]
    yield Finding(kind="network_images", severity="note", words=_images_words(pair, source))
    if source.network.contract_is_assumed:
        words = (
            "the file of weights does not tell the images that it was trained on: those of the library's default "
            "weights are assumed"
        )
        yield Finding(kind="contract_assumed", severity="warning", words=words)
    trained = [entry for entry in entries if entry.origin in MOVED and entry.trains]
    if any(entry.lr_scale == 1.0 and not entry.rank for entry in trained):
        words = (
            "the network learns at the rate of the new layers, which can ruin its features in a few updates: a tenth "
            "is usual (--strategy-kwargs lr_scale:0.1)"
        )
        yield Finding(kind="network_rate", severity="warning", words=words)
    if any(entry.trains for entry in entries):
        words = "the network stays in evaluation mode: its running statistics are held, and dropout does nothing"
        yield Finding(kind="network_mode", severity="note", words=words)
    fresh = {
        entry.layer for entry in entries if entry.origin == "initialised" and entry.tensor in pair.running_statistics
    }
    if fresh and any(entry.origin in MOVED for entry in entries):
        words = (
            f"{len(fresh)} blocks of the network start afresh, under running statistics that are held as they start "
            "(mean 0, variance 1): move all of them, or cut the network in front of these (--cut, where it is read)"
        )
        yield Finding(kind="fresh_blocks", severity="warning", words=words, numbers={"blocks": len(fresh)})


def _images(pair: Pair) -> dict[str, spaces.Box]:
    """Returns the images of the agent's observation that the network reads, by key."""
    parts = parts_by_key(pair.observation_space).items()
    return {key: part for key, part in parts if isinstance(part, spaces.Box) and is_readable_image(part, pair.frames)}


def _images_words(pair: Pair, source: SourceFacts) -> str:
    assert source.network is not None
    size = source.network.contract.size
    words = f"the network receives images of {size[0]}x{size[1]}"
    for key, space in _images(pair).items():
        channels, *sides = space.shape
        whose = f"{key!r}" if key else "the target's"
        if tuple(sides) != size:
            words += f", to which {whose} of {sides[0]}x{sides[1]} are resized"
            times = size[0] * size[1] / (sides[0] * sides[1])
            if times > 1:
                words += (
                    f": {times:.1f} times as many pixels to compute on, none of them new (rltransfer extract "
                    f"{_named(source.path, source.network)} --size {max(sides)} -o DIR has it take them as they are)"
                )
        elif key:
            words += f", as those of {key!r} are"
        if channels == pair.frames:
            words += "; the one channel of the target is repeated for its three"
        if pair.frames > 1:
            words += f"; each of {pair.frames} frames is read alone, and their features are stacked"
    rest = parts_by_key(pair.observation_space).keys() - _images(pair).keys()
    if rest:
        words += f"; {', '.join(sorted(rest))}: passed on beside its features"
    return words


def _named(path: str, network: NetworkFacts) -> str:
    """Returns what the source is called on the command line, where it was read."""
    return path if network.weights is not None else f"{path} --arch {network.library}:{network.architecture}"
