"""What a pretrained network is, and what images it was trained on: plain data, in artifacts and run folders."""

import dataclasses
import json
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from rltransfer.errors import ConfigError

Library = Literal["torchvision", "timm"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
_NAME = re.compile(r"(torchvision|timm):([A-Za-z0-9_]+)(?:[./]([A-Za-z0-9_.-]+))?")


class InputContract(BaseModel, frozen=True, extra="forbid"):
    """The images that a network was trained on, as the transform of its library makes them of a picture.

    In order: values scaled to [0, 1]; the shorter side resized to ``resize`` (both sides to ``size`` where that is
    None); the middle cut out at ``size``; the ``mean`` subtracted and divided by ``std``, channel by channel.

    Attributes:
        size: Height and width of what the network receives.
        resize: The shorter side before the middle is cut out; None: both sides are resized to ``size``.
        interpolation: Of the resizing.
        antialias: Whether an image that gets smaller is smoothed.
        mean: Of each channel, in [0, 1].
        std: Likewise, the standard deviation.
        channels: The order of the channels.
        is_fixed: Whether the network takes images of this size alone, as a ViT does.
    """

    size: tuple[PositiveInt, PositiveInt]
    resize: PositiveInt | None = None
    interpolation: Interpolation = "bilinear"
    antialias: bool = True
    mean: tuple[float, ...]
    std: tuple[PositiveFloat, ...]
    channels: Literal["RGB", "grey"] = "RGB"
    is_fixed: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        count = {"RGB": 3, "grey": 1}[self.channels]
        if len(self.mean) != count or len(self.std) != count:
            raise ValueError(f"mean and std need a number for each of {count} channels")
        if self.resize is not None and self.resize < max(self.size):
            raise ValueError(f"the shorter side ({self.resize}) is smaller than what is cut out of it ({self.size})")
        return self

    def words(self) -> str:
        """Returns the contract in one line.

        >>> InputContract(size=(224, 224), resize=256, mean=(0.5,) * 3, std=(0.5,) * 3).words()
        'RGB in [0, 1], shorter side to 256 (bilinear, antialias), middle 224x224, mean 0.5 0.5 0.5, std 0.5 0.5 0.5'
        """
        how = f"{self.interpolation}, antialias" if self.antialias else self.interpolation
        size = f"{self.size[0]}x{self.size[1]}"
        parts = [f"{self.channels} in [0, 1]"]
        parts += [f"to {size} ({how})"] if self.resize is None else [f"shorter side to {self.resize} ({how})"]
        parts += [] if self.resize is None else [f"middle {size}"]
        parts += [f"mean {_numbers(self.mean)}", f"std {_numbers(self.std)}"]
        return ", ".join(parts)


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


class NetworkFacts(BaseModel, frozen=True, extra="forbid"):
    """What a pretrained network is, and how it was cut.

    Attributes:
        library: The library that its architecture is of.
        architecture: Its name there.
        weights: The name of its weights there; None for a file of weights.
        built_for: The name of the weights that the library builds it for: some differ in more than numbers.
        file: The file that its weights were read from.
        url: Where that file comes from, as far as it is told.
        licence: Of the weights, as far as the library tells.
        contract: The images that it was trained on.
        contract_is_assumed: Whether that is of the library's default weights, as a file of weights does not tell.
        cut: The layer of which it gives the input (``is_default``) or the output.
        pool: The side of the map of features that an image is pooled to; 0 where there is no map.
        features: How many features it gives, as measured by a forward pass.
        blocks: The names of its blocks in order, each with the prefixes of its tensors.
        left_out: The tensors of the file that stand behind the cut.
        versions: The versions of the libraries that built it.
        finetuned: What it was before it was trained on, and on what; None where it is as it was published.
    """

    library: Library
    architecture: str
    weights: str | None = None
    built_for: str | None = None
    file: str
    url: str | None = None
    licence: str | None = None
    contract: InputContract
    contract_is_assumed: bool = False
    cut: str
    is_default_cut: bool = True
    pool: NonNegativeInt = 1
    features: PositiveInt
    blocks: dict[str, tuple[str, ...]]
    left_out: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    finetuned: str | None = None

    @property
    def name(self) -> str:
        """What the network is called in ``--from``.

        >>> NetworkFacts.model_construct(library="torchvision", architecture="resnet18", weights="V1").name
        'torchvision:resnet18/V1'
        """
        separator = {"torchvision": "/", "timm": "."}[self.library]
        return f"{self.library}:{self.architecture}{separator + self.weights if self.weights else ''}"


@dataclasses.dataclass(frozen=True)
class NetworkName:
    """A network as ``--from`` and ``--arch`` name it: ``torchvision:NAME[/WEIGHTS]`` or ``timm:NAME[.TAG]``."""

    library: Library
    architecture: str
    weights: str | None

    def __str__(self) -> str:
        """Returns the name without its weights."""
        return f"{self.library}:{self.architecture}"


def is_network_name(source: str) -> bool:
    """Returns whether a source is named as a network of a library, and not by a path."""
    return source.partition(":")[0] in ("torchvision", "timm") and not Path(source).exists()


def parse_name(name: str) -> NetworkName:
    """Returns what a name of a network says.

    Raises:
        ConfigError: It is no such name.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"{name!r} is no network: expected torchvision:NAME, torchvision:NAME/WEIGHTS or timm:NAME.TAG, such as "
            "torchvision:resnet18/IMAGENET1K_V1."
        )
    library, architecture, weights = match.groups()
    return NetworkName("timm" if library == "timm" else "torchvision", architecture, weights)


def names_network(source: str) -> bool:
    """Returns whether a source is a pretrained network, by its name or by the manifest of an artifact."""
    if is_network_name(source):
        return True
    try:
        manifest = json.loads((Path(source) / "manifest.json").read_bytes())
    except (OSError, ValueError):
        # Whoever reads the source says what is wrong with it.
        return False
    facts = manifest.get("source") if isinstance(manifest, dict) else None
    return isinstance(facts, dict) and facts.get("network") is not None
