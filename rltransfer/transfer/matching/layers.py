"""Matches each tensor of a target with a tensor of a source, also where their algorithms differ.

Agents whose algorithms build the same networks (PPO and A2C; SAC and TQC; TD3 and DDPG) are matched by name. Elsewhere
a hidden layer is matched with the one at the same place of a network of the source, a features extractor's layer with
the one of the same name; heads have no match there.
"""

import re
from collections.abc import Iterator, Mapping

from rltransfer.anatomy import Anatomy, Branch, Layer, is_same_network
from rltransfer.strategies import SourceBranch

_ORDER: dict[tuple[SourceBranch, Branch], tuple[Branch, ...]] = {
    ("own", "actor"): ("actor", "shared", "critic"),
    ("own", "critic"): ("critic", "shared", "actor"),
    ("own", "shared"): ("shared", "actor", "critic"),
}
_KEY = re.compile(r"extractors\.([^.]+)")


def match_tensors(
    source: Anatomy, target: Anatomy, *, branch: SourceBranch = "own", keys: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Returns the source's tensor for each online tensor of the target that has one.

    Args:
        source: The source's anatomy.
        target: The target's.
        branch: The source's branch that hidden layers come from: the same as in the target where there is one, or one
            branch for all.
        keys: Of Dict observations: the source's key for the target's, where they differ.
    """
    sources: dict[str, str] = {}
    by_name = is_same_network(source.algo, target.algo) and branch == "own"
    for layer in target.online:
        names = {tensor: _renamed(tensor, keys or {}) for tensor in layer.tensors}
        if by_name and any(name in source.shapes for name in names.values()):
            sources |= {tensor: name for tensor, name in names.items() if name in source.shapes}
        elif layer.role == "encoder":
            other = _matching_layer(source, target, layer, branch, keys or {})
            sources |= {} if other is None else dict(_paired(layer, other, keys or {}))
        elif is_same_network(source.algo, target.algo):
            sources |= {tensor: name for tensor, name in names.items() if name in source.shapes}
    return sources


def _matching_layer(
    source: Anatomy, target: Anatomy, layer: Layer, branch: SourceBranch, keys: Mapping[str, str]
) -> Layer | None:
    kind = _kind(target, layer)
    for wanted in _ORDER.get((branch, layer.branch), (branch, "shared")):
        paths: dict[str, list[Layer]] = {}
        for other in source.encoders():
            if other.branch == wanted and _kind(source, other) == kind:
                paths.setdefault(other.path, []).append(other)
        if not paths:
            continue
        layers = paths[_nearest(layer.path, sorted(paths))]
        if kind == "extractor":
            name = _renamed(layer.name[len(layer.path) :], keys)
            return next((other for other in layers if other.name[len(other.path) :] == name), None)
        place = _place(target, layer)
        return layers[place] if place < len(layers) else None
    return None


def _kind(anatomy: Anatomy, layer: Layer) -> str:
    kind = anatomy.rule_of(layer).kind
    return "stack" if kind == "q_stack" else kind


def _place(anatomy: Anatomy, layer: Layer) -> int:
    return [other.name for other in anatomy.encoders() if other.path == layer.path].index(layer.name)


def _nearest(path: str, paths: list[str]) -> str:
    """Returns the path with the same number at its end (of two critics, the first to the first), or the first."""
    number = re.search(r"\d+$", path)
    return next((other for other in paths if number and other.endswith(number.group())), paths[0])


def _paired(layer: Layer, other: Layer, keys: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    source_tensors = {_renamed(_within_layer(other, tensor), {}): tensor for tensor in other.tensors}
    for tensor in layer.tensors:
        name = _renamed(_within_layer(layer, tensor), keys)
        if name in source_tensors:
            yield tensor, source_tensors[name]


def _within_layer(layer: Layer, tensor: str) -> str:
    """Returns a tensor's name as seen from its layer: numbers of a stack count from the layer's own."""
    rest = tensor[len(layer.path) + 1 :]
    own_number = layer.name[len(layer.path) + 1 :]
    number, dot, name = rest.partition(".")
    if own_number.isdecimal() and number.isdecimal():
        return f"{int(number) - int(own_number)}{dot}{name}"
    return rest


def _renamed(name: str, keys: Mapping[str, str]) -> str:
    return _KEY.sub(lambda match: f"extractors.{keys.get(match.group(1), match.group(1))}", name)
