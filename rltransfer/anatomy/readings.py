"""Says how an agent's features extractors read its observations: which of their weights go with which entries."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from stable_baselines3.common.torch_layers import (
    BaseFeaturesExtractor,
    CombinedExtractor,
    FlattenExtractor,
    NatureCNN,
)

from rltransfer.errors import ConfigError
from rltransfer.extractors import LinearAdapter, ProgressiveColumns, SmallCNN

if TYPE_CHECKING:
    from stable_baselines3.common.base_class import BaseAlgorithm

INPUT_WEIGHTS = "input_weights"
"""The method by which a features extractor names the weights that read its observations."""
_OWN = (FlattenExtractor, NatureCNN, CombinedExtractor, LinearAdapter, ProgressiveColumns, SmallCNN)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How one features extractor reads the observation.

    Attributes:
        path: Its name in the policy.
        class_name: The name of its class.
        is_known: Whether it is one of SB3's or rltransfer's. Such a one gives the features of each key one after the
            other, in the order of the observation space; what has no weights of its own is flattened.
        weights: By key of the observation (empty for all of it), the full names of the tensors whose second side (the
            entries of a vector) are its entries, of images its channels. None if the extractor does not say.
    """

    path: str
    class_name: str
    is_known: bool
    weights: Mapping[str, tuple[str, ...]] | None


def readings_of(agent: "BaseAlgorithm") -> tuple[Reading, ...]:
    """Returns how each features extractor of an agent reads its observations; those of target networks are left out.

    A features extractor states its inputs by a method ``input_weights() -> dict[str, tuple[str, ...]]``: for each key
    of the observation (or ``""`` for all of it) the names of its tensors whose second side are the entries of that
    observation, flattened, or the channels of that image. What it gives must not depend on the order of the keys.

    Raises:
        ConfigError: It names a tensor that the extractor does not have.
    """
    return tuple(
        _reading(name, module)
        for name, module in agent.policy.named_modules(remove_duplicate=False)
        if isinstance(module, BaseFeaturesExtractor) and _is_online(name)
    )


def _is_online(name: str) -> bool:
    """Returns whether a name is that of a whole extractor (a CombinedExtractor holds others) of an online network."""
    network, _, last = name.rpartition(".")
    return last.endswith("features_extractor") and "." not in network and not network.endswith("_target")


def _reading(path: str, module: BaseFeaturesExtractor) -> Reading:
    stated = _stated(module)
    if stated is None and type(module) in _OWN:
        stated = dict(_weights_of_sb3(module))
    if stated is not None:
        tensors = module.state_dict()
        for name in (name for names in stated.values() for name in names if name not in tensors):
            raise ConfigError(
                f"The features extractor {type(module).__name__} says in {INPUT_WEIGHTS}() that its {name!r} reads the "
                f"observation, and it has no such tensor. It has: {', '.join(tensors)}."
            )
    return Reading(
        path=path,
        class_name=type(module).__name__,
        is_known=type(module) in _OWN,
        weights=None
        if stated is None
        else {key: tuple(f"{path}.{name}" for name in names) for key, names in stated.items()},
    )


def _stated(module: Any) -> dict[str, tuple[str, ...]] | None:
    method = getattr(module, INPUT_WEIGHTS, None)
    return {str(key): tuple(names) for key, names in method().items()} if callable(method) else None


def _weights_of_sb3(module: BaseFeaturesExtractor) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(module, NatureCNN):
        yield "", ("cnn.0.weight",)
    elif isinstance(module, CombinedExtractor):
        for key, extractor in module.extractors.items():
            if isinstance(extractor, NatureCNN):
                yield key, (f"extractors.{key}.cnn.0.weight",)
