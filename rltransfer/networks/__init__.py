"""Reads pretrained networks of torchvision and timm as encoders: their weights, their cut, the images they expect.

Neither library is imported before a network is named. No file of weights is unpickled.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import torch
from torch import fx

from rltransfer.errors import SourceError
from rltransfer.networks import timm_networks, torchvision_networks
from rltransfer.networks.graph import CutNetwork, blocks_of, cut_network
from rltransfer.networks.weights_file import cached_file, read_state, sha256_of
from rltransfer.records import NetworkFacts, NetworkName

_SHOWN = 4
# Files from before PyTorch 0.4.1 lack it; PyTorch reads them, and has it begin at zero.
_COUNT = "num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class PretrainedNetwork:
    """A network that was read and cut.

    Attributes:
        facts: What it is.
        tensors: Its parameters and running statistics in front of the cut, by name.
        parameters: The names of those that are parameters.
        sha256: Of the file of its weights.
    """

    facts: NetworkFacts
    tensors: Mapping[str, torch.Tensor]
    parameters: frozenset[str]
    sha256: str


def read_network(
    name: NetworkName, *, file: Path | None = None, cut: str | None = None, pool: int = 1, size: int | None = None
) -> PretrainedNetwork:
    """Returns a pretrained network in front of a cut, with its weights.

    Args:
        name: The network.
        file: A file of weights; None for those that the library names, which are fetched where they are not there.
        cut: The layer to cut behind; None for the input of the last layer with weights.
        pool: The side of the map of features that an image is pooled to.
        size: The side of the images that it receives, in place of what its weights were trained on.

    Raises:
        MissingExtraError: The library is not installed, or does not import.
        UnknownNameError: There is no such network, or no such weights.
        SourceError: The file is missing, damaged, or of another network.
        UnknownLayerError: There is no layer to cut behind of that name.
        IncompatibleError: The network cannot be cut.
    """
    library = _library(name)
    told = library.describe_weights(name.architecture, name.weights)
    fetch = timm_networks.cached_file if name.library == "timm" else cached_file
    path = file or fetch(told.url, told.file_name, told.hash_prefix)
    state = read_state(path)
    built = library.build(name.architecture, name.weights, None if file else state)
    contract = told.contract
    if size is not None:
        contract = contract.model_copy(update={"size": (size, size), "resize": None})
    part = cut_network(built.module, contract.size, cut, str(name))
    tensors = part.graph.state_dict()
    if file is not None:
        _refuse_other_weights(path, name, state, tensors)
        tensors = {tensor: state.get(tensor, value) for tensor, value in tensors.items()}
    return PretrainedNetwork(
        facts=NetworkFacts(
            library=name.library,
            architecture=name.architecture,
            weights=None if file else told.name,
            built_for=told.name,
            file=path.name,
            url=None if file else told.url,
            licence=None if file else told.licence,
            contract=contract.model_copy(update={"is_fixed": part.is_fixed}),
            contract_is_assumed=file is not None and name.weights is None,
            cut=part.cut,
            is_default_cut=cut is None,
            pool=pool if len(part.shape) == 3 else 0,
            features=_features(part, pool),
            blocks=blocks_of(part.graph),
            left_out=tuple(tensor for tensor in state if tensor not in tensors),
            versions={"torch": str(torch.__version__), **built.versions},
        ),
        tensors={tensor: value.detach().clone() for tensor, value in tensors.items()},
        parameters=frozenset(tensor for tensor, _ in part.graph.named_parameters()),
        sha256=sha256_of(path),
    )


def build_network(facts: NetworkFacts) -> fx.GraphModule:
    """Returns the part of a network in front of its cut as its library initialises it, without its weights.

    Raises:
        MissingExtraError: The library is not installed, or does not import.
        UnknownNameError: This version of the library has no such network any more.
    """
    name = NetworkName(facts.library, facts.architecture, facts.built_for)
    built = _library(name).build(name.architecture, name.weights, None)
    return cut_network(built.module, facts.contract.size, None if facts.is_default_cut else facts.cut, str(name)).graph


def _library(name: NetworkName) -> ModuleType:
    return {"torchvision": torchvision_networks, "timm": timm_networks}[name.library]


def _features(part: CutNetwork, pool: int) -> int:
    """Returns how many features an image has: of a map, those of each place that it is pooled to."""
    *_, channels = part.shape if len(part.shape) != 3 else (part.shape[0],)
    return channels * (pool * pool if len(part.shape) == 3 else 1)


def _refuse_other_weights(
    path: Path, name: NetworkName, state: Mapping[str, torch.Tensor], tensors: Mapping[str, torch.Tensor]
) -> None:
    missing = [tensor for tensor in tensors if tensor not in state and not tensor.endswith(_COUNT)]
    wrong = [
        f"{tensor}: {list(state[tensor].shape)} in the file, {list(value.shape)} in the network"
        for tensor, value in tensors.items()
        if tensor in state and state[tensor].shape != value.shape
    ]
    if missing or wrong:
        problems = [*(f"{tensor} is not there" for tensor in missing), *wrong]
        more = f", and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise SourceError(f"{path} does not hold the weights of {name}: {'; '.join(problems[:_SHOWN])}{more}.")
