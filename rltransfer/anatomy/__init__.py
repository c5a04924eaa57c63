"""Says which tensor of an agent, live or read from a zip, is which layer.

An agent's tensors are named as in its policy's state dict. Each belongs to exactly one layer, a layer to one branch
(``actor``, ``critic``, ``shared`` by both, ``target`` for target networks) and one role: ``encoder``, ``head``,
``adapter`` in front of an encoder, ``column`` for the layers of a source that stand beside it, ``lateral`` for what it
takes from these. Names that are aliases of other tensors (a shared features extractor has three) are resolved to the
first of them.
"""

from rltransfer.algorithms import LOG_ENT_COEF, Branch, ModuleKind, Role, Rule
from rltransfer.anatomy.build import agent_tensors, algorithm_of, anatomy_of_agent, anatomy_of_zip, spec_of_agent
from rltransfer.anatomy.input_weights import INPUT_WEIGHTS, Reading, features_extractors, readings_of
from rltransfer.anatomy.model import (
    Anatomy,
    Layer,
    choose_layers,
    depth_of,
    describe_layers,
    refuse_unknown_layers,
    within,
)
from rltransfer.anatomy.outputs import Output, Reader, forward_on, layer_outputs, readers
from rltransfer.anatomy.rules import is_same_network, place

__all__ = [
    "INPUT_WEIGHTS",
    "LOG_ENT_COEF",
    "Anatomy",
    "Branch",
    "Layer",
    "ModuleKind",
    "Output",
    "Reader",
    "Reading",
    "Role",
    "Rule",
    "agent_tensors",
    "algorithm_of",
    "anatomy_of_agent",
    "anatomy_of_zip",
    "choose_layers",
    "depth_of",
    "describe_layers",
    "features_extractors",
    "forward_on",
    "is_same_network",
    "layer_outputs",
    "place",
    "readers",
    "readings_of",
    "refuse_unknown_layers",
    "spec_of_agent",
    "within",
]
