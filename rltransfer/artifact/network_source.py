"""A pretrained network as a source: an encoder whose layers are the network's blocks, without heads or actions."""

from rltransfer.anatomy import Anatomy, Layer
from rltransfer.artifact.encoder import Encoder
from rltransfer.networks import PretrainedNetwork
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


def _is_of(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(f"{prefix}.") for prefix in prefixes)
