"""The classifiers of timm: their architectures, their weights, and the images that these were trained on."""

import math
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from rltransfer.errors import IncompatibleError, MissingExtraError, SourceError, UnknownNameError, did_you_mean
from rltransfer.networks.library import LibraryNetwork, LibraryWeights
from rltransfer.networks.torchvision_networks import load_library as load_torchvision
from rltransfer.records import InputContract

_SAFE_FILE = "model.safetensors"


def describe_weights(architecture: str, weights: str | None) -> LibraryWeights:
    """Returns what timm tells of weights of an architecture, by their tag; None stands for its default.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownNameError: There is no such architecture, or no such weights of it.
        IncompatibleError: The weights are of images without three channels.
    """
    config = _config(architecture, weights)
    channels, *size = config.input_size
    if channels != 3:
        raise IncompatibleError(f"timm:{architecture} takes {channels} channels; networks of RGB images are supported.")
    repository = str(config.hf_hub_id)
    file_name = config.hf_hub_filename or _SAFE_FILE
    return LibraryWeights(
        name=str(config.tag),
        url=f"https://huggingface.co/{repository}/resolve/main/{file_name}",
        file_name=f"{repository}/{file_name}",
        hash_prefix=None,
        licence=config.license,
        contract=InputContract(
            size=(size[0], size[1]),
            # Its transform cuts the middle out of a side that is longer by the share.
            resize=math.floor(max(size) / config.crop_pct) if config.crop_mode == "center" else None,
            interpolation=config.interpolation,
            antialias=True,
            mean=tuple(config.mean),
            std=tuple(config.std),
        ),
    )


def build(architecture: str, weights: str | None, state: Mapping[str, torch.Tensor] | None) -> LibraryNetwork:
    """Returns a network as timm builds it, with the tensors of a file in it, or as it is initialised.

    Raises:
        MissingExtraError: timm is not installed.
        UnknownNameError: There is no such architecture, or no such weights of it.
        SourceError: The file is of another architecture.
    """
    timm = load_library()
    config = _config(architecture, weights)
    network = timm.create_model(f"{architecture}.{config.tag}" if config.tag else architecture, pretrained=False)
    if state is not None:
        try:
            network.load_state_dict(dict(state), strict=True)
        except RuntimeError as error:
            raise SourceError(f"The file does not hold the weights of timm:{architecture}: {error}") from None
    return LibraryNetwork(network, {"timm": str(timm.__version__)})


def cached_file(url: str, file_name: str, hash_prefix: str | None) -> Path:  # noqa: ARG001
    """Returns a file of the Hugging Face Hub in its cache; it is fetched where it is not there.

    Raises:
        SourceError: It is not there and cannot be fetched.
    """
    import huggingface_hub

    repository, _, name = file_name.rpartition("/")
    try:
        return Path(huggingface_hub.hf_hub_download(repository, name))
    except Exception as error:
        # Of the Hub's own errors and of those of the library that it asks by, which differ between versions.
        raise SourceError(
            f"The weights {name} of {repository} are not in the cache of the Hugging Face Hub, and {url} cannot be "
            f"fetched: {str(error).splitlines()[0]} Where there is a network, type: hf download {repository} {name}"
        ) from error


def _config(architecture: str, weights: str | None) -> Any:
    timm = load_library()
    names = timm.list_models()
    if architecture not in names:
        raise UnknownNameError(f"timm has no network {architecture!r}.{did_you_mean(architecture, names)}")
    tags = [name.partition(".")[2] for name in timm.list_pretrained(f"{architecture}.*")]
    if not tags and not timm.is_model_pretrained(architecture):
        raise UnknownNameError(f"timm has no weights of {architecture!r}.")
    if weights is not None and weights not in tags:
        raise UnknownNameError(
            f"timm has no weights {weights!r} of {architecture}.{did_you_mean(weights, tags)} "
            f"It has: {', '.join(tags)}."
        )
    return timm.get_pretrained_cfg(f"{architecture}.{weights}" if weights else architecture)


def load_library() -> ModuleType:
    """Returns timm, imported; it needs torchvision.

    Raises:
        MissingExtraError: One of them is not installed, or does not import.
    """
    load_torchvision()
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError(
            "timm is not installed: pip install 'rltransfer[timm]' --constraint constraints.txt (the file keeps a "
            "torch for the CPU)"
        ) from error
    return timm
