"""Makes a frozen traced network faster, one image at a time, without a change of what it computes."""

import collections
from collections.abc import Callable
from typing import Any

import torch
from torch import fx
from torch.nn.utils.fusion import fuse_conv_bn_eval


def made_fast(network: torch.nn.Module) -> torch.nn.Module:
    """Returns a frozen network as one that is called faster; it may change the network and keeps its tensors.

    Weights of convolutions are laid out channels last. In a traced network normalisation is put into the convolution
    before it, which rounds otherwise, and layers are called as functions: for one small image the calls of modules take
    a third of the time.
    """
    for value in network.parameters():
        value.data = value.data.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value.data
    if isinstance(network, fx.GraphModule):
        _fold_normalisation(network)
        _call_functions(network)
        network.recompile()
    return network


def _fold_normalisation(network: fx.GraphModule) -> None:
    """Puts each batch normalisation that alone reads a convolution into that one, where both are used once."""
    modules = dict(network.named_modules())
    uses = collections.Counter(str(node.target) for node in network.graph.nodes if node.op == "call_module")
    for node in list(network.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, normalisation = modules[str(before.target)], modules[str(node.target)]
        if uses[str(before.target)] > 1 or uses[str(node.target)] > 1:
            continue
        if type(convolution) is torch.nn.Conv2d and type(normalisation) is torch.nn.BatchNorm2d:
            network.add_submodule(str(before.target), fuse_conv_bn_eval(convolution, normalisation))
            node.replace_all_uses_with(before)
            network.graph.erase_node(node)


def _call_functions(network: fx.GraphModule) -> None:
    modules = dict(network.named_modules())
    for node in list(network.graph.nodes):
        if node.op != "call_module":
            continue
        with network.graph.inserting_before(node):
            function = network.graph.call_function(_function_of(modules[str(node.target)]), node.args, node.kwargs)
        node.replace_all_uses_with(function)
        network.graph.erase_node(node)


def _function_of(module: torch.nn.Module) -> Callable[..., Any]:
    """Returns what a module computes, as a function of this file: fx prints a method of PyTorch by a wrong name."""
    if type(module) is torch.nn.Conv2d and module.padding_mode == "zeros":
        weight, bias = module.weight.detach(), None if module.bias is None else module.bias.detach()
        stride, padding, dilation, groups = module.stride, module.padding, module.dilation, module.groups

        def convolve(images: torch.Tensor) -> torch.Tensor:
            return torch.conv2d(images, weight, bias, stride, padding, dilation, groups)

        return convolve
    forward = module.forward

    def layer(*args: Any, **kwargs: Any) -> Any:
        return forward(*args, **kwargs)

    return layer
