"""A pretrained network as a source: an encoder whose layers are the network's blocks, without heads or actions."""

from typing import Any

import torch

from rltransfer.anatomy import Anatomy, Layer
from rltransfer.artifact.encoder import Encoder
from rltransfer.errors import IncompatibleError
from rltransfer.extractors import NetworkExtractor
from rltransfer.networks import PretrainedNetwork, build_network
from rltransfer.records import SourceFacts

_EXTRACTOR = "features_extractor"
_PREFIX = f"{_EXTRACTOR}.network."


def network_encoder(network: PretrainedNetwork) -> Encoder:
    """Returns a pretrained network as an encoder; its tensors are named as in a features extractor that holds it."""
    layers = tuple(
        Layer(
            name=_PREFIX + block,
            branch="shared",
            role="encoder",
            depth=depth,
            path=_EXTRACTOR,
            tensors=tuple(_PREFIX + name for name in network.tensors if _is_of(name, prefixes)),
        )
        for depth, (block, prefixes) in enumerate(network.facts.blocks.items())
    )
    return Encoder(
        anatomy=Anatomy(
            algo=None,
            activation="unknown",
            layers=layers,
            shapes={
                name: tuple(network.tensors[name[len(_PREFIX) :]].shape) for layer in layers for name in layer.tensors
            },
            parameters=frozenset(_PREFIX + name for name in network.parameters),
            aliases={},
        ),
        tensors={name: network.tensors[name[len(_PREFIX) :]] for layer in layers for name in layer.tensors},
        observation_space=None,
        action_space=None,
        normaliser=None,
        source=SourceFacts(path=network.facts.name, sha256=network.sha256, network=network.facts),
        hyperparams={},
    )


def network_kwargs(encoder: Encoder) -> dict[str, Any]:
    """Returns the ``policy_kwargs`` of an agent whose features extractor is a source's network, with drawn weights.

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


def _is_of(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
