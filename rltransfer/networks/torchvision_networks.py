"""The classifiers of torchvision: their architectures, their weights, and the images that these were trained on."""

import contextlib
import importlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any
from unittest import mock

import torch

from rltransfer.errors import MissingExtraError, UnknownNameError, did_you_mean, unknown
from rltransfer.networks.library import LibraryNetwork, LibraryWeights
from rltransfer.records import InputContract

_MISSING_OPERATOR = "operator torchvision::nms does not exist"
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
# What their builders set where they are given weights.
_WITH_WEIGHTS: Mapping[str, Mapping[str, Any]] = {
    "inception_v3": {"transform_input": True, "aux_logits": True},
    "googlenet": {"transform_input": True, "aux_logits": True},
}
_QUIET: Mapping[str, Mapping[str, Any]] = {name: {"init_weights": False} for name in _WITH_WEIGHTS}
_library: list[torch.library.Library] = []


def describe_weights(architecture: str, weights: str | None) -> LibraryWeights:
    """Returns what torchvision tells of weights of an architecture; None stands for its ``DEFAULT``.

    Raises:
        MissingExtraError: torchvision is not installed.
        UnknownNameError: There is no such architecture, or no such weights of it.
    """
    member = _member(architecture, weights)
    transform = member.transforms()
    size = int(transform.crop_size[0])
    return LibraryWeights(
        name=member.name,
        url=member.url,
        file_name=member.url.rpartition("/")[2],
        hash_prefix=member.url.rpartition("-")[2].partition(".")[0] if "-" in member.url else None,
        licence=member.meta.get("license"),
        contract=InputContract(
            size=(size, size),
            resize=int(transform.resize_size[0]),
            interpolation=transform.interpolation.value,
            antialias=bool(transform.antialias),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
        ),
    )


def build(architecture: str, weights: str | None, state: Mapping[str, torch.Tensor] | None) -> LibraryNetwork:
    """Returns a network as torchvision builds it for weights: with these in it, or as it is initialised.

    Args:
        architecture: Its name.
        weights: The name of the weights that it is built for; None stands for ``DEFAULT``.
        state: What the file of these weights holds; None to leave the network as it is initialised.

    Raises:
        MissingExtraError: torchvision is not installed.
        UnknownNameError: There is no such architecture, or no such weights of it.
    """
    torchvision = load_library()
    member = _member(architecture, weights)
    builder = torchvision.models.get_model_builder(architecture)
    version = {"torchvision": str(torchvision.__version__)}
    if state is not None:
        with _given(member, state):
            return LibraryNetwork(builder(weights=member, progress=False), version)
    settings = {**_WITH_WEIGHTS.get(architecture, {}), **_QUIET.get(architecture, {})}
    if "min_size" in member.meta and architecture.startswith("vit_"):
        settings["image_size"] = member.meta["min_size"][0]
    return LibraryNetwork(builder(weights=None, num_classes=len(member.meta["categories"]), **settings), version)


@contextlib.contextmanager
def _given(member: Any, state: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Has a builder take tensors that were read here: torchvision itself would unpickle the file."""
    with mock.patch.object(type(member), "get_state_dict", return_value=dict(state)):
        yield


def _member(architecture: str, weights: str | None) -> Any:
    models = load_library().models
    names = models.list_models(module=models)
    if architecture not in names:
        raise UnknownNameError(
            f"torchvision has no classifier {architecture!r}.{did_you_mean(architecture, names)} It has {len(names)}: "
            "https://docs.pytorch.org/vision/stable/models.html"
        )
    members = models.get_model_weights(architecture).__members__
    if weights is None:
        return models.get_model_weights(architecture).DEFAULT
    if weights not in members:
        raise unknown(f"weights of torchvision's {architecture}", weights, members)
    return members[weights]


def load_library() -> ModuleType:
    """Returns torchvision, imported.

    Its builds for CUDA do not import beside a build of torch for the CPU, for lack of two operators of object
    detection; these are declared, so that all but object detection works.

    Raises:
        MissingExtraError: It is not installed, or its version does not fit that of torch.
    """
    try:
        return _import()
    except ImportError as error:
        if error.name != "torchvision":
            raise MissingExtraError(f"torchvision does not import: {error}. {_what_to_type()}") from error
        raise MissingExtraError(
            "torchvision is not installed: pip install 'rltransfer[vision]' --constraint constraints.txt (the file "
            "keeps a torch for the CPU)"
        ) from None
    except RuntimeError as error:
        raise MissingExtraError(f"torchvision does not import: {error}. {_what_to_type()}") from error


def _import() -> ModuleType:
    try:
        return importlib.import_module("torchvision")
    except RuntimeError as error:
        if _MISSING_OPERATOR not in str(error):
            raise
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        del sys.modules[name]
    library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for schema in _SCHEMAS:
        library.define(schema)  # type: ignore[no-untyped-call]
    # It would take the operators away with it.
    _library.append(library)
    return importlib.import_module("torchvision")


def _what_to_type() -> str:
    return (
        f"It has to be of the same release as torch {torch.__version__} (torch 2.13.0 with torchvision 0.28.0): "
        "https://github.com/pytorch/vision#installation says which"
    )
