"""Traces a pretrained network, cuts its classifier off, and names its blocks; sizes are measured by a forward pass."""

import dataclasses
import functools
from collections.abc import Iterator

import torch
from torch import fx, nn

from rltransfer.errors import IncompatibleError, UnknownLayerError, did_you_mean

# What these do in training is nothing in evaluation, and an encoder's modules stay in evaluation mode.
_OFF_IN_EVALUATION = ("stochastic_depth", "drop_path")
_LAYER_FUNCTIONS = (nn.functional.linear, nn.functional.conv2d)
_PORTABLE = ("torch", "_operator", "operator", "math", "builtins")
_LARGE_SHARE = 0.5


@dataclasses.dataclass(frozen=True)
class CutNetwork:
    """The part of a network in front of a cut.

    Attributes:
        graph: The part, from images [batch, channels, height, width] to features; its tensors keep their names.
        cut: The layer of which it gives the input, or the output where a layer was named.
        size: The height and width of the images that it takes.
        what: The network in words, for messages.
    """

    graph: fx.GraphModule
    cut: str
    size: tuple[int, int]
    what: str

    @functools.cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of what it gives for one image, measured.

        Raises:
            IncompatibleError: It does not take images of this size.
        """
        shape = _shape(self.graph, self.size)
        if shape is None:
            raise IncompatibleError(f"{self.what} does not take images of {self.size[0]}x{self.size[1]}.")
        return shape

    @functools.cached_property
    def is_fixed(self) -> bool:
        """Whether it takes images of one size alone, as is tried."""
        return _shape(self.graph, (self.size[0] + 32, self.size[1] + 32)) is None


def cut_network(network: nn.Module, size: tuple[int, int], layer: str | None, what: str) -> CutNetwork:
    """Returns a network in front of its last classifier layer, or up to a named layer and with it.

    Args:
        network: Takes images and gives one tensor.
        size: The height and width of the images that it takes.
        layer: The layer to cut behind; None for the input of the last layer with weights.
        what: The network in words, for messages.

    Raises:
        IncompatibleError: It cannot be traced.
        UnknownLayerError: There is no such layer.
    """
    traced = _trace(network.eval(), what)
    node, name = _before_classifier(traced, what) if layer is None else (_last_of(traced, layer, what), layer)
    (output,) = (other for other in traced.graph.nodes if other.op == "output")
    output.args = (node,)
    # Inception's forward names a class of torchvision's, which would be imported where a saved agent is loaded.
    output.type = None
    traced.graph.eliminate_dead_code()
    traced.delete_all_unused_submodules()
    traced.recompile()
    return CutNetwork(traced, name, size, what)


def _trace(network: nn.Module, what: str) -> fx.GraphModule:
    try:
        traced = fx.symbolic_trace(network)
    except Exception as error:
        # Whatever the code of the library raises on a proxy.
        raise IncompatibleError(f"{what} cannot be traced, so that it cannot be cut: {error}") from error
    for node in list(traced.graph.nodes):
        if node.op != "call_function" or str(node.target.__module__).partition(".")[0] in _PORTABLE:
            continue
        if node.target.__name__ not in _OFF_IN_EVALUATION:
            raise IncompatibleError(
                f"{what} calls {node.target.__module__}.{node.target.__name__}, which a saved agent could not do where "
                "the library is not installed."
            )
        node.replace_all_uses_with(node.args[0])
        traced.graph.erase_node(node)
    return traced


def _before_classifier(traced: fx.GraphModule, what: str) -> tuple[fx.Node, str]:
    """Returns what the last layer with weights reads, and the name of that layer."""
    ends = _last_layers(traced)
    if not ends:
        raise IncompatibleError(f"{what} has no layer with weights to cut off. Name a layer: cut.")
    read = {node.all_input_nodes[0] for node in ends}
    if len(read) > 1:
        names = ", ".join(_layer_name(node) for node in ends)
        raise IncompatibleError(
            f"{what} ends in several layers, which read different features: {names}. Name a layer to cut behind: cut."
        )
    return read.pop(), _layer_name(ends[0])


def _last_layers(traced: fx.GraphModule) -> list[fx.Node]:
    """Returns the layers with weights behind which no other one lies on the way to the output."""
    waiting = [node for node in traced.graph.nodes if node.op == "output"]
    seen: set[fx.Node] = set()
    layers = []
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if _has_matrix(traced, node):
            layers.append(node)
        else:
            waiting += node.all_input_nodes
    return layers


def _has_matrix(traced: fx.GraphModule, node: fx.Node) -> bool:
    if node.op == "call_module":
        return any(parameter.ndim > 1 for parameter in traced.get_submodule(str(node.target)).parameters())
    # A layer of the library's own class is traced as the function that it calls.
    return node.op == "call_function" and node.target in _LAYER_FUNCTIONS


def _layer_name(node: fx.Node) -> str:
    return str(node.target) if node.op == "call_module" else list(node.meta["nn_module_stack"])[-1]


def _last_of(traced: fx.GraphModule, layer: str, what: str) -> fx.Node:
    nodes: dict[str, fx.Node] = {}
    for node in traced.graph.nodes:
        for name in (*node.meta.get("nn_module_stack", {}), str(node.target) if node.op == "call_module" else ""):
            nodes[name] = node
    nodes.pop("", None)
    if layer not in nodes:
        blocks = list(dict.fromkeys(name.partition(".")[0] for name in nodes))
        raise UnknownLayerError(
            f"cut: {what} has no layer {layer!r}.{did_you_mean(layer, nodes)} Its blocks are {', '.join(blocks)}, and "
            f"what lies in them by dotted names."
        )
    return nodes[layer]


@torch.no_grad()
def _shape(traced: fx.GraphModule, size: tuple[int, int]) -> tuple[int, ...] | None:
    """Returns the shape of what a network gives for one image of a size; None where it does not take such images."""
    try:
        # Not by a call, which prints what is raised.
        given = traced.forward(torch.zeros(2, 3, *size))
    except (AssertionError, RuntimeError, ValueError):
        return None
    return tuple(given.shape[1:]) if isinstance(given, torch.Tensor) and given.ndim > 1 else None


def blocks_of(graph: fx.GraphModule) -> dict[str, tuple[str, ...]]:
    """Returns the blocks of a network in the order of its computation, each with the prefixes of its tensors.

    Blocks are the children of its sequences: residual blocks, layers of transformers, single convolutions. What has no
    matrix of its own (a normalisation, a token) belongs to the block before it, or to the first.
    """
    blocks: dict[str, list[str]] = {}
    waiting: list[str] = []
    every = graph.state_dict()
    for name in _modules_in_order(graph):
        tensors = [tensor for rest, tensor in every.items() if rest == name or rest.startswith(f"{name}.")]
        if not tensors:
            continue
        if name in every or all(tensor.ndim < 2 for tensor in tensors):
            if blocks:
                blocks[next(reversed(blocks))].append(name)
            else:
                waiting.append(name)
        else:
            blocks[name] = [*waiting, name]
            waiting = []
    return {name: tuple(prefixes) for name, prefixes in blocks.items()}


def _modules_in_order(graph: fx.GraphModule) -> Iterator[str]:
    """Yields the names of blocks and of single tensors in the order in which they are used."""
    total = sum(tensor.numel() for tensor in graph.parameters())
    seen: set[str] = set()
    for node in graph.graph.nodes:
        if node.op not in ("call_module", "get_attr"):
            continue
        name = _block_of(graph, str(node.target), total)
        if name not in seen:
            seen.add(name)
            yield name


def _block_of(graph: fx.GraphModule, target: str, total: int) -> str:
    names = target.split(".")
    for depth in range(1, len(names)):
        name = ".".join(names[:depth])
        module = graph.get_submodule(name)
        is_sequence = all(child.isdecimal() or "_layer_" in child for child, _ in module.named_children())
        # One that holds most of the network is around all of its blocks.
        is_around = depth == 1 and sum(tensor.numel() for tensor in module.parameters()) > _LARGE_SHARE * total
        if not is_sequence and not is_around:
            return name
    return target
