"""A pretrained network as a source: an encoder whose layers are the network's blocks, without heads or actions."""

from typing import Any

import torch

from rltransfer.anatomy import Anatomy, Layer, within
from rltransfer.artifact.encoder import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import NetworkExtractor
from rltransfer.networks import PretrainedNetwork, build_network
from rltransfer.records import SourceFacts

_EXTRACTOR = "features_extractor"
_PREFIX = f"{_EXTRACTOR}.network."


def network_encoder(network: PretrainedNetwork, path: str) -> Encoder:
    """Returns a pretrained network as an encoder; its tensors are named as in a features extractor that holds it.

    Args:
        network: The network.
        path: The source as it was named: a network of a library, or a file of weights.
    """
    tensors = {_PREFIX + name: tensor for name, tensor in network.tensors.items()}
    layers = tuple(
        Layer(
            name=_PREFIX + block,
            branch="shared",
            role="encoder",
            depth=depth,
            path=_EXTRACTOR,
            tensors=tuple(name for name in tensors if any(within(name, _PREFIX + prefix) for prefix in prefixes)),
        )
        for depth, (block, prefixes) in enumerate(network.facts.blocks.items())
    )
    in_order = {name: tensors[name] for layer in layers for name in layer.tensors}
    return Encoder(
        anatomy=Anatomy(
            algo=None,
            activation="unknown",
            layers=layers,
            shapes={name: tuple(tensor.shape) for name, tensor in in_order.items()},
            parameters=frozenset(_PREFIX + name for name in network.parameters),
            aliases={},
        ),
        tensors=in_order,
        observation_space=None,
        action_space=None,
        normaliser=None,
        source=SourceFacts(path=path, sha256=network.sha256, network=network.facts),
        hyperparams={},
    )


def network_kwargs(encoder: Encoder, *, frames: int = 1) -> dict[str, Any]:
    """Returns the ``policy_kwargs`` of an agent whose features extractor is a source's network, with drawn weights.

    Args:
        encoder: The source.
        frames: How many frames the agent's images have stacked (VecFrameStack); each goes through the network alone.

    Raises:
        IncompatibleError: The source is no pretrained network.
        MissingExtraError: The network's library is not installed, or does not import.
    """
    facts = encoder.source.network
    if facts is None:
        raise IncompatibleError(f"{encoder.source.path} is {encoder.source.what}, no pretrained network.")
    network = build_network(facts)
    for module in network.modules():
        for name, value in list(module.named_parameters(recurse=False)):
            # A zip of the agent has the weights in the policy: they need not be in these arguments, too.
            setattr(module, name, torch.nn.Parameter(torch.empty_like(value, device="meta")))
    contract = facts.contract
    return {
        "features_extractor_class": NetworkExtractor,
        "features_extractor_kwargs": {
            "network": network,
            "features_dim": facts.features,
            "frames": frames,
            "size": contract.size,
            "resize": contract.resize,
            "interpolation": contract.interpolation,
            "antialias": contract.antialias,
            "mean": contract.mean,
            "std": contract.std,
            "pool": facts.pool,
            "blocks": facts.blocks,
        },
        "normalize_images": True,
    }
