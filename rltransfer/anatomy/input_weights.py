"""Says how an agent's features extractors read its observations: which of their weights go with which entries."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from gymnasium import spaces
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


def features_extractors(agent: "BaseAlgorithm", *, targets: bool) -> dict[str, BaseFeaturesExtractor]:
    """Returns the features extractors of an agent by all names that they have in its policy.

    Args:
        agent: The agent.
        targets: Whether those of target networks are among them.
    """
    extractors: dict[str, BaseFeaturesExtractor] = {}
    for name, module in agent.policy.named_modules(remove_duplicate=False):
        is_whole = isinstance(module, BaseFeaturesExtractor) and name.endswith("features_extractor")
        is_inside = any(name.startswith(f"{path}.") for path in extractors)
        if is_whole and not is_inside and (targets or not name.partition(".")[0].endswith("_target")):
            extractors[name] = cast(BaseFeaturesExtractor, module)
    return extractors


def readings_of(agent: "BaseAlgorithm") -> tuple[Reading, ...]:
    """Returns how each features extractor of an agent reads its observations; those of target networks are left out.

    A features extractor states its inputs by a method ``input_weights() -> dict[str, tuple[str, ...]]``: for each key
    of the observation the names of its tensors whose second side (of a vector, its only one) are the entries of that
    observation, flattened, or the channels of that image. ``""`` stands for an observation without keys, or for all
    keys one after another in the order of the space. No names at all say that the entries are passed on as they are,
    in their order. But for ``""``, names and features must not depend on the order of the keys.

    Raises:
        ConfigError: The method fails, returns something else, or names a tensor that the extractor does not have.
    """
    return tuple(_reading(name, module) for name, module in features_extractors(agent, targets=False).items())


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
        is_known=type(module) in _OWN or (stated is not None and _passes_on(module, stated)),
        weights=None
        if stated is None
        else {key: tuple(f"{path}.{name}" for name in names) for key, names in stated.items() if names},
    )


def _passes_on(module: BaseFeaturesExtractor, stated: Mapping[str, tuple[str, ...]]) -> bool:
    """Returns whether an extractor states that it passes all entries on as they are, one feature for each."""
    return not any(stated.values()) and module.features_dim == spaces.flatdim(module._observation_space)


def _stated(module: Any) -> dict[str, tuple[str, ...]] | None:
    method = getattr(module, INPUT_WEIGHTS, None)
    if not callable(method):
        return None
    expected = 'expected a dictionary from keys of the observation ("" for all of it) to names of tensors'
    try:
        stated = method()
    except Exception as error:
        # Whatever the user's own method raises.
        raise ConfigError(f"{type(module).__name__}.{INPUT_WEIGHTS}() fails: {error!r}; {expected}.") from error
    if not isinstance(stated, Mapping) or any(isinstance(names, str) for names in stated.values()):
        raise ConfigError(f"{type(module).__name__}.{INPUT_WEIGHTS}() returns {stated!r}; {expected}.")
    return {str(key): tuple(map(str, names)) for key, names in stated.items()}


def _weights_of_sb3(module: BaseFeaturesExtractor) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(module, NatureCNN):
        yield "", ("cnn.0.weight",)
    elif isinstance(module, CombinedExtractor):
        for key, extractor in module.extractors.items():
            if isinstance(extractor, NatureCNN):
                yield key, (f"extractors.{key}.cnn.0.weight",)
