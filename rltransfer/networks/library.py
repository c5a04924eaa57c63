"""What a library tells of a network: one shape for torchvision and timm."""

import dataclasses
from collections.abc import Mapping

from torch import nn

from rltransfer.records import InputContract


@dataclasses.dataclass(frozen=True)
class LibraryWeights:
    """What a library tells of weights, before any file is read.

    Attributes:
        name: Their name.
        url: Where their file comes from.
        file_name: What the file is called in the library's cache.
        hash_prefix: How the file's sha256 begins, where its name tells.
        licence: Their licence, where it is told.
        contract: The images that they were trained on.
    """

    name: str
    url: str
    file_name: str
    hash_prefix: str | None
    licence: str | None
    contract: InputContract


@dataclasses.dataclass(frozen=True)
class LibraryNetwork:
    """A network as its library builds it, and the library's version."""

    module: nn.Module
    versions: Mapping[str, str]
